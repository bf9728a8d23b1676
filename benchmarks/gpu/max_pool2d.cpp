// The pooling behind a residual network's first convolution: windows of 3 × 3, stride 2; forward, which also keeps the places, and backward.
// Bytes: x, y and the places; dy, the places and dx. All of it is compared with the CPU's in float, the places number for number.
// Names: max_pool2d_forward/batch/size/channels.

#include "instar/ops/max_pool2d.hpp"

#include "harness.hpp"
#include "instar/core/cpu_context.hpp"

namespace {

using namespace instar;
namespace gpu = bench::gpu;

template <class T>
tensor<float, 4> as_float(const tensor<T, 4>& x) {
    tensor<float, 4> y(x.view().extents_);
    for (index_t i = 0; i < x.size(); ++i) y.data()[i] = static_cast<float>(x.data()[i]);
    return y;
}

template <class T>
void max_pool2d(gpu::run& r, index_t batch, index_t pixels, index_t channels, bool backward) {
    const ops::max_pool2d_options options{};
    const index_t n = gpu::sized(batch, 2), size = gpu::sized(pixels, 13), d = gpu::sized(channels, 8), out = options.out(size);
    gpu::both<T, 4> x(r.ctx, {n, size, size, d}, 1), y(r.ctx, {n, out, out, d}, 2);
    gpu::both<std::int32_t, 4> place(r.ctx, {n, out, out, d}, 0);
    const double bytes = static_cast<double>(x.host.size() + y.host.size()) * sizeof(T) + static_cast<double>(place.host.size()) * sizeof(std::int32_t);
    const auto forward = [&] { ops::max_pool2d_forward<T>(r.ctx, y, place, x, options); };
    forward();
    cpu_context cpu;
    const tensor<float, 4> exact = as_float(x.host);
    tensor<float, 4> expected({n, out, out, d});
    ops::max_pool2d_forward<float>(cpu, expected, place.host, exact, options);
    if (!r.check_equal(as_float(y.fetch()).view(), expected.view()) || !r.check_equal(place.fetch().view(), place.host.view())) return;
    if (!backward) return r.time(forward, {.bytes = bytes});

    // y is now the gradient that comes back: any numbers will do.
    const auto work = [&] { ops::max_pool2d_backward<T>(r.ctx, x, y, place.device, options); };
    y.upload();
    work();
    tensor<float, 4> dx({n, size, size, d});
    ops::max_pool2d_backward<float>(cpu, dx, as_float(y.host), place.host, options);
    if (r.check(x.fetch().view(), dx.view())) r.time(work, {.bytes = bytes});
}

const bool registered = [] {
    for (const bool backward : {false, true}) {
        gpu::add(backward ? "max_pool2d_backward" : "max_pool2d_forward", "64/112/64", gpu::k_no_products,
                 [backward]<class T>(gpu::run& r) { max_pool2d<T>(r, 64, 112, 64, backward); });
    }
    return true;
}();

}  // namespace
