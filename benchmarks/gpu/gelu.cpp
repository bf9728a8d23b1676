// GELU, forward and backward, at a size that no cache holds. Names: gelu_forward/elements. Both ends are checked against ops/ref.

#include "instar/ops/gelu.hpp"

#include "harness.hpp"
#include "instar/ops/ref/gelu.hpp"

namespace {

using namespace instar;
namespace gpu = bench::gpu;

constexpr index_t k_elements = index_t{1} << 26;

template <class T>
void gelu(gpu::run& r, bool backward) {
    const index_t n = gpu::sized(k_elements, 1003);
    gpu::both<T, 1> x(r.ctx, {n}, 1, -4.0f, 4.0f), dy(r.ctx, {n}, 2), y(r.ctx, {n}, 3);
    const auto work = [&] {
        if (backward) ops::gelu_backward<T>(r.ctx, y, dy, x);
        else ops::gelu_forward<T>(r.ctx, y, x);
    };
    work();
    const auto found = y.fetch();
    const bool right = gpu::at_both_ends(n, index_t{1} << 20, [&](index_t begin, index_t end) {
        const auto expected = y.host.view().rows(begin, end);
        if (backward) ops::ref::gelu_backward<T>(expected, dy.host.view().rows(begin, end), x.host.view().rows(begin, end));
        else ops::ref::gelu_forward<T>(expected, x.host.view().rows(begin, end));
        return r.check(found.view().rows(begin, end), expected);
    });
    if (right) r.time(work, {.bytes = (backward ? 3.0 : 2.0) * static_cast<double>(n) * sizeof(T)});
}

const bool registered = [] {
    for (const bool backward : {false, true}) {
        gpu::add(backward ? "gelu_backward" : "gelu_forward", gpu::slashed(k_elements), gpu::k_no_products,
                 [backward]<class T>(gpu::run& r) { gelu<T>(r, backward); });
    }
    return true;
}();

}  // namespace
