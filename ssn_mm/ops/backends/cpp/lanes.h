// Rows of numbers, a vector of the machine's width at a time, by an extension that GCC and Clang
// share. Maps are of T, what is computed with is of A.
#pragma once
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "switch_norm.h"

#if defined(__AVX512F__)
constexpr int kVector = 64;  // bytes
#elif defined(__AVX__)
constexpr int kVector = 32;
#else
constexpr int kVector = 16;
#endif

template <class A> constexpr int kLanes = kVector / int(sizeof(A));
template <class A, int count = kLanes<A>> struct Lanes {
  typedef A Type __attribute__((vector_size(count * sizeof(A))));
};
template <class A, int count = kLanes<A>> using Vec = typename Lanes<A, count>::Type;

// What a formula reads at a place of a row: kLanes numbers from j on, or the number j.
template <class A> struct Vector {
  Int j;
  template <class T> Vec<A> operator()(const T* row) const {
    Vec<A> v;
    if constexpr (std::is_same_v<T, A>) std::memcpy(&v, row + j, sizeof v);
    else
      for (int u = 0; u < kLanes<A>; ++u) v[u] = A(row[j + u]);
    return v;
  }
  template <class T> void put(T* row, Vec<A> v) const {
    if constexpr (std::is_same_v<T, A>) std::memcpy(row + j, &v, sizeof v);
    else
      for (int u = 0; u < kLanes<A>; ++u) row[j + u] = v[u];
  }
};
template <class A> struct Number {
  Int j;
  template <class T> A operator()(const T* row) const { return A(row[j]); }
};

template <class A, int count> inline A add_up(Vec<A, count> v) {
  if constexpr (count == 2) {
    return v[0] + v[1];
  } else {
    Vec<A, count / 2> half[2];
    std::memcpy(half, &v, sizeof v);
    return add_up<A, count / 2>(half[0] + half[1]);
  }
}

// All bits of the last lanes of a vector, none of the others.
template <class A> using Bits = std::conditional_t<sizeof(A) == 4, int32_t, int64_t>;
template <class A> inline Vec<Bits<A>> last_lanes(Int lanes) {
  struct Masks {
    Bits<A> of[2 * kLanes<A>] = {};
    constexpr Masks() {
      for (int u = kLanes<A>; u < 2 * kLanes<A>; ++u) of[u] = -1;
    }
  };
  static constexpr Masks masks;
  Vec<Bits<A>> mask;
  std::memcpy(&mask, masks.of + lanes, sizeof mask);
  return mask;
}

// The last lanes of a vector, 0 in the others.
template <class A> inline Vec<A> keep_last(Vec<A> v, Int lanes) {
  const Vec<A> zero{};
  return last_lanes<A>(lanes) ? v : zero;
}

template <class A> struct Pair {
  A first, second;
};

// Adds up what f(at, first, second) adds to two sums over a row. Four vectors each, so that no
// addition waits for the one before; the last vector overlaps the one before.
template <class A, class F> inline Pair<A> sums_of(Int count, F f) {
  constexpr Int kStep = kLanes<A>;
  if (count < kStep) {
    A a = 0, b = 0;
    for (Int j = 0; j < count; ++j) f(Number<A>{j}, a, b);
    return {a, b};
  }
  Vec<A> a0{}, a1{}, a2{}, a3{}, b0{}, b1{}, b2{}, b3{};
  Int j = 0;
  for (; j + 4 * kStep <= count; j += 4 * kStep) {
    f(Vector<A>{j}, a0, b0);
    f(Vector<A>{j + kStep}, a1, b1);
    f(Vector<A>{j + 2 * kStep}, a2, b2);
    f(Vector<A>{j + 3 * kStep}, a3, b3);
  }
  for (; j + kStep <= count; j += kStep) f(Vector<A>{j}, a0, b0);
  if (j < count) {
    Vec<A> a{}, b{};
    f(Vector<A>{count - kStep}, a, b);
    a1 += keep_last<A>(a, count - j);
    b1 += keep_last<A>(b, count - j);
  }
  return {add_up<A, kStep>((a0 + a1) + (a2 + a3)), add_up<A, kStep>((b0 + b1) + (b2 + b3))};
}

// The sum of f(at) over a row.
template <class A, class F> inline A sum_of(Int count, F f) {
  return sums_of<A>(count, [=](auto at, auto& a, auto&) { a += f(at); }).first;
}

// The first lanes of a vector, the others of another.
template <class A> inline Vec<A> join(Vec<A> first, Vec<A> others, Int lanes) {
  const auto rest = last_lanes<A>(kLanes<A> - lanes);
  return rest ? others : first;
}

// Sets rows of so many numbers, one after the other in memory, to f(r)(at) in the r-th, which may
// read these rows at this place. Vectors are whole lines of the cache where rows are not, which
// costs half as much: the one in which a row ends has the beginning of the next.
template <class A, class T, class F> inline void set_rows(Int count, Int rows, T* to, F f) {
  constexpr Int kStep = kLanes<A>;
  const Int end = rows * count;
  if (count < kStep) {
    for (Int r = 0, j = 0; r < rows; ++r)
      for (const auto row = f(r); j < (r + 1) * count; ++j) to[j] = row(Number<A>{j});
    return;
  }
  // both ends overlap other vectors: they are read before these are overwritten
  const Vector<A> first{0}, last{end - kStep};
  const auto head = f(Int(0))(first), tail = f(rows - 1)(last);
  constexpr Int kLine = kStep * sizeof(T);
  Int j = (kLine - Int(uintptr_t(to) % kLine)) % kLine / Int(sizeof(T));
  for (Int r = 0; r < rows; ++r) {
    const auto row = f(r);
    const Int next = (r + 1) * count;
    for (; j + kStep <= next; j += kStep) Vector<A>{j}.put(to, row(Vector<A>{j}));
    if (j < next && j + kStep <= end) {
      const Vector<A> at{j};
      at.put(to, join<A>(row(at), f(r + 1)(at), next - j));
      j += kStep;
    }
  }
  first.put(to, head);
  last.put(to, tail);
}
