// The kernels as PyTorch operators; `layer` and `sparsestmax` make nodes of the autograd graph by
// themselves, since a node in Python costs more than the kernels on a small map.
#include <ATen/Parallel.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>
#include <torch/library.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <mutex>
#include <string_view>

#include "keep_selected.h"
#include "switch_norm.h"

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using Maybe = std::optional<Tensor>;

constexpr Int kOneThread = 1 << 14;  // elements of a map that a second thread is not worth it

int dtype_of(at::ScalarType type) {
  switch (type) {
    case at::kFloat: return 0;
    case at::kDouble: return 1;
    case at::kBFloat16: return 2;
    case at::kHalf: return 3;
    default: return -1;
  }
}

at::ScalarType wide(const Tensor& x) {
  return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

void* data(const Tensor& t) { return t.defined() ? t.data_ptr() : nullptr; }
void* data(const Maybe& t) { return t ? data(*t) : nullptr; }

template <class F, class... Args> void call(F kernel, const Tensor& x, Args... args) {
  const Int n = x.size(0), c = x.size(1);
  const int threads = x.numel() > kOneThread ? at::get_num_threads() : 1;
  TORCH_CHECK(kernel(dtype_of(x.scalar_type()), n, c, x.numel() / (n * c), !x.is_contiguous(),
                     threads, args...),
              "the compiler that built the C++ kernels knows no ", x.scalar_type());
}

// The map itself where it is contiguous or channels last, else a contiguous copy.
Tensor dense(const Tensor& x) {
  const bool last = x.dim() == 4   ? x.is_contiguous(at::MemoryFormat::ChannelsLast)
                    : x.dim() == 5 ? x.is_contiguous(at::MemoryFormat::ChannelsLast3d)
                                   : false;
  return last ? x : x.contiguous();
}

Tensor like(const Tensor& dy, const Tensor& x) {
  if (dy.strides() == x.strides() && dy.scalar_type() == x.scalar_type()) return dy;
  return at::empty_like(x).copy_(dy);
}

Tensor cast(const Tensor& t, at::ScalarType type) {
  return t.scalar_type() == type && t.is_contiguous() ? t : t.to(type).contiguous();
}
Maybe cast(const Maybe& t, at::ScalarType type) {
  return t && t->defined() ? Maybe(cast(*t, type)) : Maybe();
}

// The number that a tensor on the CPU holds, without a call of PyTorch; 0 of none.
double number(const Maybe& t) {
  if (!t || !t->defined()) return 0;
  if (t->is_cpu() && t->scalar_type() == at::kFloat) return *t->const_data_ptr<float>();
  return t->item<double>();
}

std::tuple<Tensor, Tensor> moments(const Tensor& x) {
  Tensor mean = at::empty({x.size(0), x.size(1)}, wide(x)), var = at::empty_like(mean);
  call(ssn_moments, x, data(x), data(mean), data(var));
  return {mean, var};
}

Tensor affine(const Tensor& x, const Tensor& shift, const Tensor& scale, const Maybe& bias) {
  Tensor y = at::empty_like(x);
  call(ssn_affine, x, data(x), data(shift), data(scale), data(bias), data(y));
  return y;
}

std::tuple<Tensor, Tensor> sums(const Tensor& dy, const Tensor& x, const Tensor& shift) {
  Tensor total = at::empty_like(shift), dot = at::empty_like(shift);
  call(ssn_sums, x, data(dy), data(x), data(shift), data(total), data(dot));
  return {total, dot};
}

Tensor affine_grad(const Tensor& dy, const Tensor& x, const Tensor& shift, const Tensor& scale,
                   const Tensor& slope, const Tensor& offset) {
  Tensor dx = at::empty_like(x);
  call(ssn_affine_grad, x, data(dy), data(x), data(shift), data(scale), data(slope), data(offset),
       data(dx));
  return dx;
}

constexpr std::string_view kNames[] = {"IN", "LN", "BN", "GN", "FBN"};  // in the order of Kind
static_assert(std::size(kNames) == kKinds && 4 * kKinds <= 31);  // four bits of an int for each

// Calls f with the Kind of each of the names, which have commas between.
template <class F> void each_name(std::string_view names, F f) {
  for (size_t first = 0, end = 0; end < names.size(); first = end + 1) {
    end = std::min(names.find(',', first), names.size());
    const auto name = names.substr(first, end - first);
    const auto kind = std::find(std::begin(kNames), std::end(kNames), name) - kNames;
    TORCH_CHECK_NOT_IMPLEMENTED(kind < kKinds, "the C++ kernels have no case for the normalizer '",
                                name, "'; CONTRIBUTING.md says where a new one needs its case");
    f(Kind(kind));
  }
}

// What a layer computes. Names are bits as well, see Recipe; 1 group where GN is not among them.
struct Settings : torch::CustomClassHolder {
  const std::string source, normalizers;
  const double eps;
  const Int num_groups;
  const int source_kind;
  int kinds = 0, k = 0;
  Int groups = 1;
  bool has_bn = false;
  Settings(std::string_view source, std::string_view names, double eps, Int num_groups)
      : source(source), normalizers(names), eps(eps), num_groups(num_groups),
        source_kind(source == "ratios" ? 0 : source == "logits" ? 1 : 2) {
    each_name(names, [&](Kind kind) {
      TORCH_CHECK(k < kKinds, "the C++ kernels take ", int(kKinds), " normalizers, got ", names);
      kinds |= int(kind + 1) << 4 * k++;
      if (kind == kGN) groups = num_groups;
      if (kind == kBN) has_bn = true;
    });
  }
};

// y, ratios, state and batch as ops/backends/fused.py has them.
std::tuple<Tensor, Tensor, Tensor, Tensor> forward(
    const Settings& q, const Tensor& any_x, const Tensor& any_logits, const Maybe& any_weight,
    const Maybe& any_bias, const Maybe& radius, const Maybe& running_mean, const Maybe& running_var,
    const Maybe& updated_mean, const Maybe& updated_var, double momentum) {
  const Tensor x = dense(any_x);
  const auto type = wide(x);
  const Tensor logits = cast(any_logits, type);
  const Maybe weight = cast(any_weight, type), bias = cast(any_bias, type);
  const Maybe used_mean = cast(running_mean, type), used_var = cast(running_var, type);
  const Int n = x.size(0), c = x.size(1);
  TORCH_CHECK(logits.is_cpu() && (q.source == "selected" || logits.numel() == 2 * q.k),
              "expected logits (2, ", q.k, ") on the CPU, got ", logits.sizes(), " on ",
              logits.device());
  for (const Maybe* t : {&weight, &bias, &used_mean, &used_var, &updated_mean, &updated_var})
    TORCH_CHECK(!*t || !(*t)->defined() || ((*t)->is_cpu() && (*t)->numel() == c),
                "expected ", c, " numbers a channel on the CPU, got ", (*t)->sizes(), " on ",
                (*t)->device());
  const auto options = at::TensorOptions(type);
  Tensor y = at::empty_like(x), ratios = at::empty({2, q.k}, options);
  Tensor state = at::empty({5 * n * c + 5}, options);
  const bool updates = updated_mean && updated_mean->scalar_type() == type &&
                       updated_mean->is_contiguous() && updated_var->scalar_type() == type &&
                       updated_var->is_contiguous();
  const bool measures = q.has_bn && !updates;
  Tensor batch = at::empty({2, measures ? c : 0}, options);
  void *mean = nullptr, *var = nullptr;
  if (updates) {
    mean = updated_mean->data_ptr();
    var = updated_var->data_ptr();
    updated_mean->unsafeGetTensorImpl()->bump_version();  // who saved them must notice
    updated_var->unsafeGetTensorImpl()->bump_version();
  }
  call(ssn_forward, x, q.groups, q.kinds, q.k, q.eps, q.source_kind,
       number(radius), momentum, data(x), data(logits),
       data(weight), data(bias), data(used_mean), data(used_var), mean, var, data(ratios),
       data(state), measures ? data(batch) : nullptr, data(y));
  return {y, ratios, state, batch};
}

// The gradients for x, logits (2, K), γ and β (C,).
std::tuple<Tensor, Tensor, Tensor, Tensor> backward(
    const Settings& q, const Tensor& any_dy, const Tensor& any_x, const Tensor& any_logits,
    const Maybe& weight, const Maybe& running_mean, const Maybe& running_var, const Tensor& ratios,
    const Tensor& state) {
  const Tensor x = dense(any_x), dy = like(any_dy, x);
  const auto type = state.scalar_type();
  const Tensor logits = cast(any_logits, type);
  const Maybe used_mean = cast(running_mean, type), used_var = cast(running_var, type);
  Tensor dx = at::empty_like(x);
  Tensor dlogits = q.source_kind == 2 ? at::zeros_like(logits) : at::empty_like(logits);
  Tensor dweight = at::empty({x.size(1)}, type), dbias = at::empty({x.size(1)}, type);
  call(ssn_backward, x, q.groups, q.kinds, q.k, q.source_kind, data(dy), data(x), data(logits),
       data(used_mean), data(used_var), data(ratios), data(state), data(dlogits), data(dweight),
       data(dbias), data(dx));
  const auto given = weight && weight->defined() ? weight->scalar_type() : type;
  return {dx, cast(dlogits, any_logits.scalar_type()), cast(dweight, given), cast(dbias, given)};
}

// Both passes as operators by themselves.
std::tuple<Tensor, Tensor, Tensor, Tensor> forward_alone(
    const Tensor& x, const Tensor& logits, const Maybe& weight, const Maybe& bias,
    const Maybe& radius, const Maybe& running_mean, const Maybe& running_var,
    const std::string& source, const std::string& normalizers, double eps, Int num_groups,
    const Maybe& updated_mean, const Maybe& updated_var, double momentum) {
  return forward(Settings(source, normalizers, eps, num_groups), x, logits, weight, bias, radius,
                 running_mean, running_var, updated_mean, updated_var, momentum);
}

std::tuple<Tensor, Tensor, Tensor, Tensor> backward_alone(
    const Tensor& dy, const Tensor& x, const Tensor& logits, const Maybe& weight,
    const Maybe& running_mean, const Maybe& running_var, const Tensor& ratios, const Tensor& state,
    const std::string& source, const std::string& normalizers, Int num_groups) {
  return backward(Settings(source, normalizers, 0, num_groups), dy, x, logits, weight, running_mean,
                  running_var, ratios, state);
}

// A frozen layer and the ReLU after it, for inference. The map is overwritten where it may be. The
// names are averaged, for the mean and for the variance.
Tensor mixed_norm(const Tensor& any_x, const Tensor& weight, const Tensor& bias,
                  const Tensor& running_mean, const Tensor& running_var, std::string_view means,
                  std::string_view variances, double eps, Int num_groups, Int correction, bool relu,
                  bool inplace) {
  const Tensor x = dense(any_x);
  const auto type = wide(x);
  const Tensor y = inplace ? x : at::empty_like(x);
  if (inplace) x.unsafeGetTensorImpl()->bump_version();  // who saved it must notice
  double mean[kKinds] = {}, var[kKinds] = {};
  each_name(means, [&](Kind kind) { ++mean[kind]; });
  each_name(variances, [&](Kind kind) { ++var[kind]; });
  const Tensor gamma = cast(weight, type), beta = cast(bias, type);
  const Tensor bn_mean = cast(running_mean, type), bn_var = cast(running_var, type);
  call(ssn_mixed_norm, x, num_groups, mean, var, eps, correction, relu, data(x), data(gamma),
       data(beta), data(bn_mean), data(bn_var), data(y));
  return y;
}

// The gradients by plain autograd, for a second derivative or many at once; Python has the formula.
std::vector<Tensor> differentiable_gradients(const Settings& q, const Tensor& dy,
                                             const variable_list& saved) {
  static const auto op =
      c10::Dispatcher::singleton()
          .findSchemaOrThrow("ssn_mm::switch_norm_gradients", "")
          .typed<std::vector<Tensor>(const Tensor&, const Tensor&, const Tensor&, const Maybe&,
                                     const Maybe&, const Maybe&, const Maybe&, const Maybe&,
                                     std::string_view, std::string_view, double, Int, bool)>();
  auto maybe = [](const Tensor& t) { return t.defined() ? Maybe(t) : Maybe(); };
  return op.call(dy, saved[0], saved[1], maybe(saved[2]), maybe(saved[3]), maybe(saved[4]),
                 maybe(saved[5]), maybe(saved[6]), q.source, q.normalizers, q.eps, q.num_groups,
                 false);
}

using torch::autograd::Node;
using torch::autograd::SavedVariable;

// How PyTorch holds a node: a shared pointer, or, from 2.1x on, its own.
template <class N> auto make_node() {
  if constexpr (std::is_same_v<decltype(torch::autograd::Edge::function), std::shared_ptr<Node>>)
    return std::shared_ptr<N>(new N, [](N* node) { deleteNode(node); });
  else
    return c10::make_intrusive<N>();
}

// The node of a layer. torch::autograd::Function would make lists and sets of all arguments, which
// takes as long as the kernels do on a small map.
struct LayerBackward : Node {
  c10::intrusive_ptr<Settings> settings;
  std::array<SavedVariable, 9> saved;

  variable_list apply(variable_list&& gradients) override {
    std::lock_guard<std::mutex> lock(mutex_);
    variable_list found(4);
    const Tensor& dy = gradients[0];
    if (!dy.defined()) return found;
    variable_list given(saved.size());
    for (size_t i = 0; i < saved.size(); ++i) given[i] = saved[i].unpack();
    if (at::GradMode::is_enabled() || !dy.has_storage()) {  // vmap's has none
      const auto all = differentiable_gradients(*settings, dy, given);
      for (size_t i = 0; i < found.size(); ++i)
        if (given[i].defined() && given[i].requires_grad()) found[i] = all[i];
      return found;
    }
    std::tie(found[0], found[1], found[2], found[3]) =
        ::backward(*settings, dy, given[0], given[1], given[2], given[5], given[6], given[7],
                   given[8]);
    for (size_t i : {2, 3})
      if (!given[i].defined()) found[i] = Tensor();
    return found;
  }

  void release_variables() override {
    std::lock_guard<std::mutex> lock(mutex_);
    for (SavedVariable& one : saved) one.reset_data();
  }

  std::string name() const override { return "SwitchNormBackward"; }
};

// One more batch. An operator of PyTorch takes as long as a tenth of a step on a small map.
void count(const Tensor& batches) {
  if (!batches.is_cpu() || batches.scalar_type() != at::kLong) {
    batches.add_(1);
    return;
  }
  ++*static_cast<int64_t*>(batches.data_ptr());
  batches.unsafeGetTensorImpl()->bump_version();  // who saved it must notice
}

std::tuple<Tensor, Tensor, Tensor> layer(
    const Tensor& x, const Tensor& logits, const Maybe& weight, const Maybe& bias,
    const Maybe& radius, const Maybe& running_mean, const Maybe& running_var,
    const std::string& source, const std::string& normalizers, double eps, Int num_groups,
    const Maybe& updated_mean, const Maybe& updated_var, double momentum, const Maybe& batches) {
  auto settings = c10::make_intrusive<Settings>(source, normalizers, eps, num_groups);
  Tensor y, ratios, state, batch;
  {
    const at::AutoDispatchBelowADInplaceOrView without_autograd;
    std::tie(y, ratios, state, batch) =
        forward(*settings, x, logits, weight, bias, radius, running_mean, running_var,
                updated_mean, updated_var, momentum);
    if (batches) count(*batches);
  }
  if (torch::autograd::compute_requires_grad(x, logits, weight, bias)) {
    auto node = make_node<LayerBackward>();
    node->set_next_edges(torch::autograd::collect_next_edges(x, logits, weight, bias));
    node->settings = std::move(settings);
    auto kept = [](const Maybe& t) { return SavedVariable(t.value_or(Tensor()), false); };
    node->saved = {kept(x), kept(logits), kept(weight), kept(bias), kept(radius),
                   kept(running_mean), kept(running_var), kept(ratios), kept(state)};
    torch::autograd::set_history(y, node);
  }
  if (!batch.numel()) batch.reset();  // None in Python
  return {y, ratios, batch};
}

struct SparsestMax : torch::autograd::Function<SparsestMax> {
  static Tensor forward(AutogradContext* ctx, const Tensor& any_z, const Tensor& any_radius) {
    const Tensor z = any_z.contiguous();
    const Int k = z.size(-1), rows = z.numel() / k;
    auto sizes = z.sizes().vec();
    sizes.back() = 1;
    const bool one = any_radius.numel() == 1;
    const Tensor radius = one ? any_radius : any_radius.expand(sizes).contiguous();
    Tensor p = at::empty_like(z), curve = at::empty({2 * rows}, z.options());
    ssn_sparsestmax(dtype_of(z.scalar_type()), rows, k, data(z), data(radius), one, data(p),
                    data(curve));
    ctx->save_for_backward({any_z, any_radius, p, curve});
    return p;
  }

  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    const auto saved = ctx->get_saved_variables();
    if (at::GradMode::is_enabled() || !gradients[0].has_storage()) {  // vmap's has none
      static const auto op = c10::Dispatcher::singleton()
                                 .findSchemaOrThrow("ssn_mm::sparsestmax_gradient", "")
                                 .typed<Tensor(const Tensor&, const Tensor&, const Tensor&)>();
      return {op.call(gradients[0], saved[0], saved[1]), Tensor()};
    }
    const Tensor z = saved[0].contiguous(), g = gradients[0].contiguous(), &p = saved[2];
    const Int k = z.size(-1), rows = z.numel() / k;
    Tensor dz = at::empty_like(z);
    ssn_sparsestmax_backward(dtype_of(z.scalar_type()), rows, k, data(g), data(z), data(p),
                             data(saved[3]), data(dz));
    return {dz, Tensor()};
  }
};

Tensor sparsestmax(const Tensor& z, const Tensor& radius) { return SparsestMax::apply(z, radius); }

bool supports(at::ScalarType dtype) {
  return ssn_moments(dtype_of(dtype), 0, 0, 0, 0, 1, nullptr, nullptr, nullptr);
}

const std::string kGiven =
    "(Tensor x, Tensor logits, Tensor? weight, Tensor? bias, Tensor? radius, "
    "Tensor? running_mean, Tensor? running_var, str source, str normalizers, float eps, "
    "int num_groups, Tensor(a!)? updated_mean, Tensor(b!)? updated_var, float momentum";

}  // namespace

TORCH_LIBRARY(ssn_mm_cpp, m) {
  m.def("supports(ScalarType dtype) -> bool", &supports);
  m.def("moments(Tensor x) -> (Tensor, Tensor)", &moments);
  m.def("affine(Tensor x, Tensor shift, Tensor scale, Tensor? bias) -> Tensor", &affine);
  m.def("sums(Tensor dy, Tensor x, Tensor shift) -> (Tensor, Tensor)", &sums);
  m.def(
      "affine_grad(Tensor dy, Tensor x, Tensor shift, Tensor scale, Tensor slope, Tensor offset) "
      "-> Tensor",
      &affine_grad);
  m.def(("forward" + kGiven + ") -> (Tensor, Tensor, Tensor, Tensor)").c_str(), &forward_alone);
  m.def(
      "backward(Tensor dy, Tensor x, Tensor logits, Tensor? weight, Tensor? running_mean, "
      "Tensor? running_var, Tensor ratios, Tensor state, str source, str normalizers, "
      "int num_groups) -> (Tensor, Tensor, Tensor, Tensor)",
      &backward_alone);
  m.def(("layer" + kGiven + ", Tensor(c!)? num_batches_tracked) -> (Tensor, Tensor, Tensor)").c_str(),
        &layer);
  m.def(
      "mixed_norm(Tensor(a!) x, Tensor weight, Tensor bias, Tensor running_mean, "
      "Tensor running_var, str means, str variances, float eps, int num_groups, int correction, "
      "bool relu, bool inplace) -> Tensor(a!)",
      &mixed_norm);
  m.def("sparsestmax(Tensor z, Tensor radius) -> Tensor", &sparsestmax);
  m.def("keep_selected(Tensor(a!)[] logits, Tensor[] radii, Tensor[] ratios) -> int[]",
        &keep_selected);
  m.def("fill(Tensor(a!)[] tensors, float value) -> ()", &fill);
}
