// The two reductions over a map and the two maps over it.
//
// A map is N x C x S numbers, contiguous (the S of one (n, c) in a row) or channels last (the C of
// one (n, s) in a row). Statistics are (N, C) of type A: double for maps of double, else float.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "switch_norm.h"

#ifdef __linux__
#include <sys/mman.h>
#endif

constexpr Int kBlock = 2048;  // numbers of a row that stay in the first cache and sum exactly
constexpr Int kPixels = 32;   // pixels of a map in channels last that do

struct Shape {
  Int n, c, s;
  bool channels_last;
  int threads;
};

template <class F> static void each(Int count, int threads, F f) {
#pragma omp parallel for num_threads(threads) schedule(static)
  for (Int i = 0; i < count; ++i) f(i);
}

// Channels last: f(n, first channel, channels) for samples, or for parts of their channels where
// there are too few samples for the threads.
template <class F> static void each_tile(const Shape& m, F f) {
  Int parts = m.n >= m.threads ? 1 : (m.threads + m.n - 1) / m.n;
  Int width = ((m.c + parts - 1) / parts + 15) / 16 * 16;
  parts = (m.c + width - 1) / width;
  each(m.n * parts, m.threads, [=](Int t) {
    Int c = t % parts * width;
    f(t / parts, c, std::min(width, m.c - c));
  });
}

// Touches the pages of a result that malloc took fresh from the system: asked for in blocks, they
// cost less than one fault each. Linux before 5.14 refuses, and nothing is changed then.
template <class T> static void populate(const Shape& m, T* result) {
#ifdef __linux__
  constexpr Int kPage = 4096, kPart = 1 << 18;
  constexpr int kPopulateWrite = 23;  // MADV_POPULATE_WRITE, which old headers lack
  const Int bytes = m.n * m.c * m.s * Int(sizeof(T));
  char* first = (char*)(((uintptr_t)result + kPage - 1) / kPage * kPage);
  const Int whole = ((char*)result + bytes - first) / kPage * kPage;
  if (whole < kPart) return;
  each((whole + kPart - 1) / kPart, m.threads, [=](Int i) {
    unsigned char there = 1;
    char* part = first + i * kPart;
    if (mincore(part, kPage, &there) == 0 && !(there & 1))
      madvise(part, std::min(kPart, whole - i * kPart), kPopulateWrite);
  });
#endif
}

// Adds f(j, first, second) for j < count. Long sums are spread over so many lanes that no addition
// waits for the one before; for short sums, adding up the lanes would cost more.
template <class A, class F> static void sum(Int count, A& first, A& second, F f) {
  constexpr int kLanes = 128 / sizeof(A);
  A a = 0, b = 0;
  Int j = 0;
  if (count >= 8 * kLanes) {
    A more[kLanes] = {}, more_b[kLanes] = {};
    for (; j + kLanes <= count; j += kLanes)
#pragma omp simd
      for (int u = 0; u < kLanes; ++u) f(j + u, more[u], more_b[u]);
#pragma omp simd reduction(+ : a, b)
    for (int u = 0; u < kLanes; ++u) {
      a += more[u];
      b += more_b[u];
    }
  }
#pragma omp simd reduction(+ : a, b)
  for (Int i = j; i < count; ++i) f(i, a, b);
  first = a;
  second = b;
}

// Blocks are centred on their own mean and merged by Chan's formula: exact at any mean.
template <class T, class A> void moments(const Shape& m, const T* x, A* mean, A* var) {
  const Int rows = m.n * m.c;
  if (!m.channels_last && m.s <= kBlock / 8) {  // two short rows at once wait less
    each((rows + 1) / 2, m.threads, [=](Int pair) {
      Int r = 2 * pair, next = r + 1 < rows ? m.s : 0;
      const T* v = x + r * m.s;
      A first, second, square, square2;
      sum(m.s, first, second, [=](Int j, A& a, A& b) {
        a += A(v[j]);
        b += A(v[next + j]);
      });
      first /= m.s;
      second /= m.s;
      sum(m.s, square, square2, [=](Int j, A& a, A& b) {
        A d = A(v[j]) - first, e = A(v[next + j]) - second;
        a += d * d;
        b += e * e;
      });
      mean[r] = first;
      var[r] = square / m.s;
      if (next) mean[r + 1] = second, var[r + 1] = square2 / m.s;
    });
    return;
  }
  if (!m.channels_last) {
    each(rows, m.threads, [=](Int r) {
      A mu = 0, m2 = 0;
      for (Int i = 0; i < m.s; i += kBlock) {
        Int k = std::min(kBlock, m.s - i);
        const T* v = x + r * m.s + i;
        A local, square, none;
        sum(k, local, none, [=](Int j, A& a, A&) { a += A(v[j]); });
        local /= k;
        sum(k, square, none, [=](Int j, A& a, A&) { a += (A(v[j]) - local) * (A(v[j]) - local); });
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
    std::vector<A> scratch(2 * width);
    A *local = scratch.data(), *square = local + width;
    A *mu = mean + n * m.c + c, *m2 = var + n * m.c + c;
    std::fill(mu, mu + width, A(0));
    std::fill(m2, m2 + width, A(0));
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
#pragma omp simd
      for (Int j = 0; j < width; ++j) {
        A delta = local[j] - mu[j];
        mu[j] += delta * share;
        m2[j] += square[j] + delta * delta * (A(i) * share);
      }
    }
    for (Int j = 0; j < width; ++j) m2[j] /= m.s;
  });
}

template <class T, class A>
void affine(const Shape& m, const T* x, const A* shift, const A* scale, const A* bias, T* y) {
  populate(m, y);
  if (!m.channels_last) {
    each(m.n * m.c, m.threads, [=](Int r) {
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
    std::vector<A> beta(width);
    if (bias) std::copy(bias + c, bias + c + width, beta.data());
    for (Int i = 0; i < m.s; ++i) {
      const T* v = x + (n * m.s + i) * m.c + c;
      const A* b = beta.data();
      T* out = y + (n * m.s + i) * m.c + c;
#pragma omp simd
      for (Int j = 0; j < width; ++j) out[j] = factor[j] * (A(v[j]) - centre[j]) + b[j];
    }
  });
}

template <class T, class A>
void sums(const Shape& m, const T* dy, const T* x, const A* shift, A* total, A* dot) {
  if (!m.channels_last) {
    each(m.n * m.c, m.threads, [=](Int r) {
      A centre = shift[r];
      double all = 0, all_dot = 0;
      for (Int i = 0; i < m.s; i += kBlock) {
        const T *v = x + r * m.s + i, *g = dy + r * m.s + i;
        Int k = std::min(kBlock, m.s - i);
        A t, d;
        sum(k, t, d, [=](Int j, A& a, A& b) {
          a += A(g[j]);
          b += A(g[j]) * (A(v[j]) - centre);
        });
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
    A *all = total + n * m.c + c, *all_dot = dot + n * m.c + c;
    std::fill(all, all + width, A(0));
    std::fill(all_dot, all_dot + width, A(0));
    std::vector<A> scratch(2 * width);
    A *t = scratch.data(), *d = t + width;
    for (Int i = 0; i < m.s; i += kBlock) {
      std::fill(scratch.begin(), scratch.end(), A(0));
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
  });
}

template <class T, class A>
void affine_grad(const Shape& m, const T* dy, const T* x, const A* shift, const A* scale,
                 const A* slope, const A* offset, T* dx) {
  populate(m, dx);
  if (!m.channels_last) {
    each(m.n * m.c, m.threads, [=](Int r) {
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
    const A *centre = shift + o, *factor = scale + o, *p = slope + o, *q = offset + o;
    for (Int i = 0; i < m.s; ++i) {
      Int at = (n * m.s + i) * m.c + c;
      const T *v = x + at, *g = dy + at;
      T* out = dx + at;
#pragma omp simd
      for (Int j = 0; j < width; ++j)
        out[j] = factor[j] * A(g[j]) + (p[j] * (A(v[j]) - centre[j]) + q[j]);
    }
  });
}
