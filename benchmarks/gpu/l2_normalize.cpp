// Rows to unit length, forward and backward. Bytes: x and y; dy, y and dx. Rows at both ends are checked against ops/ref.
// Names: l2_normalize_forward/rows/d.

#include "instar/ops/l2_normalize.hpp"

#include "harness.hpp"
#include "instar/ops/ref/l2_normalize.hpp"

namespace {

using namespace instar;
namespace gpu = bench::gpu;

constexpr index_t k_rows = 131072, k_width = 768;

template <class T>
void l2_normalize(gpu::run& r, bool backward) {
    const index_t n = gpu::sized(k_rows, 13), d = gpu::sized(k_width, 48);
    gpu::both<T, 2> x(r.ctx, {n, d}, 1), y(r.ctx, {n, d}, 2);
    gpu::both<float, 1> inv_norm(r.ctx, {n}, 3);
    const double bytes = static_cast<double>(n * d) * sizeof(T);
    const auto forward = [&] { ops::l2_normalize_forward<T>(r.ctx, y, inv_norm, x); };
    forward();
    y.host = y.fetch();
    inv_norm.host = inv_norm.fetch();
    const auto right = gpu::at_both_ends(n, 1024, [&](index_t begin, index_t end) {
        tensor<T, 2> expected({end - begin, d});
        tensor<float, 1> expected_norm({end - begin});
        ops::ref::l2_normalize_forward<T>(expected, expected_norm, x.host.view().rows(begin, end));
        return r.check(y.host.view().rows(begin, end), expected.view()) && r.check(inv_norm.host.view().rows(begin, end), expected_norm.view());
    });
    if (!right) return;
    if (!backward) return r.time(forward, {.bytes = 2.0 * bytes});

    gpu::both<T, 2> dy(r.ctx, {n, d}, 4), dx(r.ctx, {n, d}, 5);
    const auto work = [&] { ops::l2_normalize_backward<T>(r.ctx, dx, dy, y, inv_norm); };
    work();
    const auto found = dx.fetch();
    const auto right_too = gpu::at_both_ends(n, 1024, [&](index_t begin, index_t end) {
        const auto expected = dx.host.view().rows(begin, end);
        ops::ref::l2_normalize_backward<T>(expected, dy.host.view().rows(begin, end), y.host.view().rows(begin, end), inv_norm.host.view().rows(begin, end));
        return r.check(found.view().rows(begin, end), expected);
    });
    if (right_too) r.time(work, {.bytes = 3.0 * bytes});
}

const bool registered = [] {
    for (const bool backward : {false, true}) {
        gpu::add(backward ? "l2_normalize_backward" : "l2_normalize_forward", gpu::slashed(k_rows, k_width), gpu::k_no_products,
                 [backward]<class T>(gpu::run& r) { l2_normalize<T>(r, backward); });
    }
    return true;
}();

}  // namespace
