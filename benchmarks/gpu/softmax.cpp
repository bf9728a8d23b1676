// Softmax over the last dimension, forward and backward, as the DNA head of the contrastive model has it. Bytes: x and y; dy, y and dx.
// Rows at both ends are checked against ops/ref. Names: softmax_forward/rows/classes.

#include "instar/ops/softmax.hpp"

#include "harness.hpp"
#include "instar/ops/ref/softmax.hpp"

namespace {

using namespace instar;
namespace gpu = bench::gpu;

constexpr index_t k_rows = 65536, k_classes = 768;

template <class T>
void softmax(gpu::run& r, bool backward) {
    const index_t n = gpu::sized(k_rows, 13), d = gpu::sized(k_classes, 48);
    gpu::both<T, 2> x(r.ctx, {n, d}, 1, -4.0f, 4.0f), y(r.ctx, {n, d}, 2);
    const double bytes = static_cast<double>(n * d) * sizeof(T);
    const auto forward = [&] { ops::softmax_forward<T>(r.ctx, y, x); };
    forward();
    y.host = y.fetch();
    const auto right = gpu::at_both_ends(n, 1024, [&](index_t begin, index_t end) {
        tensor<T, 2> expected({end - begin, d});
        ops::ref::softmax_forward<T>(expected, x.host.view().rows(begin, end));
        return r.check(y.host.view().rows(begin, end), expected.view());
    });
    if (!right) return;
    if (!backward) return r.time(forward, {.bytes = 2.0 * bytes});

    gpu::both<T, 2> dy(r.ctx, {n, d}, 3), dx(r.ctx, {n, d}, 4);
    const auto work = [&] { ops::softmax_backward<T>(r.ctx, dx, dy, y); };
    work();
    const auto found = dx.fetch();
    const auto right_too = gpu::at_both_ends(n, 1024, [&](index_t begin, index_t end) {
        const auto expected = dx.host.view().rows(begin, end);
        ops::ref::softmax_backward<T>(expected, dy.host.view().rows(begin, end), y.host.view().rows(begin, end));
        return r.check(found.view().rows(begin, end), expected);
    });
    if (right_too) r.time(work, {.bytes = 3.0 * bytes});
}

const bool registered = [] {
    for (const bool backward : {false, true}) {
        gpu::add(backward ? "softmax_backward" : "softmax_forward", gpu::slashed(k_rows, k_classes), gpu::k_no_products,
                 [backward]<class T>(gpu::run& r) { softmax<T>(r, backward); });
    }
    return true;
}();

}  // namespace
