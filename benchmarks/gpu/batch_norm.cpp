// Batch normalisation with the rectifier behind it, as in a residual network: training forward, evaluation, backward. Bytes are those of the
// passes that a batch larger than any cache needs: x twice and y; x and y; dy, y and x twice and dx.
// Names: batch_norm_forward/rows/channels, batch_norm_inference, batch_norm_backward. Eight channels are checked against ops/ref.

#include "instar/ops/batch_norm.hpp"

#include "harness.hpp"
#include "instar/ops/ref/batch_norm.hpp"

namespace {

using namespace instar;
namespace gpu = bench::gpu;

enum class direction { forward, inference, backward };

constexpr index_t k_checked = 8;

/// Eight channels, spread over all.
template <class T>
tensor<T, 2> some(const tensor<T, 2>& x) {
    tensor<T, 2> y({x.extent(0), k_checked});
    for (index_t i = 0; i < x.extent(0); ++i) {
        for (index_t c = 0; c < k_checked; ++c) y(i, c) = x(i, c * x.extent(1) / k_checked);
    }
    return y;
}
template <class T>
tensor<T, 1> some(const tensor<T, 1>& x) {
    tensor<T, 1> y({k_checked});
    for (index_t c = 0; c < k_checked; ++c) y(c) = x(c * x.extent(0) / k_checked);
    return y;
}

template <class T>
void batch_norm(gpu::run& r, index_t rows, index_t channels, direction way) {
    const index_t n = gpu::sized(rows, 37), d = gpu::sized(channels, 24);
    gpu::both<T, 2> x(r.ctx, {n, d}, 1, -2.0f, 4.0f), y(r.ctx, {n, d}, 2);
    gpu::both<T, 1> weight(r.ctx, {d}, 3, 0.5f, 1.5f), bias(r.ctx, {d}, 4);
    gpu::both<float, 1> mean(r.ctx, {d}, 5), rstd(r.ctx, {d}, 6), running_mean(r.ctx, {d}, 7), running_variance(r.ctx, {d}, 8, 0.5f, 1.5f);
    const ops::batch_norm_options options{.relu = true};
    const double bytes = static_cast<double>(n * d) * sizeof(T);
    const auto forward = [&] {
        if (way == direction::inference) ops::batch_norm_inference<T>(r.ctx, y, {running_mean, running_variance}, x, weight, bias, options);
        else ops::batch_norm_forward<T>(r.ctx, y, {mean, rstd}, {running_mean, running_variance}, x, weight, bias, options);
    };
    forward();
    const auto some_x = some(x.host);
    const auto some_weight = some(weight.host), some_bias = some(bias.host);
    auto some_y = some(y.host);
    auto some_mean = some(mean.host), some_rstd = some(rstd.host), moved_mean = some(running_mean.host), moved_variance = some(running_variance.host);
    if (way == direction::inference) {
        ops::ref::batch_norm_inference<T>(some_y, {moved_mean, moved_variance}, some_x, some_weight, some_bias, options);
    } else {
        ops::ref::batch_norm_forward<T>(some_y, {some_mean, some_rstd}, {moved_mean, moved_variance}, some_x, some_weight, some_bias, options);
    }
    y.host = y.fetch();
    if (!r.check(some(y.host).view(), some_y.view())) return;
    if (way == direction::inference) return r.time(forward, {.bytes = 2.0 * bytes});
    if (!r.check(some(running_mean.fetch()).view(), moved_mean.view()) || !r.check(some(running_variance.fetch()).view(), moved_variance.view())) return;
    if (way == direction::forward) return r.time(forward, {.bytes = 3.0 * bytes});

    gpu::both<T, 2> dy(r.ctx, {n, d}, 9), dx(r.ctx, {n, d}, 10);
    gpu::both<T, 1> dweight(r.ctx, {d}, 11), dbias(r.ctx, {d}, 12);
    const auto work = [&] { ops::batch_norm_backward<T>(r.ctx, dx, dweight, dbias, dy, {mean, rstd}, y, x, weight, options); };
    work();
    auto some_dx = some(dx.host);
    auto some_dweight = some(dweight.host), some_dbias = some(dbias.host);
    // The device's own y: where rounding decides on which side of zero it lies, the gradient follows it.
    ops::ref::batch_norm_backward<T>(some_dx, some_dweight, some_dbias, some(dy.host), {some_mean, some_rstd}, some(y.host), some_x, some_weight, options);
    if (!r.check(some(dx.fetch()).view(), some_dx.view()) || !r.check(some(dweight.fetch()).view(), some_dweight.view()) ||
        !r.check(some(dbias.fetch()).view(), some_dbias.view())) {
        return;
    }
    r.time(work, {.bytes = 7.0 * bytes});
}

const bool registered = [] {
    const auto add = [](index_t rows, index_t channels) {
        const std::string shape = gpu::slashed(rows, channels);
        gpu::add("batch_norm_forward", shape, gpu::k_no_products, [=]<class T>(gpu::run& r) { batch_norm<T>(r, rows, channels, direction::forward); });
        gpu::add("batch_norm_inference", shape, gpu::k_no_products, [=]<class T>(gpu::run& r) { batch_norm<T>(r, rows, channels, direction::inference); });
        gpu::add("batch_norm_backward", shape, gpu::k_no_products, [=]<class T>(gpu::run& r) { batch_norm<T>(r, rows, channels, direction::backward); });
    };
    add(200704, 256);  // 64 images of 56² pixels, ResNet-50's first stage
    add(12544, 2048);  // 256 images of 7² pixels, its last
    return true;
}();

}  // namespace
