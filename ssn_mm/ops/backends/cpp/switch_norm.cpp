#include "switch_norm.h"

#include <memory>

#include "maps.h"
#include "mix.h"
#include "sparsestmax.h"
#include "team.h"
#include "types.h"

namespace {

#define MAP const Shape shape{n, c, s, channels_last != 0, threads}

template <class T, class A>
void forward(const Shape& map, const Recipe& recipe, const T* x, const A* logits, Source source,
             double radius, const A* weight, const A* bias, const A* running_mean,
             const A* running_var, A* updated_mean, A* updated_var, double momentum, A* ratios,
             A* all, A* batch, T* y) {
  const State<A> state(recipe, all);
  const Tiles tiles(map, sizeof(T));
  const bool measures = recipe.measures();
  make_ratios(recipe, logits, source, radius, ratios, state.curve);
  Mix<A> mix(recipe, state, ratios, weight, running_mean, running_var);
  if (!measures) std::fill(state.mean, state.shift, A(0));
  together(map.threads, 3, [&](Member member) {
    member.each(measures ? tiles.count() : 0,
                [&](Int i) { moments(map, tiles[i], x, state.mean, state.var); });
    member.each(mix.parts.count(), [&](Int i) { mix.merge(i); });
    member.each_backwards(tiles.count(), [&](Int i) {
      mix.factors(tiles[i]);
      populate(map, y, i, tiles.count());
      affine(map, tiles[i], x, state.shift, state.scale, bias, y);
    });
  });
  const A *mean = mix.merged.mean.bn, *var = mix.merged.var.bn;
  if (batch && recipe.has(kBN)) {
    std::copy(mean, mean + map.c, batch);
    std::copy(var, var + map.c, batch + map.c);
  }
  if (!updated_mean || !takes_part(recipe, kBN, ratios)) return;
  const A part = momentum, unbiased = double(map.n) * map.s / (double(map.n) * map.s - 1);
  for (Int i = 0; i < map.c; ++i) {
    updated_mean[i] += part * (mean[i] - updated_mean[i]);
    updated_var[i] += part * (var[i] * unbiased - updated_var[i]);
  }
}

template <class T, class A>
void backward(const Shape& map, const Recipe& recipe, Source source, const T* dy, const T* x,
              const A* logits, const A* running_mean, const A* running_var, const A* ratios,
              const A* all, A* dlogits, A* dweight, A* dbias, T* dx) {
  const State<const A> state(recipe, all);
  const Tiles tiles(map, sizeof(T));
  const Int size = map.n * map.c;
  std::unique_ptr<A[]> small(new A[2 * size]);
  A *total = small.get(), *dot = total + size;
  MixBackward<A> mix(recipe, state, ratios, source, total, dot, running_mean, running_var);
  together(map.threads, 3, [&](Member member) {
    member.each(tiles.count(),
                [&](Int i) { sums(map, tiles[i], dy, x, state.shift, total, dot); });
    member.each(mix.parts.count(), [&](Int i) { mix.average(i, dweight, dbias); });
    member.each_backwards(tiles.count(), [&](Int i) {
      mix.slopes(tiles[i], map.s);
      populate(map, dx, i, tiles.count());
      if (recipe.measures())
        affine_grad(map, tiles[i], dy, x, state.mean, state.scale, dot, total, dx);
      else  // offset and slope are 0
        affine(map, tiles[i], dy, (const A*)total, state.scale, (const A*)nullptr, dx);
    });
  });
  if (source != kSelected) mix.ratios(logits, ratios, source, dlogits);
}

// One pass over a map alone.
template <class F> void pass(const Shape& map, Int size, F f) {
  if (map.n * map.c * map.s == 0) return;
  const Tiles tiles(map, size);
  together(map.threads, 1, [&](Member member) {
    member.each_backwards(tiles.count(), [&](Int i) { f(tiles[i], i, tiles.count()); });
  });
}

}  // namespace

bool ssn_moments(int dtype, Int n, Int c, Int s, int channels_last, int threads, const void* x,
                 void* mean, void* var) {
  MAP;
  WITH_TYPES(pass(shape, sizeof(T), [&](Tile t, Int, Int) {
    moments(shape, t, (const T*)x, (A*)mean, (A*)var);
  }));
}

bool ssn_affine(int dtype, Int n, Int c, Int s, int channels_last, int threads, const void* x,
                const void* shift, const void* scale, const void* bias, void* y) {
  MAP;
  WITH_TYPES(pass(shape, sizeof(T), [&](Tile t, Int i, Int count) {
    populate(shape, (T*)y, i, count);
    affine(shape, t, (const T*)x, (const A*)shift, (const A*)scale, (const A*)bias, (T*)y);
  }));
}

bool ssn_sums(int dtype, Int n, Int c, Int s, int channels_last, int threads, const void* dy,
              const void* x, const void* shift, void* total, void* dot) {
  MAP;
  WITH_TYPES(pass(shape, sizeof(T), [&](Tile t, Int, Int) {
    sums(shape, t, (const T*)dy, (const T*)x, (const A*)shift, (A*)total, (A*)dot);
  }));
}

bool ssn_affine_grad(int dtype, Int n, Int c, Int s, int channels_last, int threads,
                     const void* dy, const void* x, const void* shift, const void* scale,
                     const void* slope, const void* offset, void* dx) {
  MAP;
  WITH_TYPES(pass(shape, sizeof(T), [&](Tile t, Int i, Int count) {
    populate(shape, (T*)dx, i, count);
    affine_grad(shape, t, (const T*)dy, (const T*)x, (const A*)shift, (const A*)scale,
                (const A*)slope, (const A*)offset, (T*)dx);
  }));
}

bool ssn_forward(int dtype, Int n, Int c, Int s, int channels_last, int threads, Int groups,
                 int kinds, int k, double eps, int source, double radius, double momentum,
                 const void* x, const void* logits, const void* weight, const void* bias,
                 const void* running_mean, const void* running_var, void* updated_mean,
                 void* updated_var, void* ratios, void* state, void* batch, void* y) {
  MAP;
  const Recipe recipe{n, c, groups, kinds, k, eps};
  WITH_TYPES((forward(shape, recipe, (const T*)x, (const A*)logits, Source(source), radius,
                      (const A*)weight, (const A*)bias, (const A*)running_mean,
                      (const A*)running_var, (A*)updated_mean, (A*)updated_var, momentum,
                      (A*)ratios, (A*)state, (A*)batch, (T*)y)));
}

bool ssn_backward(int dtype, Int n, Int c, Int s, int channels_last, int threads, Int groups,
                  int kinds, int k, int source, const void* dy, const void* x,
                  const void* logits, const void* running_mean, const void* running_var,
                  const void* ratios, const void* state, void* dlogits, void* dweight,
                  void* dbias, void* dx) {
  MAP;
  const Recipe recipe{n, c, groups, kinds, k, 0};
  WITH_TYPES((backward(shape, recipe, Source(source), (const T*)dy, (const T*)x,
                       (const A*)logits, (const A*)running_mean, (const A*)running_var,
                       (const A*)ratios, (const A*)state, (A*)dlogits, (A*)dweight,
                       (A*)dbias, (T*)dx)));
}

bool ssn_sparsestmax(int dtype, Int rows, int k, const void* logits, const void* radius,
                     int one_radius, void* ratios, void* curve) {
  WITH_TYPES({
    std::vector<double> row(2 * k);
    double *z = row.data(), *p = z + k, stretch, bend;
    for (Int i = 0; i < rows; ++i) {
      std::copy((const A*)logits + i * k, (const A*)logits + (i + 1) * k, z);
      sparsestmax(z, k, ((const A*)radius)[one_radius ? 0 : i], p, &stretch, &bend);
      std::copy(p, p + k, (A*)ratios + i * k);
      ((A*)curve)[i] = stretch;
      ((A*)curve)[rows + i] = bend;
    }
  });
}

bool ssn_sparsestmax_backward(int dtype, Int rows, int k, const void* gradient, const void* logits,
                              const void* ratios, const void* curve, void* dlogits) {
  WITH_TYPES({
    std::vector<double> row(4 * k);
    double *g = row.data(), *z = g + k, *p = z + k, *dz = p + k;
    for (Int i = 0; i < rows; ++i) {
      std::copy((const A*)gradient + i * k, (const A*)gradient + (i + 1) * k, g);
      std::copy((const A*)logits + i * k, (const A*)logits + (i + 1) * k, z);
      std::copy((const A*)ratios + i * k, (const A*)ratios + (i + 1) * k, p);
      sparsestmax_backward(g, z, p, k, ((const A*)curve)[i], ((const A*)curve)[rows + i], dz);
      std::copy(dz, dz + k, (A*)dlogits + i * k);
    }
  });
}
