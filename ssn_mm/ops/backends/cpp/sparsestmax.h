// SparsestMax of one row; ops/projection.py has the same steps in solve and jacobian_product.
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

void sparsestmax(const double* z, int k, double r, double* p, double* stretch, double* bend) {
  std::vector<int> order(k);
  std::iota(order.begin(), order.end(), 0);
  bool broken = std::isnan(r);
  for (int i = 0; i < k; ++i) broken |= std::isnan(z[i]);
  std::fill(p, p + k, broken ? std::numeric_limits<double>::quiet_NaN() : 0.0);
  *stretch = 1;
  *bend = 0;
  if (broken) return;
  std::stable_sort(order.begin(), order.end(), [z](int i, int j) { return z[i] > z[j]; });
  if (r >= std::sqrt((k - 1.0) / k) - SSN_RADIUS_SLACK) {
    p[order[0]] = 1;
    return;
  }
  const double tie = SSN_TIE_DISTANCE, top = z[order[0]];
  double total = 0, squares = 0, mean = 0;
  int size = 0;
  for (int m = 1; m <= k; ++m) {
    double s = z[order[m - 1]] - top;
    total += s;
    squares += s * s;
    double centre = total / m, square = squares - centre * total;
    double rho2 = std::max(r * r + (1.0 / k - 1.0 / m), 0.0);
    bool outside = square >= rho2;
    double pull = outside ? 1 : std::sqrt(rho2) / std::max(std::sqrt(square), tie);
    bool tied = m < k && z[order[m]] == z[order[m - 1]];
    if (tied || !(m * s - total > -1) || !(1.0 / m + pull * (s - centre) >= 0)) continue;
    size = m;
    mean = centre;
    *stretch = pull;
    *bend = outside || square <= tie * tie ? 0 : pull / square;
  }
  for (int i = 0; i < size; ++i)
    p[order[i]] = 1.0 / size + *stretch * (z[order[i]] - top - mean);
}

void sparsestmax_backward(const double* g, const double* z, const double* p, int k, double stretch,
                          double bend, double* dz) {
  double size = 0, mean_g = 0, mean_z = 0, along = 0;
  for (int i = 0; i < k; ++i)
    if (p[i] > 0) size += 1, mean_g += g[i], mean_z += z[i];
  mean_g /= size;
  mean_z /= size;
  for (int i = 0; i < k; ++i)
    if (p[i] > 0) along += (g[i] - mean_g) * (z[i] - mean_z);
  for (int i = 0; i < k; ++i)
    dz[i] = p[i] > 0 ? stretch * (g[i] - mean_g) - bend * along * (z[i] - mean_z) : 0;
}
