// Mixing: the numbers (N, C) between the passes over the map. backends/mix.py has the formulas and
// names.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "maps.h"
#include "sparsestmax.h"
#include "switch_norm.h"

static_assert(kKinds == 5,
              "Numbers, Merged, mix and mix_backward lack the formula of a further kind");
enum Source { kRatios, kLogits, kSelected };  // what the logits are; ratios are two rows of k

struct Recipe {
  Int n, c, groups;  // 1 group without GN
  int kinds, k;      // four bits for each of k normalizers, at most kKinds: 1 + its Kind
  double eps;
  int threads;

  Kind kind(int i) const { return Kind((kinds >> (4 * i) & 15) - 1); }
  bool has(Kind kind) const {
    for (int i = 0; i < k; ++i)
      if (this->kind(i) == kind) return true;
    return false;
  }
  bool measures() const {
    for (int i = 0; i < k; ++i)
      if (kind(i) != kFBN) return true;
    return false;
  }
};

// A row of ratios by kind, 0 for normalizers that do not take part.
template <class A> struct Shares {
  A of[kKinds] = {};
  Shares(const Recipe& q, const A* ratios) {
    for (int i = 0; i < q.k; ++i) of[q.kind(i)] += ratios[i];  // FBN may occur twice
  }
};

// Whether a normalizer has a ratio above 0 in one of both rows.
template <class A> bool takes_part(const Recipe& q, Kind kind, const A* ratios) {
  return Shares<A>(q, ratios).of[kind] != 0 || Shares<A>(q, ratios + q.k).of[kind] != 0;
}

// A number for each set that LN, BN and GN measure: (N), (C) and (N, groups); 0 without them. FBN's
// sets are BN's; averages of gradients over them are the same, and in bn whether BN is there or not.
template <class A> struct Numbers {
  std::vector<A> ln, bn, gn, fbn;
  explicit Numbers(const Recipe& q) : ln(q.n), bn(q.c), gn(q.n * q.groups), fbn(q.c) {}
};

constexpr Int kStrip = 256;  // channels whose sums stay in the first cache

// Calls f(first, last) for strips of channels.
template <class F> void each_strip(const Recipe& q, F f) {
  each((q.c + kStrip - 1) / kStrip, q.threads, [&](Int strip) {
    f(strip * kStrip, std::min((strip + 1) * kStrip, q.c));
  });
}

// Averages of f(n, i, centre of the set that i belongs to). Each sum has one order, so that results
// repeat. Every loop has its own copy of f, in registers: else what f reads could change with each
// sum.
template <class A, class F>
void average_samples(const Recipe& q, const Numbers<A>& centre, Numbers<A>& to, F f) {
  if (q.has(kLN))
    each(q.n, q.threads, [&](Int n) {
      const F term = f;
      A sum = 0, middle = centre.ln[n];
      const Int c = q.c;
#pragma omp simd reduction(+ : sum)
      for (Int i = 0; i < c; ++i) sum += term(n, i, middle);
      to.ln[n] = sum / c;
    });
  if (q.has(kGN))
    each(q.n * q.groups, q.threads, [&](Int g) {
      const F term = f;
      const Int width = q.c / q.groups, n = g / q.groups, first = g % q.groups * width;
      A sum = 0, middle = centre.gn[g];
#pragma omp simd reduction(+ : sum)
      for (Int i = first; i < first + width; ++i) sum += term(n, i, middle);
      to.gn[g] = sum / width;
    });
}

template <class A, class F>
void average_batch(const Recipe& q, const Numbers<A>& centre, Numbers<A>& to, F f) {
  if (!q.has(kBN)) return;
  each_strip(q, [&](Int first, Int last) {
    const F term = f;
    const A* middle = centre.bn.data();
    A* sums = to.bn.data();
    std::fill(sums + first, sums + last, A(0));
    for (Int n = 0; n < q.n; ++n)
#pragma omp simd
      for (Int i = first; i < last; ++i) sums[i] += term(n, i, middle[i]);
    for (Int i = first; i < last; ++i) sums[i] /= q.n;
  });
}

// The moments of LN, BN and GN by Chan's formula: mean of variances + variance of means; and FBN's.
template <class A> struct Merged {
  Numbers<A> mean, var;

  Merged(const Recipe& q, const A* m, const A* v, const A* running_mean, const A* running_var)
      : mean(q), var(q) {
    const Int c = q.c;
    auto value = [=](Int n, Int i, A) { return m[n * c + i]; };
    auto spread = [=](Int n, Int i, A middle) {
      A d = m[n * c + i] - middle;
      return v[n * c + i] + d * d;
    };
    average_samples(q, mean, mean, value);
    average_samples(q, mean, var, spread);
    average_batch(q, mean, mean, value);
    average_batch(q, mean, var, spread);
    if (running_mean) {
      mean.fbn.assign(running_mean, running_mean + c);
      var.fbn.assign(running_var, running_var + c);
    }
  }
};

template <class A>
void mix(const Recipe& q, const A* m, const A* v, const A* logits, Source source, double radius,
         const A* weight, const A* running_mean, const A* running_var, A* ratios, A* curve,
         A* shift, A* rstd, A* scale, A* batch) {
  for (int row = 0; row < 2; ++row) {
    double p[kKinds] = {}, stretch = 1, bend = 0;
    if (source == kSelected) {
      p[q.k == 1 ? 0 : row] = 1;
    } else {
      double z[kKinds];
      std::copy(logits + row * q.k, logits + (row + 1) * q.k, z);
      if (source == kLogits) sparsestmax(z, q.k, radius, p, &stretch, &bend);
      else std::copy(z, z + q.k, p);
    }
    std::copy(p, p + q.k, ratios + row * q.k);
    curve[row] = stretch;
    curve[2 + row] = bend;
  }
  curve[4] = 1;
  const Merged<A> merged(q, m, v, running_mean, running_var);
  const Shares<A> mean(q, ratios), var(q, ratios + q.k);
  const Int width = q.c / q.groups;
  const A *bn_mean = merged.mean.bn.data(), *bn_var = merged.var.bn.data();
  const A *fbn_mean = merged.mean.fbn.data(), *fbn_var = merged.var.fbn.data();
  each(q.n * q.groups, q.threads, [&](Int g) {
    Int n = g / q.groups, o = n * q.c;
    A same = mean.of[kLN] * merged.mean.ln[n] + mean.of[kGN] * merged.mean.gn[g];
    A same_var = var.of[kLN] * merged.var.ln[n] + var.of[kGN] * merged.var.gn[g] + A(q.eps);
    A in = mean.of[kIN], bn = mean.of[kBN], in_var = var.of[kIN], bn_var_share = var.of[kBN];
    A fbn = mean.of[kFBN], fbn_var_share = var.of[kFBN];
#pragma omp simd
    for (Int i = g % q.groups * width; i < (g % q.groups + 1) * width; ++i) {
      shift[o + i] = in * m[o + i] + bn * bn_mean[i] + fbn * fbn_mean[i] + same;
      A r = 1 / std::sqrt(in_var * v[o + i] + bn_var_share * bn_var[i] +
                          fbn_var_share * fbn_var[i] + same_var);
      rstd[o + i] = r;
      scale[o + i] = weight ? weight[i] * r : r;
    }
  });
  if (q.has(kBN)) {
    std::copy(bn_mean, bn_mean + q.c, batch);
    std::copy(bn_var, bn_var + q.c, batch + q.c);
  }
}

// total and dot, T and E, are overwritten by offset and slope.
template <class A>
void mix_backward(const Recipe& q, Int area, const A* m, const A* v, const A* ratios,
                  const A* curve, const A* rstd, const A* scale, A* total, A* dot, const A* logits,
                  Source source, const A* running_mean, const A* running_var, A* dlogits,
                  A* dweight, A* dbias) {
  const Merged<A> merged(q, m, v, running_mean, running_var);
  const Numbers<A> none(q);
  Numbers<A> to_mean(q), to_var(q);
  each_strip(q, [&](Int first, Int last) {
    A *bn = to_mean.bn.data(), *bn_var = to_var.bn.data();
    std::fill(dweight + first, dweight + last, A(0));
    std::fill(dbias + first, dbias + last, A(0));
    for (Int o = 0; o < q.n * q.c; o += q.c)
#pragma omp simd
      for (Int i = first; i < last; ++i) {
        A t = total[o + i], e = dot[o + i], r = rstd[o + i], s = scale[o + i];
        dweight[i] += r * e;
        dbias[i] += t;
        bn[i] += total[o + i] = -s * t;                     // G_M
        bn_var[i] += dot[o + i] = A(-0.5) * s * r * r * e;  // G_V
      }
    for (Int i = first; i < last; ++i) {
      bn[i] /= q.n;
      bn_var[i] /= q.n;
    }
  });
  average_samples(q, none, to_mean, [total, c = q.c](Int n, Int i, A) { return total[n * c + i]; });
  average_samples(q, none, to_var, [dot, c = q.c](Int n, Int i, A) { return dot[n * c + i]; });

  const Shares<A> mean(q, ratios), var(q, ratios + q.k);
  std::vector<double> in(2 * q.n);  // dp of IN, by sample
  const Int width = q.c / q.groups;
  each(q.n, q.threads, [&](Int n) {
    Int o = n * q.c;
    double p = 0, p_var = 0;
#pragma omp simd reduction(+ : p, p_var)
    for (Int i = o; i < o + q.c; ++i) {
      p += double(total[i]) * m[i];
      p_var += double(dot[i]) * v[i];
    }
    in[2 * n] = p;
    in[2 * n + 1] = p_var;
    const A in_mean = mean.of[kIN], in_var = var.of[kIN], part = A(1) / area;
    const A bn = mean.of[kBN], bn_var = var.of[kBN];
    A ln = var.of[kLN] * to_var.ln[n], ln_middle = merged.mean.ln[n];
    for (Int g = n * q.groups; g < (n + 1) * q.groups; ++g) {
      A gn = var.of[kGN] * to_var.gn[g], gn_middle = merged.mean.gn[g];
      A same = mean.of[kLN] * to_mean.ln[n] + mean.of[kGN] * to_mean.gn[g];
      const A *bn_grad = to_mean.bn.data(), *bn_grad_var = to_var.bn.data();
      const A* bn_middle = merged.mean.bn.data();
#pragma omp simd
      for (Int i = g % q.groups * width; i < (g % q.groups + 1) * width; ++i) {
        A mu = m[o + i], b = bn_var * bn_grad_var[i];
        A dvar = in_var * dot[o + i] + ln + gn + b;
        A dmean = in_mean * total[o + i] + bn * bn_grad[i] + same +
                  2 * (ln * (mu - ln_middle) + gn * (mu - gn_middle) + b * (mu - bn_middle[i]));
        total[o + i] = dmean * part;
        dot[o + i] = 2 * dvar * part;
      }
    }
  });

  if (source == kSelected) return;
  double dp[2][kKinds] = {};
  for (Int n = 0; n < q.n; ++n) {
    dp[0][kIN] += in[2 * n];
    dp[1][kIN] += in[2 * n + 1];
  }
  auto inner = [](const std::vector<A>& a, const std::vector<A>& b, Int count) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < a.size(); ++i) sum += double(a[i]) * b[i];
    return sum * count;
  };
  for (int row = 0; row < 2; ++row) {
    const Numbers<A>&g = row ? to_var : to_mean, &value = row ? merged.var : merged.mean;
    dp[row][kLN] = inner(g.ln, value.ln, q.c);
    dp[row][kBN] = inner(g.bn, value.bn, q.n);
    dp[row][kFBN] = inner(g.bn, value.fbn, q.n);
    dp[row][kGN] = inner(g.gn, value.gn, width);
    double z[kKinds], p[kKinds], grad[kKinds], dz[kKinds];
    for (int i = 0; i < q.k; ++i) grad[i] = dp[row][q.kind(i)];
    std::copy(logits + row * q.k, logits + (row + 1) * q.k, z);
    std::copy(ratios + row * q.k, ratios + (row + 1) * q.k, p);
    if (source == kLogits)
      sparsestmax_backward(grad, z, p, q.k, curve[row], curve[2 + row], dz);
    else
      std::copy(grad, grad + q.k, dz);
    std::copy(dz, dz + q.k, dlogits + row * q.k);
  }
}
