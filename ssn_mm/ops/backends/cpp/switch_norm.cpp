#include "switch_norm.h"

#include <cstring>
#include <memory>
#include <type_traits>

#include "maps.h"
#include "mix.h"
#include "sparsestmax.h"

namespace {

struct BFloat16 {
  uint16_t bits;
  operator float() const {
    uint32_t wide = uint32_t(bits) << 16;
    float f;
    std::memcpy(&f, &wide, sizeof f);
    return f;
  }
  BFloat16& operator=(float f) {
    uint32_t u;
    std::memcpy(&u, &f, sizeof f);
    bits = f != f ? 0x7fc0 : uint16_t((u + 0x7fff + ((u >> 16) & 1)) >> 16);  // to nearest even
    return *this;
  }
};

// Calls f with a null pointer of the map's type; false where this compiler lacks the type.
template <class F> bool with_type(int dtype, F f) {
  switch (dtype) {
    case 0: f((float*)nullptr, (float*)nullptr); return true;
    case 1: f((double*)nullptr, (double*)nullptr); return true;
    case 2: f((BFloat16*)nullptr, (float*)nullptr); return true;
#ifdef __FLT16_MAX__
    case 3: f((_Float16*)nullptr, (float*)nullptr); return true;
#endif
    default: return false;
  }
}

#define WITH_TYPES(...)                                              \
  return with_type(dtype, [&](auto* map, auto* wide) {               \
    using T [[maybe_unused]] = std::remove_pointer_t<decltype(map)>; \
    using A = std::remove_pointer_t<decltype(wide)>;                 \
    __VA_ARGS__;                                                     \
  })
#define MAP const Shape shape{n, c, s, channels_last != 0, threads}

constexpr Int kOneThread = 1 << 13;  // numbers that a second thread is not worth waking for

template <class T, class A>
void forward(const Shape& map, const Recipe& recipe, const T* x, const A* logits, Source source,
             double radius, const A* weight, const A* bias, const A* running_mean,
             const A* running_var, A* updated_mean, A* updated_var, double momentum, A* ratios,
             A* state, A* batch, T* y) {
  Int size = map.n * map.c;
  A *mean = state, *var = mean + size, *shift = var + size, *rstd = shift + size,
    *scale = rstd + size, *curve = scale + size;
  std::vector<A> scratch(updated_mean ? 2 * map.c : 0);
  if (updated_mean) batch = scratch.data();
  if (recipe.measures()) moments(map, x, mean, var);
  else std::fill(mean, shift, A(0));
  mix(recipe, mean, var, logits, source, radius, weight, running_mean, running_var, ratios, curve,
      shift, rstd, scale, batch);
  affine(map, x, shift, scale, bias, y);
  if (!updated_mean || !takes_part(recipe, kBN, ratios)) return;
  A part = momentum, unbiased = double(map.n) * map.s / (double(map.n) * map.s - 1);
  for (Int i = 0; i < map.c; ++i) {
    updated_mean[i] += part * (batch[i] - updated_mean[i]);
    updated_var[i] += part * (batch[map.c + i] * unbiased - updated_var[i]);
  }
}

template <class T, class A>
void backward(const Shape& map, const Recipe& recipe, Source source, const T* dy, const T* x,
              const A* logits, const A* running_mean, const A* running_var, const A* ratios,
              const A* state, A* dlogits, A* dweight, A* dbias, T* dx) {
  Int size = map.n * map.c;
  const A *mean = state, *var = mean + size, *shift = var + size, *rstd = shift + size,
          *scale = rstd + size, *curve = scale + size;
  std::unique_ptr<A[]> small(new A[2 * size]);
  A *total = small.get(), *dot = total + size;
  sums(map, dy, x, shift, total, dot);
  mix_backward(recipe, map.s, mean, var, ratios, curve, rstd, scale, total, dot, logits,
               source, running_mean, running_var, dlogits, dweight, dbias);
  if (recipe.measures()) affine_grad(map, dy, x, mean, scale, dot, total, dx);
  else affine(map, dy, total, scale, (const A*)nullptr, dx);  // offset and slope are 0
}

}  // namespace

bool ssn_moments(int dtype, Int n, Int c, Int s, int channels_last, int threads, const void* x,
                 void* mean, void* var) {
  MAP;
  WITH_TYPES((moments(shape, (const T*)x, (A*)mean, (A*)var)));
}

bool ssn_affine(int dtype, Int n, Int c, Int s, int channels_last, int threads, const void* x,
                const void* shift, const void* scale, const void* bias, void* y) {
  MAP;
  WITH_TYPES((affine(shape, (const T*)x, (const A*)shift, (const A*)scale, (const A*)bias,
                     (T*)y)));
}

bool ssn_sums(int dtype, Int n, Int c, Int s, int channels_last, int threads, const void* dy,
              const void* x, const void* shift, void* total, void* dot) {
  MAP;
  WITH_TYPES((sums(shape, (const T*)dy, (const T*)x, (const A*)shift, (A*)total, (A*)dot)));
}

bool ssn_affine_grad(int dtype, Int n, Int c, Int s, int channels_last, int threads,
                     const void* dy, const void* x, const void* shift, const void* scale,
                     const void* slope, const void* offset, void* dx) {
  MAP;
  WITH_TYPES((affine_grad(shape, (const T*)dy, (const T*)x, (const A*)shift, (const A*)scale,
                          (const A*)slope, (const A*)offset, (T*)dx)));
}

bool ssn_forward(int dtype, Int n, Int c, Int s, int channels_last, int threads, Int groups,
                 int kinds, int k, double eps, int source, double radius, double momentum,
                 const void* x, const void* logits, const void* weight, const void* bias,
                 const void* running_mean, const void* running_var, void* updated_mean,
                 void* updated_var, void* ratios, void* state, void* batch, void* y) {
  MAP;
  const Recipe recipe{n, c, groups, kinds, k, eps, n * c > kOneThread ? threads : 1};
  WITH_TYPES((forward(shape, recipe, (const T*)x, (const A*)logits, Source(source), radius,
                      (const A*)weight, (const A*)bias, (const A*)running_mean,
                      (const A*)running_var, (A*)updated_mean, (A*)updated_var, momentum,
                      (A*)ratios, (A*)state, (A*)batch, (T*)y)));
}

bool ssn_backward(int dtype, Int n, Int c, Int s, int channels_last, int threads, Int groups,
                  int kinds, int k, int source, const void* dy, const void* x,
                  const void* logits, const void* running_mean, const void* running_var,
                  const void* ratios, const void* state, void* dlogits, void* dweight,
                  void* dbias, void* dx) {
  MAP;
  const Recipe recipe{n, c, groups, kinds, k, 0, n * c > kOneThread ? threads : 1};
  WITH_TYPES((backward(shape, recipe, Source(source), (const T*)dy, (const T*)x,
                       (const A*)logits, (const A*)running_mean, (const A*)running_var,
                       (const A*)ratios, (const A*)state, (A*)dlogits, (A*)dweight,
                        (A*)dbias, (T*)dx)));
}

bool ssn_sparsestmax(int dtype, Int rows, int k, const void* logits, const void* radius,
                     int one_radius, void* ratios, void* curve) {
  WITH_TYPES({
    std::vector<double> row(2 * k);
    double *z = row.data(), *p = z + k, stretch, bend;
    for (Int i = 0; i < rows; ++i) {
      std::copy((const A*)logits + i * k, (const A*)logits + (i + 1) * k, z);
      sparsestmax(z, k, ((const A*)radius)[one_radius ? 0 : i], p, &stretch, &bend);
      std::copy(p, p + k, (A*)ratios + i * k);
      ((A*)curve)[i] = stretch;
      ((A*)curve)[rows + i] = bend;
    }
  });
}

bool ssn_sparsestmax_backward(int dtype, Int rows, int k, const void* gradient, const void* logits,
                              const void* ratios, const void* curve, void* dlogits) {
  WITH_TYPES({
    std::vector<double> row(4 * k);
    double *g = row.data(), *z = g + k, *p = z + k, *dz = p + k;
    for (Int i = 0; i < rows; ++i) {
      std::copy((const A*)gradient + i * k, (const A*)gradient + (i + 1) * k, g);
      std::copy((const A*)logits + i * k, (const A*)logits + (i + 1) * k, z);
      std::copy((const A*)ratios + i * k, (const A*)ratios + (i + 1) * k, p);
      sparsestmax_backward(g, z, p, k, ((const A*)curve)[i], ((const A*)curve)[rows + i], dz);
      std::copy(dz, dz + k, (A*)dlogits + i * k);
    }
  });
}
