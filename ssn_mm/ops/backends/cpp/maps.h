// The two reductions over a map and the two maps over it, tile by tile.
//
// A map is N x C x S numbers, contiguous (the S of one (n, c) in a row) or channels last (the C of
// one (n, s) in a row). Statistics are (N, C) of type A: double for maps of double, else float.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "lanes.h"
#include "switch_norm.h"

#ifdef __linux__
#include <sys/mman.h>
#endif

constexpr Int kBlock = 2048;  // numbers of a row that stay in the first cache and sum exactly
constexpr Int kShort = 256;   // numbers of a row that one look is enough for
constexpr Int kPixels = 32;   // pixels of a map in channels last that do

struct Shape {
  Int n, c, s;
  bool channels_last;
  int threads;
};

// Channels c to c + width of samples n to n + samples.
struct Tile {
  Int n, samples, c, width;
};

// Cuts a map into tiles that one thread works on at a time: small enough for its second cache and
// for others to take over, large enough that fetching the next one costs nothing.
class Tiles {
 public:
  // Of numbers of so many bytes. The channels of a tile are whole groups of so many.
  Tiles(const Shape& m, Int size, Int group = 1) : n_(m.n), c_(m.c), channels_last_(m.channels_last) {
    constexpr Int kLeast = 1 << 14, kMost = 1 << 18;  // bytes
    const Int sample = m.c * m.s * size;
    const Int bytes = std::clamp(m.n * sample / (8 * m.threads), kLeast, kMost);
    if (m.channels_last) parts_ = m.n >= m.threads ? 1 : (m.threads + m.n - 1) / m.n;
    else parts_ = (sample + bytes - 1) / bytes;
    width_ = (m.c + parts_ - 1) / parts_;
    if (m.channels_last) width_ = (width_ + 15) / 16 * 16;
    width_ = std::min((width_ + group - 1) / group * group, m.c);
    parts_ = (m.c + width_ - 1) / width_;
    samples_ = m.channels_last || parts_ > 1 ? 1 : std::max(Int(1), bytes / sample);
  }
  Int count() const { return (n_ + samples_ - 1) / samples_ * parts_; }
  Tile operator[](Int i) const {
    const Int n = i / parts_ * samples_, c = i % parts_ * width_;
    return {n, std::min(samples_, n_ - n), c, std::min(width_, c_ - c)};
  }

 private:
  Int n_, c_, parts_, width_, samples_;
  bool channels_last_;
};

// Touches the pages of a share of a result that malloc took fresh from the system: asked for in
// blocks, they cost less than one fault each. Linux before 5.14 refuses, and nothing is changed then.
// Of small parts the last of some asks for all: callers go through their parts backwards.
template <class T> void populate(const Shape& m, T* result, Int part, Int parts) {
#ifdef __linux__
  constexpr uintptr_t kPage = 4096;
  constexpr Int kLeast = 1 << 18;
  constexpr int kPopulateWrite = 23;  // MADV_POPULATE_WRITE, which old headers lack
  const Int bytes = m.n * m.c * m.s * Int(sizeof(T)), each = bytes / parts;
  const Int some = (kLeast + each - 1) / std::max(each, Int(1));
  if (bytes < kLeast || ((part + 1) % some && part + 1 < parts)) return;
  const uintptr_t start = uintptr_t(result) + kPage - 1;
  const uintptr_t first = (start + each * (part / some * some)) / kPage * kPage;
  uintptr_t last = (start + each * (part + 1)) / kPage * kPage;
  last = std::min(last, (uintptr_t(result) + bytes) / kPage * kPage);
  unsigned char there = 1;
  if (first < last && mincore((void*)first, kPage, &there) == 0 && !(there & 1))
    madvise((void*)first, last - first, kPopulateWrite);
#endif
}

// Mean of a row, and the sum of squares of what it leaves.
template <class T, class A> inline Pair<A> centred(const T* row, Int count) {
  const A mean = sum_of<A>(count, [=](auto at) { return at(row); }) / count;
  const A square = sum_of<A>(count, [=](auto at) {
    auto d = at(row) - mean;
    return d * d;
  });
  return {mean, square};
}

// Mean and variance of a row, at any mean. Blocks are centred on their own mean and merged by Chan's
// formula. A short row is centred on its first number, whose square distance from the mean is at
// most count times the variance: that many roundings are the most that the difference costs.
template <class T, class A> inline Pair<A> row_moments(const T* row, Int count) {
  if (count <= kShort) {
    const A first = A(row[0]);
    const Pair<A> sums = sums_of<A>(count, [=](auto at, auto& a, auto& b) {
      auto d = at(row) - first;
      a += d;
      b += d * d;
    });
    const A mean = sums.first / count;
    return {first + mean, sums.second / count - mean * mean};
  }
  Pair<A> all = centred<T, A>(row, std::min(kBlock, count));
  for (Int i = kBlock; i < count; i += kBlock) {
    const Int k = std::min(kBlock, count - i);
    const Pair<A> block = centred<T, A>(row + i, k);
    const A delta = block.first - all.first, share = A(k) / A(i + k);
    all.first += delta * share;
    all.second += block.second + delta * delta * (A(i) * share);
  }
  return {all.first, all.second / count};
}

template <class T, class A> void moments(const Shape& m, Tile t, const T* x, A* mean, A* var) {
  if (!m.channels_last) {
    for (Int n = t.n; n < t.n + t.samples; ++n)
      for (Int r = n * m.c + t.c; r < n * m.c + t.c + t.width; ++r) {
        const Pair<A> own = row_moments<T, A>(x + r * m.s, m.s);
        mean[r] = own.first;
        var[r] = own.second;
      }
    return;
  }
  const Int n = t.n, c = t.c, width = t.width;
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
}

// ReLU, of which NaN is NaN, for a number or a vector.
template <bool relu, class V> inline V rectified(V v) {
  if constexpr (!relu) return v;
  const V zero{};
  return v < zero ? zero : v;
}

// y may be x.
template <bool relu = false, class T, class A>
void affine(const Shape& m, Tile t, const T* x, const A* shift, const A* scale, const A* bias,
            T* y) {
  if (!m.channels_last) {
    for (Int n = t.n; n < t.n + t.samples; ++n) {
      const Int o = n * m.c + t.c;
      const T* v = x + o * m.s;
      set_rows<A>(m.s, t.width, y + o * m.s, [=](Int r) {
        const A centre = shift[o + r], factor = scale[o + r], beta = bias ? bias[t.c + r] : A(0);
        return [=](auto at) { return rectified<relu>(factor * (at(v) - centre) + beta); };
      });
    }
    return;
  }
  const A *centre = shift + t.n * m.c + t.c, *factor = scale + t.n * m.c + t.c;
  std::vector<A> beta(t.width);
  if (bias) std::copy(bias + t.c, bias + t.c + t.width, beta.data());
  for (Int i = 0; i < m.s; ++i) {
    const T* v = x + (t.n * m.s + i) * m.c + t.c;
    const A* b = beta.data();
    T* out = y + (t.n * m.s + i) * m.c + t.c;
#pragma omp simd
    for (Int j = 0; j < t.width; ++j)
      out[j] = rectified<relu>(factor[j] * (A(v[j]) - centre[j]) + b[j]);
  }
}

template <class T, class A>
void sums(const Shape& m, Tile t, const T* dy, const T* x, const A* shift, A* total, A* dot) {
  if (!m.channels_last) {
    for (Int n = t.n; n < t.n + t.samples; ++n)
      for (Int r = n * m.c + t.c; r < n * m.c + t.c + t.width; ++r) {
        const A centre = shift[r];
        double all = 0, all_dot = 0;
        for (Int i = 0; i < m.s; i += kBlock) {
          const T *v = x + r * m.s + i, *g = dy + r * m.s + i;
          const auto block =
              sums_of<A>(std::min(kBlock, m.s - i), [=](auto at, auto& a, auto& b) {
                a += at(g);
                b += at(g) * (at(v) - centre);
              });
          all += block.first;
          all_dot += block.second;
        }
        total[r] = all;
        dot[r] = all_dot;
      }
    return;
  }
  const Int n = t.n, c = t.c, width = t.width;
  const A* centre = shift + n * m.c + c;
  A *all = total + n * m.c + c, *all_dot = dot + n * m.c + c;
  std::fill(all, all + width, A(0));
  std::fill(all_dot, all_dot + width, A(0));
  std::vector<A> scratch(2 * width);
  A *a = scratch.data(), *b = a + width;
  for (Int i = 0; i < m.s; i += kBlock) {
    std::fill(scratch.begin(), scratch.end(), A(0));
    for (Int p = i; p < std::min(i + kBlock, m.s); ++p) {
      const T *v = x + (n * m.s + p) * m.c + c, *g = dy + (n * m.s + p) * m.c + c;
#pragma omp simd
      for (Int j = 0; j < width; ++j) {
        a[j] += A(g[j]);
        b[j] += A(g[j]) * (A(v[j]) - centre[j]);
      }
    }
    for (Int j = 0; j < width; ++j) {
      all[j] += a[j];
      all_dot[j] += b[j];
    }
  }
}

template <class T, class A>
void affine_grad(const Shape& m, Tile t, const T* dy, const T* x, const A* shift, const A* scale,
                 const A* slope, const A* offset, T* dx) {
  if (!m.channels_last) {
    const Int o = t.n * m.c + t.c;
    const T *v = x + o * m.s, *g = dy + o * m.s;
    set_rows<A>(m.s, t.samples * t.width, dx + o * m.s, [=](Int r) {
      const A centre = shift[o + r], factor = scale[o + r], p = slope[o + r], q = offset[o + r];
      return [=](auto at) { return factor * at(g) + (p * (at(v) - centre) + q); };
    });
    return;
  }
  const Int o = t.n * m.c + t.c;
  const A *centre = shift + o, *factor = scale + o, *p = slope + o, *q = offset + o;
  for (Int i = 0; i < m.s; ++i) {
    const Int at = (t.n * m.s + i) * m.c + t.c;
    const T *v = x + at, *g = dy + at;
    T* out = dx + at;
#pragma omp simd
    for (Int j = 0; j < t.width; ++j)
      out[j] = factor[j] * A(g[j]) + (p[j] * (A(v[j]) - centre[j]) + q[j]);
  }
}
