// The two reductions over a map and the two maps over it.
//
// A map is N x C x S numbers, contiguous (the S of one (n, c) in a row) or channels last (the C of
// one (n, s) in a row). Statistics are (N, C) of type A: double for maps of double, else float.
#pragma once
#include <algorithm>
#include <cstdint>

using Int = int64_t;

constexpr Int kBlock = 2048;   // numbers of a row: they stay in the first cache, and sum exactly
constexpr Int kChannels = 64;  // a channels-last tile
constexpr Int kPixels = 32;

struct Shape {
  Int n, c, s;
  bool channels_last;
  int threads;
};

template <class F> static void each_row(const Shape& m, F f) {
  Int rows = m.n * m.c;
#pragma omp parallel for num_threads(m.threads) schedule(static)
  for (Int r = 0; r < rows; ++r) f(r);
}

// f(n, first channel, number of channels)
template <class F> static void each_tile(const Shape& m, F f) {
  Int per_sample = (m.c + kChannels - 1) / kChannels, tiles = m.n * per_sample;
#pragma omp parallel for num_threads(m.threads) schedule(static)
  for (Int t = 0; t < tiles; ++t) {
    Int c = t % per_sample * kChannels;
    f(t / per_sample, c, std::min(kChannels, m.c - c));
  }
}

// Blocks are centred on their own mean and merged by Chan's formula: exact at any mean.
template <class T, class A> void moments(const Shape& m, const T* x, A* mean, A* var) {
  if (!m.channels_last) {
    each_row(m, [=](Int r) {
      A mu = 0, m2 = 0;
      for (Int i = 0; i < m.s; i += kBlock) {
        Int k = std::min(kBlock, m.s - i);
        const T* v = x + r * m.s + i;
        A sum = 0, square = 0;
#pragma omp simd reduction(+ : sum)
        for (Int j = 0; j < k; ++j) sum += A(v[j]);
        A local = sum / k;
#pragma omp simd reduction(+ : square)
        for (Int j = 0; j < k; ++j) square += (A(v[j]) - local) * (A(v[j]) - local);
        A delta = local - mu, share = A(k) / A(i + k);
        mu += delta * share;
        m2 += square + delta * delta * (A(i) * share);
      }
      mean[r] = mu;
      var[r] = m2 / m.s;
    });
    return;
  }
  each_tile(m, [=](Int n, Int c, Int width) {
    A mu[kChannels] = {}, m2[kChannels] = {}, local[kChannels], square[kChannels];
    for (Int i = 0; i < m.s; i += kPixels) {
      Int k = std::min(kPixels, m.s - i);
      const T* tile = x + (n * m.s + i) * m.c + c;
      std::fill(local, local + width, A(0));
      std::fill(square, square + width, A(0));
      for (Int p = 0; p < k; ++p)
#pragma omp simd
        for (Int j = 0; j < width; ++j) local[j] += A(tile[p * m.c + j]);
      for (Int j = 0; j < width; ++j) local[j] /= k;
      for (Int p = 0; p < k; ++p)
#pragma omp simd
        for (Int j = 0; j < width; ++j) {
          A d = A(tile[p * m.c + j]) - local[j];
          square[j] += d * d;
        }
      A share = A(k) / A(i + k);
      for (Int j = 0; j < width; ++j) {
        A delta = local[j] - mu[j];
        mu[j] += delta * share;
        m2[j] += square[j] + delta * delta * (A(i) * share);
      }
    }
    for (Int j = 0; j < width; ++j) {
      mean[n * m.c + c + j] = mu[j];
      var[n * m.c + c + j] = m2[j] / m.s;
    }
  });
}

template <class T, class A>
void affine(const Shape& m, const T* x, const A* shift, const A* scale, const A* bias, T* y) {
  if (!m.channels_last) {
    each_row(m, [=](Int r) {
      A centre = shift[r], factor = scale[r], beta = bias ? bias[r % m.c] : A(0);
      const T* v = x + r * m.s;
      T* out = y + r * m.s;
#pragma omp simd
      for (Int j = 0; j < m.s; ++j) out[j] = factor * (A(v[j]) - centre) + beta;
    });
    return;
  }
  each_tile(m, [=](Int n, Int c, Int width) {
    const A *centre = shift + n * m.c + c, *factor = scale + n * m.c + c;
    A beta[kChannels] = {};
    if (bias) std::copy(bias + c, bias + c + width, beta);
    for (Int i = 0; i < m.s; ++i) {
      const T* v = x + (n * m.s + i) * m.c + c;
      T* out = y + (n * m.s + i) * m.c + c;
#pragma omp simd
      for (Int j = 0; j < width; ++j) out[j] = factor[j] * (A(v[j]) - centre[j]) + beta[j];
    }
  });
}

template <class T, class A>
void sums(const Shape& m, const T* dy, const T* x, const A* shift, A* total, A* dot) {
  if (!m.channels_last) {
    each_row(m, [=](Int r) {
      A centre = shift[r];
      double all = 0, all_dot = 0;
      for (Int i = 0; i < m.s; i += kBlock) {
        Int k = std::min(kBlock, m.s - i);
        const T *v = x + r * m.s + i, *g = dy + r * m.s + i;
        A t = 0, d = 0;
#pragma omp simd reduction(+ : t, d)
        for (Int j = 0; j < k; ++j) {
          t += A(g[j]);
          d += A(g[j]) * (A(v[j]) - centre);
        }
        all += t;
        all_dot += d;
      }
      total[r] = all;
      dot[r] = all_dot;
    });
    return;
  }
  each_tile(m, [=](Int n, Int c, Int width) {
    const A* centre = shift + n * m.c + c;
    double all[kChannels] = {}, all_dot[kChannels] = {};
    for (Int i = 0; i < m.s; i += kBlock) {
      A t[kChannels] = {}, d[kChannels] = {};
      for (Int p = i; p < std::min(i + kBlock, m.s); ++p) {
        const T *v = x + (n * m.s + p) * m.c + c, *g = dy + (n * m.s + p) * m.c + c;
#pragma omp simd
        for (Int j = 0; j < width; ++j) {
          t[j] += A(g[j]);
          d[j] += A(g[j]) * (A(v[j]) - centre[j]);
        }
      }
      for (Int j = 0; j < width; ++j) {
        all[j] += t[j];
        all_dot[j] += d[j];
      }
    }
    for (Int j = 0; j < width; ++j) {
      total[n * m.c + c + j] = all[j];
      dot[n * m.c + c + j] = all_dot[j];
    }
  });
}

template <class T, class A>
void affine_grad(const Shape& m, const T* dy, const T* x, const A* shift, const A* scale,
                 const A* slope, const A* offset, T* dx) {
  if (!m.channels_last) {
    each_row(m, [=](Int r) {
      A centre = shift[r], factor = scale[r], p = slope[r], q = offset[r];
      const T *v = x + r * m.s, *g = dy + r * m.s;
      T* out = dx + r * m.s;
#pragma omp simd
      for (Int j = 0; j < m.s; ++j) out[j] = factor * A(g[j]) + (p * (A(v[j]) - centre) + q);
    });
    return;
  }
  each_tile(m, [=](Int n, Int c, Int width) {
    Int o = n * m.c + c;
    for (Int i = 0; i < m.s; ++i) {
      Int at = (n * m.s + i) * m.c + c;
      const T *v = x + at, *g = dy + at;
      T* out = dx + at;
#pragma omp simd
      for (Int j = 0; j < width; ++j)
        out[j] = scale[o + j] * A(g[j]) + (slope[o + j] * (A(v[j]) - shift[o + j]) + offset[o + j]);
    }
  });
}
