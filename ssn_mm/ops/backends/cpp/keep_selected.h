// Radii and selected rows of all layers of a network, each in one call.
#pragma once
#include <ATen/core/Tensor.h>

#include <algorithm>
#include <type_traits>
#include <vector>

#include "switch_norm.h"

using at::Tensor;

// A row that was one-hot in the step, or else is one-hot now, becomes its vertex, as in
// layers/selection.py's restore_vertices.
template <class T>
void restore(const Tensor& logits, const Tensor& radius, const Tensor& ratios, Int* columns) {
  const Int k = logits.size(1);
  T* own = logits.mutable_data_ptr<T>();
  std::vector<T> now(2 * k), curve(4);
  ssn_sparsestmax(std::is_same_v<T, double>, 2, k, own, radius.const_data_ptr(), true, now.data(),
                  curve.data());
  bool written = false;
  for (Int row = 0; row < 2; ++row, own += k) {
    const T* from = ratios.const_data_ptr<T>() + row * k;
    if (std::find(from, from + k, T(1)) == from + k) from = now.data() + row * k;
    const Int column = std::find(from, from + k, T(1)) - from;
    columns[row] = column < k ? column : -1;
    for (Int i = 0; column < k && i < k; ++i) {
      const T vertex = i == column;
      written |= own[i] != vertex;
      own[i] = vertex;
    }
  }
  if (written) logits.unsafeGetTensorImpl()->bump_version();  // who saved them must notice
}

inline bool is_restorable(const Tensor& logits, const Tensor& radius, const Tensor& ratios) {
  const auto type = logits.scalar_type();
  for (const at::Tensor* t : {&logits, &radius, &ratios})
    if (!t->is_cpu() || t->scalar_type() != type || !t->is_contiguous() || t->is_inference())
      return false;
  return (type == at::kFloat || type == at::kDouble) && logits.dim() == 2 && logits.size(0) == 2 &&
         logits.size(1) > 1 && ratios.sizes() == logits.sizes() && radius.numel() == 1 &&
         (type == at::kFloat ? *radius.const_data_ptr<float>()
                             : *radius.const_data_ptr<double>()) >= 0;
}

// The columns of the rows of all layers, -1 where a row competes. None, and nothing is written, where
// PyTorch has to serve or to say what is wrong.
inline std::vector<Int> keep_selected(at::TensorList logits, at::TensorList radii,
                                      at::TensorList ratios) {
  const size_t count = logits.size();
  TORCH_CHECK(radii.size() == count && ratios.size() == count, "expected ", count,
              " radii and ratios, got ", radii.size(), " and ", ratios.size());
  for (size_t i = 0; i < count; ++i)
    if (!is_restorable(logits[i], radii[i], ratios[i])) return {};
  std::vector<Int> columns(2 * count);
  for (size_t i = 0; i < count; ++i)
    (logits[i].scalar_type() == at::kFloat ? restore<float> : restore<double>)(
        logits[i], radii[i], ratios[i], &columns[2 * i]);
  return columns;
}

// Sets every element of the tensors.
inline void fill(at::TensorList tensors, double value) {
  for (const Tensor& t : tensors) {
    if (t.is_cpu() && t.scalar_type() == at::kFloat && t.numel() == 1 && !t.is_inference()) {
      *t.mutable_data_ptr<float>() = float(value);  // a tenth of the time of fill_
      t.unsafeGetTensorImpl()->bump_version();
    } else {
      t.fill_(value);
    }
  }
}
