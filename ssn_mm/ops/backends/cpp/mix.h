// Mixing: the numbers (N, C) between the passes over the map. backends/mix.py has the formulas and
// names.
#pragma once
#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "lanes.h"
#include "maps.h"
#include "sparsestmax.h"
#include "switch_norm.h"

static_assert(kKinds == 5,
              "Numbers, Merged, Mix and MixBackward lack the formula of a further kind");
enum Source { kRatios, kLogits, kSelected };  // what the logits are; ratios are two rows of k

struct Recipe {
  Int n, c, groups;  // 1 group without GN
  int kinds, k;      // four bits for each of k normalizers, at most kKinds: 1 + its Kind
  double eps;

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

// Calls f(first, last, group) for the channels of a tile, group by group.
template <class F> void each_group(const Recipe& q, Tile t, F f) {
  const Int width = q.c / q.groups, end = t.c + t.width;
  for (Int first = t.c; first < end;) {
    const Int group = first / width, last = std::min((group + 1) * width, end);
    f(first, last, group);
    first = last;
  }
}

// A number for each set that LN, BN and GN measure: (N), (C) and (N, groups); 0 without them. FBN's
// sets are BN's; averages of gradients over them are the same, and in bn whether BN is there or not.
template <class A> struct Numbers {
  std::unique_ptr<A[]> all;  // one piece of memory, since fetching some costs as much as mixing
  A *ln, *bn, *gn;
  explicit Numbers(const Recipe& q)
      : all(new A[q.c + q.n + q.n * q.groups]()), ln(all.get() + q.c), bn(all.get()), gn(ln + q.n) {}
};

// Mixing as parts that threads may share: averages over some samples, or over a strip of channels.
class MixParts {
 public:
  MixParts(const Recipe& q, bool samples, bool strips) : n_(q.n), c_(q.c) {
    constexpr Int kNumbers = 1 << 12, kLeast = 64, kMost = 1024;  // kMost stay in the first cache
    samples_ = std::max(Int(1), kNumbers / q.c);
    strip_ = std::clamp(kNumbers / q.n, kLeast, kMost);
    of_samples_ = samples ? (n_ + samples_ - 1) / samples_ : 0;
    of_strips_ = strips ? (c_ + strip_ - 1) / strip_ : 0;
  }
  Int count() const { return of_samples_ + of_strips_; }
  // Calls sample(n) for each n of a part, or strip(first, last).
  template <class F, class G> void run(Int part, F sample, G strip) const {
    if (part < of_samples_) {
      for (Int n = part * samples_; n < std::min((part + 1) * samples_, n_); ++n) sample(n);
    } else {
      const Int first = (part - of_samples_) * strip_;
      strip(first, std::min(first + strip_, c_));
    }
  }

 private:
  Int n_, c_, samples_, strip_, of_samples_, of_strips_;
};

// LN's and GN's averages for a sample of f(n)(at, centre of the set), over its channels.
template <class A, class F>
void average_sample(const Recipe& q, Int n, const Numbers<A>& centre, Numbers<A>& to, F f) {
  if (q.has(kLN)) {
    const A middle = centre.ln[n];
    to.ln[n] = sum_of<A>(q.c, [=](auto at) { return f(at, 0, middle); }) / q.c;
  }
  if (!q.has(kGN)) return;
  const Int width = q.c / q.groups;
  for (Int g = 0; g < q.groups; ++g) {
    const A middle = centre.gn[n * q.groups + g];
    const Int first = g * width;
    to.gn[n * q.groups + g] =
        sum_of<A>(width, [=](auto at) { return f(at, first, middle); }) / width;
  }
}

// The moments of LN, BN and GN by Chan's formula: mean of variances + variance of means; and FBN's.
template <class A> struct Merged {
  Numbers<A> mean, var;
  const A *fbn, *fbn_var;  // BN's where there is no FBN, whose ratio is 0 then

  Merged(const Recipe& q, const A* running_mean, const A* running_var)
      : mean(q), var(q), fbn(running_mean ? running_mean : mean.bn),
        fbn_var(running_mean ? running_var : var.bn) {}

  void sample(const Recipe& q, Int n, const A* all_m, const A* all_v) {
    const A *m = all_m + n * q.c, *v = all_v + n * q.c;
    average_sample(q, n, mean, mean, [=](auto at, Int o, A) { return at(m + o); });
    average_sample(q, n, mean, var, [=](auto at, Int o, A middle) {
      auto d = at(m + o) - middle;
      return at(v + o) + d * d;
    });
  }

  void strip(const Recipe& q, Int first, Int last, const A* m, const A* v) {
    if (!q.has(kBN)) return;
    A *middle = mean.bn, *spread = var.bn;
    std::fill(middle + first, middle + last, A(0));
    std::fill(spread + first, spread + last, A(0));
    for (Int o = 0; o < q.n * q.c; o += q.c)
#pragma omp simd
      for (Int i = first; i < last; ++i) middle[i] += m[o + i];
    for (Int i = first; i < last; ++i) middle[i] /= q.n;
    for (Int o = 0; o < q.n * q.c; o += q.c)
#pragma omp simd
      for (Int i = first; i < last; ++i) {
        const A d = m[o + i] - middle[i];
        spread[i] += v[o + i] + d * d;
      }
    for (Int i = first; i < last; ++i) spread[i] /= q.n;
  }
};

// Parts of the state that the forward pass leaves to the backward pass, see backends/saved.py.
template <class B> struct State {
  B *mean, *var, *shift, *rstd, *scale, *curve;
  State(const Recipe& q, B* state) {
    const Int size = q.n * q.c;
    mean = state, var = mean + size, shift = var + size, rstd = shift + size;
    scale = rstd + size, curve = scale + size;
  }
};

// The ratios of both rows, and what the backward pass needs of SparsestMax.
template <class A>
void make_ratios(const Recipe& q, const A* logits, Source source, double radius, A* ratios,
                 A* curve) {
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
}

// From instance moments to the factors of the map.
template <class A> struct Mix {
  const Recipe& q;
  const State<A> s;
  const A* weight;
  const Shares<A> mean, var;
  Merged<A> merged;
  const MixParts parts;

  Mix(const Recipe& q, const State<A>& s, const A* ratios, const A* weight, const A* running_mean,
      const A* running_var)
      : q(q), s(s), weight(weight), mean(q, ratios), var(q, ratios + q.k),
        merged(q, running_mean, running_var),
        parts(q, q.has(kLN) || q.has(kGN), q.has(kBN)) {}

  void merge(Int part) {
    parts.run(
        part, [&](Int n) { merged.sample(q, n, s.mean, s.var); },
        [&](Int first, Int last) { merged.strip(q, first, last, s.mean, s.var); });
  }

  // Shift, rstd and scale of a tile, from averages over all that its normalizers measure.
  void factors(Tile t) const {
    for (Int n = t.n; n < t.n + t.samples; ++n)
      each_group(q, t, [&](Int first, Int last, Int group) { factors(n, first, last, group); });
  }

 private:
  void factors(Int n, Int first, Int last, Int group) const {
    const Int o = n * q.c, g = n * q.groups + group;
    const A same = mean.of[kLN] * merged.mean.ln[n] + mean.of[kGN] * merged.mean.gn[g];
    const A same_var =
        var.of[kLN] * merged.var.ln[n] + var.of[kGN] * merged.var.gn[g] + A(q.eps);
    const A in = mean.of[kIN], bn = mean.of[kBN], fbn = mean.of[kFBN];
    const A in_var = var.of[kIN], bn_var = var.of[kBN], fbn_var = var.of[kFBN];
    const A *m = s.mean + o, *v = s.var + o, *gamma = weight;
    const A *b = merged.mean.bn, *b_var = merged.var.bn, *f = merged.fbn, *f_var = merged.fbn_var;
    A *shift = s.shift + o, *rstd = s.rstd + o, *scale = s.scale + o;
#pragma omp simd
    for (Int i = first; i < last; ++i) {
      shift[i] = in * m[i] + bn * b[i] + fbn * f[i] + same;
      const A r = 1 / std::sqrt(in_var * v[i] + bn_var * b_var[i] + fbn_var * f_var[i] + same_var);
      rstd[i] = r;
      scale[i] = gamma ? gamma[i] * r : r;
    }
  }
};

// From sums over each instance, total and dot, to the other factors of its gradient. T and E, and
// G_M and G_V that follow from them, have their names from backends/mix.py.
template <class A> struct MixBackward {
  const Recipe& q;
  const State<const A> s;
  A *total, *dot;
  const Shares<A> mean, var;
  Merged<A> merged;
  Numbers<A> none, to_mean, to_var;
  std::vector<double> in;  // dp of IN, by sample
  const bool learns;
  const MixParts parts;

  MixBackward(const Recipe& q, const State<const A>& s, const A* ratios, Source source, A* total,
              A* dot, const A* running_mean, const A* running_var)
      : q(q), s(s), total(total), dot(dot), mean(q, ratios), var(q, ratios + q.k),
        merged(q, running_mean, running_var), none(q), to_mean(q), to_var(q), in(2 * q.n),
        learns(source != kSelected),
        parts(q, q.has(kLN) || q.has(kGN) || (learns && q.has(kIN)), true) {}

  void average(Int part, A* dweight, A* dbias) {
    parts.run(
        part, [&](Int n) { sample(n); },
        [&](Int first, Int last) { strip(first, last, dweight, dbias); });
  }

  // Overwrites total and dot of a tile by offset and slope, for maps of so many pixels.
  void slopes(Tile t, Int area) {
    for (Int n = t.n; n < t.n + t.samples; ++n)
      each_group(q, t, [&](Int first, Int last, Int group) {
        slopes(n, first, last, group, area);
      });
  }

  // The gradients of logits or ratios.
  void ratios(const A* logits, const A* ratios, Source source, A* dlogits) const {
    for (int row = 0; row < 2; ++row) {
      const Numbers<A>&g = row ? to_var : to_mean, &value = row ? merged.var : merged.mean;
      double dp[kKinds] = {}, z[kKinds], p[kKinds], grad[kKinds], dz[kKinds];
      for (Int n = 0; n < q.n; ++n) dp[kIN] += in[2 * n + row];
      const A* fbn = row ? merged.fbn_var : merged.fbn;
      if (q.has(kLN)) dp[kLN] = inner(g.ln, value.ln, q.n) * q.c;
      if (q.has(kBN)) dp[kBN] = inner(g.bn, value.bn, q.c) * q.n;
      if (q.has(kFBN)) dp[kFBN] = inner(g.bn, fbn, q.c) * q.n;
      if (q.has(kGN)) dp[kGN] = inner(g.gn, value.gn, q.n * q.groups) * (q.c / q.groups);
      for (int i = 0; i < q.k; ++i) grad[i] = dp[q.kind(i)];
      std::copy(logits + row * q.k, logits + (row + 1) * q.k, z);
      std::copy(ratios + row * q.k, ratios + (row + 1) * q.k, p);
      if (source == kLogits)
        sparsestmax_backward(grad, z, p, q.k, s.curve[row], s.curve[2 + row], dz);
      else
        std::copy(grad, grad + q.k, dz);
      std::copy(dz, dz + q.k, dlogits + row * q.k);
    }
  }

 private:
  static double inner(const A* a, const A* b, Int size) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (Int i = 0; i < size; ++i) sum += double(a[i]) * b[i];
    return sum;
  }

  void sample(Int n) {
    const Int o = n * q.c;
    const A *t = total + o, *e = dot + o, *r = s.rstd + o, *f = s.scale + o;
    const A *m = s.mean + o, *v = s.var + o;
    merged.sample(q, n, s.mean, s.var);
    average_sample(q, n, none, to_mean,
                   [=](auto at, Int i, A) { return -at(f + i) * at(t + i); });
    average_sample(q, n, none, to_var, [=](auto at, Int i, A) {
      auto rstd = at(r + i);
      return A(-0.5) * at(f + i) * rstd * rstd * at(e + i);
    });
    if (!learns || !q.has(kIN)) return;
    double p = 0, p_var = 0;
    const Int c = q.c;
#pragma omp simd reduction(+ : p, p_var)
    for (Int i = 0; i < c; ++i) {
      p += double(-f[i] * t[i]) * m[i];
      p_var += double(A(-0.5) * f[i] * r[i] * r[i] * e[i]) * v[i];
    }
    in[2 * n] = p;
    in[2 * n + 1] = p_var;
  }

  void strip(Int first, Int last, A* dweight, A* dbias) {
    merged.strip(q, first, last, s.mean, s.var);
    A *bn = to_mean.bn, *bn_var = to_var.bn;
    const A *all = total, *all_dot = dot, *rstd = s.rstd, *scale = s.scale;
    std::fill(dweight + first, dweight + last, A(0));
    std::fill(dbias + first, dbias + last, A(0));
    for (Int o = 0; o < q.n * q.c; o += q.c)
#pragma omp simd
      for (Int i = first; i < last; ++i) {
        const A t = all[o + i], e = all_dot[o + i], r = rstd[o + i], f = scale[o + i];
        dweight[i] += r * e;
        dbias[i] += t;
        bn[i] += -f * t;                     // G_M
        bn_var[i] += A(-0.5) * f * r * r * e;  // G_V
      }
    for (Int i = first; i < last; ++i) {
      bn[i] /= q.n;
      bn_var[i] /= q.n;
    }
  }

  void slopes(Int n, Int first, Int last, Int group, Int area) {
    const Int o = n * q.c, g = n * q.groups + group;
    const A part = A(1) / area, in_mean = mean.of[kIN], in_var = var.of[kIN];
    const A bn = mean.of[kBN], bn_var = var.of[kBN];
    const A ln = var.of[kLN] * to_var.ln[n], ln_middle = merged.mean.ln[n];
    const A gn = var.of[kGN] * to_var.gn[g], gn_middle = merged.mean.gn[g];
    const A same = mean.of[kLN] * to_mean.ln[n] + mean.of[kGN] * to_mean.gn[g];
    const A *bn_grad = to_mean.bn, *bn_grad_var = to_var.bn;
    const A *bn_middle = merged.mean.bn, *m = s.mean + o;
    const A *rstd = s.rstd + o, *scale = s.scale + o;
    A *offset = total + o, *slope = dot + o;
#pragma omp simd
    for (Int i = first; i < last; ++i) {
      const A mu = m[i], r = rstd[i], f = scale[i], b = bn_var * bn_grad_var[i];
      const A to_m = -f * offset[i], to_v = A(-0.5) * f * r * r * slope[i];
      const A dvar = in_var * to_v + ln + gn + b;
      const A dmean = in_mean * to_m + bn * bn_grad[i] + same +
                      2 * (ln * (mu - ln_middle) + gn * (mu - gn_middle) + b * (mu - bn_middle[i]));
      offset[i] = dmean * part;
      slope[i] = 2 * dvar * part;
    }
  }
};
