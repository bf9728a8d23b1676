// From tokens to one vector a sample, the mean of those that are not padding; forward and backward. Bytes: the tokens. Samples at both ends
// are checked against ops/ref. Names: sequence_pool_forward/batch/tokens/d_model.

#include "instar/ops/pooling.hpp"

#include "harness.hpp"
#include "instar/ops/ref/pooling.hpp"

namespace {

using namespace instar;
namespace gpu = bench::gpu;

constexpr index_t k_batch = 512, k_tokens = 165, k_width = 768;

template <class T>
void pooling(gpu::run& r, bool backward) {
    const index_t n = gpu::sized(k_batch, 3), t = gpu::sized(k_tokens, 21), d = gpu::sized(k_width, 40);
    gpu::both<T, 3> x(r.ctx, {n, t, d}, 1);
    gpu::both<T, 2> y(r.ctx, {n, d}, 2);
    gpu::both<std::uint8_t, 2> mask(r.ctx, {n, t}, 0);
    for (index_t b = 0; b < n; ++b) {
        for (index_t i = 0; i < t; ++i) mask.host(b, i) = i < t - b % (t / 10);
    }
    mask.upload();
    const auto work = [&] {
        if (backward) ops::sequence_pool_backward<T>(r.ctx, x, y, mask, ops::pooling::masked_mean);
        else ops::sequence_pool_forward<T>(r.ctx, y, x, mask, ops::pooling::masked_mean);
    };
    work();
    const auto found_x = x.fetch();
    const auto found_y = y.fetch();
    const bool right = gpu::at_both_ends(n, 8, [&](index_t begin, index_t end) {
        const auto tokens = x.host.view().rows(begin, end);
        const auto pooled = y.host.view().rows(begin, end);
        const auto its_mask = std::as_const(mask.host).view().rows(begin, end);
        if (backward) ops::ref::sequence_pool_backward<T>(tokens, pooled, its_mask, ops::pooling::masked_mean);
        else ops::ref::sequence_pool_forward<T>(pooled, tokens, its_mask, ops::pooling::masked_mean);
        return backward ? r.check(found_x.view().rows(begin, end), tokens) : r.check(found_y.view().rows(begin, end), pooled);
    });
    if (right) r.time(work, {.bytes = static_cast<double>(n * t * d) * sizeof(T)});
}

const bool registered = [] {
    for (const bool backward : {false, true}) {
        gpu::add(backward ? "sequence_pool_backward" : "sequence_pool_forward", gpu::slashed(k_batch, k_tokens, k_width), gpu::k_no_products,
                 [backward]<class T>(gpu::run& r) { pooling<T>(r, backward); });
    }
    return true;
}();

}  // namespace
