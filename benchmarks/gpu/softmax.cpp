// Softmax over the last dimension, forward and backward, as the DNA head of the contrastive model has it. Bytes: x and y; dy, y and dx.
// All of it is checked against ops/ref. Names: softmax_forward/rows/classes.

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
    ops::ref::softmax_forward<T>(y.host, x.host);
    if (!r.check(y.fetch().view(), y.host.view())) return;
    if (!backward) return r.time(forward, {.bytes = 2.0 * bytes});

    gpu::both<T, 2> dy(r.ctx, {n, d}, 3), dx(r.ctx, {n, d}, 4);
    const auto work = [&] { ops::softmax_backward<T>(r.ctx, dx, dy, y); };
    y.upload();
    work();
    ops::ref::softmax_backward<T>(dx.host, dy.host, y.host);
    if (r.check(dx.fetch().view(), dx.host.view())) r.time(work, {.bytes = 3.0 * bytes});
}

const bool registered = [] {
    for (const bool backward : {false, true}) {
        gpu::add(backward ? "softmax_backward" : "softmax_forward", gpu::slashed(k_rows, k_classes), gpu::k_no_products,
                 [backward]<class T>(gpu::run& r) { softmax<T>(r, backward); });
    }
    return true;
}();

}  // namespace
