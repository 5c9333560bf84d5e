// The small stage: (N, C) numbers between the passes over the map. backends/mix.py has its formulas
// and names.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "maps.h"
#include "sparsestmax.h"

enum Kind { kIN = 1, kLN, kBN, kGN };  // four bits each in Recipe::kinds

struct Recipe {
  Int n, c, groups;
  int kinds, k;
  double eps;
  Kind kind(int i) const { return Kind(kinds >> (4 * i) & 15); }
};

template <class A> double inner(Int size, const A* a, const A* b) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (Int i = 0; i < size; ++i) sum += double(a[i]) * b[i];
  return sum;
}

// A normalizer's moments, at its own size: (N), (C) or (N, groups); IN's are those of the map.
template <class A> struct Merged {
  Kind kind;
  Int c, width;      // channels that share a value
  Int size = 0;      // 0 for IN
  A count = 1;       // instances that share a value
  bool running;      // constants instead of moments of this batch
  std::vector<A> mean, var;
  const A *own_mean, *own_var;

  Merged(const Recipe& q, Kind kind, const A* m, const A* v, const A* rm, const A* rv)
      : kind(kind), c(q.c), width(kind == kGN ? q.c / q.groups : q.c), running(kind == kBN && rm),
        own_mean(running ? rm : m), own_var(running ? rv : v) {
    if (kind == kIN) return;
    size = kind == kBN ? c : q.n * (c / width);
    if (running) return;
    count = kind == kBN ? q.n : width;
    mean.assign(size, 0);
    var.assign(size, 0);
    std::vector<A> row(c);
    for (Int n = 0; n < q.n; ++n) add(n, m + n * c, mean);
    for (A& value : mean) value /= count;
    for (Int n = 0; n < q.n; ++n) {  // Chan: mean of variances + variance of means
      const A *mr = m + n * c, *vr = v + n * c;
      each(n, mean.data(), [&](Int i, A mu) { row[i] = vr[i] + (mr[i] - mu) * (mr[i] - mu); });
      add(n, row.data(), var);
    }
    for (A& value : var) value /= count;
    own_mean = mean.data();
    own_var = var.data();
  }

  // f(channel, value that this normalizer has for the channel of sample n)
  template <class F> void each(Int n, const A* values, F f) const {
    if (kind == kIN || kind == kBN) {
      const A* row = values + (kind == kIN ? n * c : 0);
#pragma omp simd
      for (Int i = 0; i < c; ++i) f(i, row[i]);
      return;
    }
    Int per_sample = c / width;
    for (Int g = 0; g < per_sample; ++g) {
      A value = values[n * per_sample + g];
#pragma omp simd
      for (Int i = g * width; i < (g + 1) * width; ++i) f(i, value);
    }
  }

  // adds a row of sample n to the sums of this normalizer
  void add(Int n, const A* row, std::vector<A>& to) const {
    if (kind == kBN) {
      for (Int i = 0; i < c; ++i) to[i] += row[i];
      return;
    }
    Int per_sample = c / width;
    for (Int g = 0; g < per_sample; ++g) {
      A sum = 0;
#pragma omp simd reduction(+ : sum)
      for (Int i = g * width; i < (g + 1) * width; ++i) sum += row[i];
      to[n * per_sample + g] += sum;
    }
  }
};

template <class A>
std::vector<Merged<A>> merge(const Recipe& q, const A* m, const A* v, const A* rm, const A* rv) {
  std::vector<Merged<A>> merged;
  merged.reserve(q.k);
  for (int k = 0; k < q.k; ++k) merged.emplace_back(q, q.kind(k), m, v, rm, rv);
  return merged;
}

template <class A>
void mix(const Recipe& q, const A* m, const A* v, const A* logits, const double* radius,
         const A* weight, const A* rm, const A* rv, A* ratios, A* stretch, A* bend, A* shift,
         A* rstd, A* scale, A* batch) {
  for (int row = 0; row < 2; ++row) {
    double z[4], p[4], pull = 1, turn = 0;
    std::copy(logits + row * q.k, logits + (row + 1) * q.k, z);
    if (radius) sparsestmax(z, q.k, *radius, p, &pull, &turn);
    std::copy(radius ? p : z, (radius ? p : z) + q.k, ratios + row * q.k);
    stretch[row] = pull;
    bend[row] = turn;
  }
  auto merged = merge(q, m, v, rm, rv);
  for (Int n = 0; n < q.n; ++n) {
    A *mu = shift + n * q.c, *var = rstd + n * q.c;
    std::fill(mu, mu + q.c, A(0));
    std::fill(var, var + q.c, A(0));
    for (int k = 0; k < q.k; ++k) {
      A p = ratios[k], p_var = ratios[q.k + k];
      merged[k].each(n, merged[k].own_mean, [&](Int i, A value) { mu[i] += p * value; });
      merged[k].each(n, merged[k].own_var, [&](Int i, A value) { var[i] += p_var * value; });
    }
    A* factor = scale + n * q.c;
    for (Int i = 0; i < q.c; ++i) {
      var[i] = 1 / std::sqrt(var[i] + A(q.eps));
      factor[i] = weight ? weight[i] * var[i] : var[i];
    }
  }
  for (int k = 0; k < q.k; ++k)
    if (q.kind(k) == kBN && !rm) {
      std::copy(merged[k].own_mean, merged[k].own_mean + q.c, batch);
      std::copy(merged[k].own_var, merged[k].own_var + q.c, batch + q.c);
    }
}

template <class A>
void mix_backward(const Recipe& q, Int area, const A* m, const A* v, const A* ratios,
                  const A* stretch, const A* bend, const A* shift, const A* rstd, const A* total,
                  const A* dot, const A* logits, bool constrained, const A* weight, const A* rm,
                  const A* rv, A* slope, A* offset, A* dlogits, A* dweight, A* dbias) {
  auto merged = merge(q, m, v, rm, rv);
  std::vector<std::vector<A>> mean_grad(q.k), var_grad(q.k);  // sums of G_M and G_V
  for (int k = 0; k < q.k; ++k) {
    mean_grad[k].assign(merged[k].size, 0);
    var_grad[k].assign(merged[k].size, 0);
  }
  std::vector<double> dp(2 * q.k, 0.0);
  std::vector<A> to_mean(q.c), to_var(q.c), row(q.c);
  auto gradients = [&](Int n) {  // G_M and G_V of sample n
    for (Int i = 0; i < q.c; ++i) {
      A gamma = weight ? weight[i] : A(1), r = rstd[n * q.c + i];
      to_mean[i] = -gamma * r * total[n * q.c + i];
      to_var[i] = A(-0.5) * r * r * r * gamma * dot[n * q.c + i];
    }
  };
  std::fill(dweight, dweight + q.c, A(0));
  std::fill(dbias, dbias + q.c, A(0));
  for (Int n = 0; n < q.n; ++n) {
    gradients(n);
    for (Int i = 0; i < q.c; ++i) {
      dweight[i] += rstd[n * q.c + i] * dot[n * q.c + i];
      dbias[i] += total[n * q.c + i];
    }
    for (int k = 0; k < q.k; ++k) {
      if (q.kind(k) == kIN) {
        dp[k] += inner(q.c, to_mean.data(), m + n * q.c);
        dp[q.k + k] += inner(q.c, to_var.data(), v + n * q.c);
      } else {
        merged[k].add(n, to_mean.data(), mean_grad[k]);
        merged[k].add(n, to_var.data(), var_grad[k]);
      }
    }
  }
  for (int k = 0; k < q.k; ++k) {
    dp[k] += inner(merged[k].size, mean_grad[k].data(), merged[k].own_mean);
    dp[q.k + k] += inner(merged[k].size, var_grad[k].data(), merged[k].own_var);
  }
  for (Int n = 0; n < q.n; ++n) {
    gradients(n);
    A *dvar = slope + n * q.c, *dmean = offset + n * q.c;
    std::fill(dvar, dvar + q.c, A(0));
    std::fill(dmean, dmean + q.c, A(0));
    const A *mu = m + n * q.c, *mixed = shift + n * q.c;
    for (int k = 0; k < q.k; ++k) {
      A share = ratios[k], share_var = ratios[q.k + k];
      const Merged<A>& own = merged[k];
      if (own.kind == kIN) {
        for (Int i = 0; i < q.c; ++i) {
          dmean[i] += share * to_mean[i];
          dvar[i] += share_var * to_var[i];
        }
      } else if (!own.running) {
        share /= own.count;
        share_var /= own.count;
        own.each(n, mean_grad[k].data(), [&](Int i, A g) { dmean[i] += share * g; });
        own.each(n, var_grad[k].data(), [&](Int i, A g) { row[i] = share_var * g; });
        own.each(n, own.own_mean, [&](Int i, A mean) {
          dvar[i] += row[i];
          dmean[i] += 2 * row[i] * (mu[i] - mean);
        });
      }
    }
    for (Int i = 0; i < q.c; ++i) {
      A p = dvar[i] * (A(2) / area);
      offset[n * q.c + i] = dmean[i] / area + p * (mixed[i] - mu[i]);
      slope[n * q.c + i] = p;
    }
  }
  for (int row = 0; row < 2; ++row) {
    double z[4], p[4], dz[4];
    const double* g = dp.data() + row * q.k;
    std::copy(logits + row * q.k, logits + (row + 1) * q.k, z);
    std::copy(ratios + row * q.k, ratios + (row + 1) * q.k, p);
    if (constrained) sparsestmax_backward(g, z, p, q.k, stretch[row], bend[row], dz);
    std::copy(constrained ? dz : g, (constrained ? dz : g) + q.k, dlogits + row * q.k);
  }
}
