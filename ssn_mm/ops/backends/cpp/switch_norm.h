// The kernels, for every type of map. Pointers are to contiguous memory; dtype is the type of maps,
// 0 float, 1 double, 2 bfloat16, 3 half. Each returns whether the compiler has the type.
#pragma once
#include <cstdint>

using Int = int64_t;
enum Kind { kIN, kLN, kBN, kGN, kFBN, kKinds };  // the normalizers; torch_ops.cpp has their names

bool ssn_moments(int dtype, Int n, Int c, Int s, int channels_last, int threads, const void* x,
                 void* mean, void* var);
bool ssn_affine(int dtype, Int n, Int c, Int s, int channels_last, int threads, const void* x,
                const void* shift, const void* scale, const void* bias, void* y);
bool ssn_sums(int dtype, Int n, Int c, Int s, int channels_last, int threads, const void* dy,
              const void* x, const void* shift, void* total, void* dot);
bool ssn_affine_grad(int dtype, Int n, Int c, Int s, int channels_last, int threads,
                     const void* dy, const void* x, const void* shift, const void* scale,
                     const void* slope, const void* offset, void* dx);
// The whole operator, for k normalizers, at most kKinds. state has the parts of backends/saved.py. updated_mean and updated_var, if
// given, are running statistics to update where BN takes part, not among running_mean and
// running_var, which FBN reads; else batch, 2 x C, takes the batch's.
bool ssn_forward(int dtype, Int n, Int c, Int s, int channels_last, int threads, Int groups,
                 int kinds, int k, double eps, int source, double radius, double momentum,
                 const void* x, const void* logits, const void* weight, const void* bias,
                 const void* running_mean, const void* running_var, void* updated_mean,
                 void* updated_var, void* ratios, void* state, void* batch, void* y);
bool ssn_backward(int dtype, Int n, Int c, Int s, int channels_last, int threads, Int groups,
                  int kinds, int k, int source, const void* dy, const void* x,
                  const void* logits, const void* running_mean, const void* running_var,
                  const void* ratios, const void* state, void* dlogits, void* dweight,
                  void* dbias, void* dx);
// Given normalizers for inference, see mixed_norm.h. mean and var say how often
// each Kind is among those that are averaged; y may be x.
bool ssn_mixed_norm(int dtype, Int n, Int c, Int s, int channels_last, int threads, Int groups,
                    const double* mean, const double* var, double eps, Int correction, bool relu,
                    const void* x, const void* weight, const void* bias, const void* running_mean,
                    const void* running_var, void* y);
// SparsestMax of rows x k logits with one radius, or one a row. curve has the rows' stretches, then
// their bends.
bool ssn_sparsestmax(int dtype, Int rows, int k, const void* logits, const void* radius,
                     int one_radius, void* ratios, void* curve);
bool ssn_sparsestmax_backward(int dtype, Int rows, int k, const void* gradient, const void* logits,
                              const void* ratios, const void* curve, void* dlogits);
