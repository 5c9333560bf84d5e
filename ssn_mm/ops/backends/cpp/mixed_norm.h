// Eq. 1 with given normalizers for inference, and the ReLU after it: what is measured together is
// measured and written by one thread while it lies in its cache.
#pragma once
#include <cmath>
#include <memory>

#include "maps.h"
#include "team.h"

static_assert(kKinds == 5, "MixedNorm lacks the formula of a further kind");

// The part that each normalizer has in the mean and in the variance, by Kind; FBN counts as BN.
struct Parts {
  Int groups;
  double mean[kKinds], var[kKinds];
  double eps;
  Int correction;  // 1 for unbiased variances of instances
  bool relu;

  bool has(Kind kind) const { return mean[kind] != 0 || var[kind] != 0; }
  bool measures() const { return has(kIN) || has(kLN) || has(kGN); }
};

template <class T, class A> class MixedNorm {
 public:
  MixedNorm(const Shape& m, const Parts& q, const A* weight, const A* bias, const A* running_mean,
            const A* running_var)
      : m_(m), q_(q), weight_(weight), bias_(bias), running_mean_(running_mean),
        running_var_(running_var), group_(q.has(kGN) ? m.c / q.groups : 1),
        scratch_(new A[4 * m.n * m.c]), mean_(scratch_.get()), var_(mean_ + m.n * m.c),
        centre_(var_ + m.n * m.c), scale_(centre_ + m.n * m.c) {}

  // y may be x. With LN and few samples all threads measure first, then all write.
  void run(const T* x, T* y) const {
    const bool one_phase = !q_.has(kLN) || m_.n >= 4 * m_.threads || m_.threads == 1;
    const Int unit = one_phase && q_.has(kLN) ? m_.c : group_;
    const Tiles tiles(m_, sizeof(T), unit);
    auto finish = [=, this](Int i) {
      if (y != x) populate(m_, y, i, tiles.count());
      mix(tiles[i]);
      if (q_.relu) affine<true>(m_, tiles[i], x, centre_, scale_, bias_, y);
      else affine(m_, tiles[i], x, centre_, scale_, bias_, y);
    };
    together(m_.threads, 2, [&](Member member) {
      member.each_backwards(tiles.count(), [=, this](Int i) {
        measure(tiles[i], x);
        if (one_phase) finish(i);
      });
      if (!one_phase) member.each_backwards(tiles.count(), finish);
    });
  }

 private:
  // Instance moments; or for all channels of a group, or of a tile where LN alone is measured, those
  // that they have in common, of which mix makes the same. Rows are longer then.
  void measure(Tile t, const T* x) const {
    const Int width = q_.has(kGN) ? group_ : t.width;
    const bool common = !q_.has(kIN) && !q_.correction;
    const Int end = t.c + t.width;
    for (Int n = t.n; n < t.n + t.samples; ++n) {
      A *mean = mean_ + n * m_.c, *var = var_ + n * m_.c;
      if (!q_.measures()) {
        std::fill(mean + t.c, mean + end, A(0));
        std::fill(var + t.c, var + end, A(0));
      } else if (common && (!m_.channels_last || width == m_.c)) {
        for (Int c = t.c; c < end; c += width) {
          const Pair<A> own = row_moments<T, A>(x + (n * m_.c + c) * m_.s, width * m_.s);
          std::fill(mean + c, mean + c + width, own.first);
          std::fill(var + c, var + c + width, own.second);
        }
      } else {
        moments(m_, Tile{n, 1, t.c, t.width}, x, mean_, var_);
      }
      const A unbiased = q_.correction && m_.s > 1 ? A(m_.s) / A(m_.s - 1) : A(1);
      for (Int c = t.c; q_.correction && c < end; ++c) var[c] *= unbiased;
    }
  }

  // M and γ / sqrt(V + ε) of the channels of a tile.
  void mix(Tile t) const {
    const A in = q_.mean[kIN], in_var = q_.var[kIN], eps = q_.eps;
    const A bn = q_.mean[kBN] + q_.mean[kFBN], bn_var = q_.var[kBN] + q_.var[kFBN];
    for (Int n = t.n; n < t.n + t.samples; ++n) {
      const A *mean = mean_ + n * m_.c, *var = var_ + n * m_.c;
      A *centre = centre_ + n * m_.c, *scale = scale_ + n * m_.c;
#pragma omp simd
      for (Int c = t.c; c < t.c + t.width; ++c) {
        centre[c] = in * mean[c] + bn * running_mean_[c];
        scale[c] = in_var * var[c] + bn_var * running_var_[c] + eps;
      }
      if (q_.has(kLN)) add(kLN, m_.c, n, t);
      if (q_.has(kGN)) add(kGN, group_, n, t);
#pragma omp simd
      for (Int c = t.c; c < t.c + t.width; ++c) scale[c] = weight_[c] / std::sqrt(scale[c]);
    }
  }

  // Adds the moments that LN or GN has of groups of so many channels, by Chan's formula.
  void add(Kind kind, Int size, Int n, Tile t) const {
    const A mean_part = q_.mean[kind], var_part = q_.var[kind];
    for (Int first = t.c / size * size; first < t.c + t.width; first += size) {
      const A *mean = mean_ + n * m_.c + first, *var = var_ + n * m_.c + first;
      const A middle = sum_of<A>(size, [=](auto at) { return at(mean); }) / size;
      const A spread = sum_of<A>(size, [=](auto at) {
        const auto d = at(mean) - middle;
        return at(var) + d * d;
      }) / size;
      for (Int c = std::max(first, t.c); c < std::min(first + size, t.c + t.width); ++c) {
        centre_[n * m_.c + c] += mean_part * middle;
        scale_[n * m_.c + c] += var_part * spread;
      }
    }
  }

  const Shape m_;
  const Parts q_;
  const A *weight_, *bias_, *running_mean_, *running_var_;
  const Int group_;
  std::unique_ptr<A[]> scratch_;
  A *mean_, *var_, *centre_, *scale_;
};
