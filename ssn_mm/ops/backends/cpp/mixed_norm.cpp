#include "mixed_norm.h"

#include <numeric>

#include "switch_norm.h"
#include "types.h"

bool ssn_mixed_norm(int dtype, Int n, Int c, Int s, int channels_last, int threads, Int groups,
                    const double* mean, const double* var, double eps, Int correction, bool relu,
                    const void* x, const void* weight, const void* bias, const void* running_mean,
                    const void* running_var, void* y) {
  const Shape shape{n, c, s, channels_last != 0, threads};
  Parts parts{groups, {}, {}, eps, correction, relu};
  for (int i = 0; i < kKinds; ++i) {
    parts.mean[i] = mean[i] / std::accumulate(mean, mean + kKinds, 0.0);
    parts.var[i] = var[i] / std::accumulate(var, var + kKinds, 0.0);
  }
  WITH_TYPES({
    const MixedNorm<T, A> norm(shape, parts, (const A*)weight, (const A*)bias,
                               (const A*)running_mean, (const A*)running_var);
    norm.run((const T*)x, (T*)y);
  });
}
