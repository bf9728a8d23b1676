// LayerNorm, forward and backward. Bytes: x and y; dy, x and dx.
//
//     bench_gpu_layer_norm
//
// Names: layer_norm_forward/rows/d_model. All of it is checked against ops/ref.

#include "instar/ops/layer_norm.hpp"

#include "harness.hpp"
#include "instar/ops/ref/layer_norm.hpp"

namespace {

using namespace instar;
namespace gpu = bench::gpu;

template <class T>
void layer_norm(gpu::run& r, index_t rows, index_t width, bool backward) {
    const index_t n = gpu::sized(rows, 13), d = gpu::sized(width, 48);
    gpu::both<T, 2> x(r.ctx, {n, d}, 1, -2.0f, 4.0f), y(r.ctx, {n, d}, 2);
    gpu::both<T, 1> weight(r.ctx, {d}, 3, 0.5f, 1.5f), bias(r.ctx, {d}, 4);
    gpu::both<float, 1> mean(r.ctx, {n}, 5), rstd(r.ctx, {n}, 6);
    const double bytes = static_cast<double>(n * d) * sizeof(T);
    const auto forward = [&] { ops::layer_norm_forward<T>(r.ctx, y, {mean, rstd}, x, weight, bias, 1e-12); };
    forward();
    ops::ref::layer_norm_forward<T>(y.host, {mean.host, rstd.host}, x.host, weight.host, bias.host, 1e-12);
    if (!r.check(y.fetch().view(), y.host.view())) return;
    if (!backward) return r.time(forward, {.bytes = 2.0 * bytes});

    gpu::both<T, 2> dx(r.ctx, {n, d}, 7);
    gpu::both<T, 1> dweight(r.ctx, {d}, 8), dbias(r.ctx, {d}, 9);
    const auto work = [&] { ops::layer_norm_backward<T>(r.ctx, dx, dweight, dbias, y, {mean, rstd}, x, weight); };
    y.upload();
    work();
    ops::ref::layer_norm_backward<T>(dx.host, dweight.host, dbias.host, y.host, {mean.host, rstd.host}, x.host, weight.host);
    if (!r.check(dx.fetch().view(), dx.host.view()) || !r.check(dweight.fetch().view(), dweight.host.view()) ||
        !r.check(dbias.fetch().view(), dbias.host.view())) {
        return;
    }
    r.time(work, {.bytes = 3.0 * bytes});
}

const bool registered = [] {
    for (const bool backward : {false, true}) {
        gpu::add(backward ? "layer_norm_backward" : "layer_norm_forward", "84480/768", gpu::k_no_products,
                 [backward]<class T>(gpu::run& r) { layer_norm<T>(r, 84480, 768, backward); });
    }
    return true;
}();

}  // namespace
