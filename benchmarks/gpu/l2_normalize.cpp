// Rows to unit length, forward and backward. Bytes: x and y; dy, y and dx. All of it is checked against ops/ref.
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
    ops::ref::l2_normalize_forward<T>(y.host, inv_norm.host, x.host);
    if (!r.check(y.fetch().view(), y.host.view()) || !r.check(inv_norm.fetch().view(), inv_norm.host.view())) return;
    if (!backward) return r.time(forward, {.bytes = 2.0 * bytes});

    gpu::both<T, 2> dy(r.ctx, {n, d}, 4), dx(r.ctx, {n, d}, 5);
    const auto work = [&] { ops::l2_normalize_backward<T>(r.ctx, dx, dy, y, inv_norm); };
    y.upload();
    inv_norm.upload();
    work();
    ops::ref::l2_normalize_backward<T>(dx.host, dy.host, y.host, inv_norm.host);
    if (r.check(dx.fetch().view(), dx.host.view())) r.time(work, {.bytes = 3.0 * bytes});
}

const bool registered = [] {
    for (const bool backward : {false, true}) {
        gpu::add(backward ? "l2_normalize_backward" : "l2_normalize_forward", gpu::slashed(k_rows, k_width), gpu::k_no_products,
                 [backward]<class T>(gpu::run& r) { l2_normalize<T>(r, backward); });
    }
    return true;
}();

}  // namespace
