// The types of maps, and the type of the statistics of each.
#pragma once
#include <cstdint>
#include <cstring>
#include <type_traits>

struct BFloat16 {
  uint16_t bits;
  operator float() const {
    uint32_t wide = uint32_t(bits) << 16;
    float f;
    std::memcpy(&f, &wide, sizeof f);
    return f;
  }
  BFloat16& operator=(float f) {
    uint32_t u;
    std::memcpy(&u, &f, sizeof f);
    bits = f != f ? 0x7fc0 : uint16_t((u + 0x7fff + ((u >> 16) & 1)) >> 16);  // to nearest even
    return *this;
  }
};

// Calls f with a null pointer of the map's type; false where this compiler lacks the type.
template <class F> bool with_type(int dtype, F f) {
  switch (dtype) {
    case 0: f((float*)nullptr, (float*)nullptr); return true;
    case 1: f((double*)nullptr, (double*)nullptr); return true;
    case 2: f((BFloat16*)nullptr, (float*)nullptr); return true;
#ifdef __FLT16_MAX__
    case 3: f((_Float16*)nullptr, (float*)nullptr); return true;
#endif
    default: return false;
  }
}

#define WITH_TYPES(...)                                              \
  return with_type(dtype, [&](auto* map, auto* wide) {               \
    using T [[maybe_unused]] = std::remove_pointer_t<decltype(map)>; \
    using A = std::remove_pointer_t<decltype(wide)>;                 \
    __VA_ARGS__;                                                     \
  })
