// Dropout of a tenth, alone, with the sum of a residual branch, and backward: the numbers are drawn again, no mask is stored. Four million
// elements of each are checked against ops/ref. Names: dropout_forward/elements, residual_dropout_forward, dropout_backward.

#include "instar/ops/dropout.hpp"

#include "harness.hpp"
#include "instar/ops/ref/dropout.hpp"

namespace {

using namespace instar;
namespace gpu = bench::gpu;

constexpr index_t k_elements = index_t{1} << 26;

enum class direction { forward, residual, backward };

template <class T>
void dropout(gpu::run& r, direction way) {
    const index_t n = gpu::sized(k_elements, 1003);
    gpu::both<T, 1> x(r.ctx, {n}, 1), residual(r.ctx, {n}, 2), y(r.ctx, {n}, 3);
    const ops::dropout_options options{.p = 0.1f, .rng = {.seed = 7, .stream = 1}};
    const auto work = [&] {
        if (way == direction::forward) ops::dropout_forward<T>(r.ctx, y, x, options);
        else if (way == direction::residual) ops::residual_dropout_forward<T>(r.ctx, y, residual, x, options);
        else ops::dropout_backward<T>(r.ctx, y, x, options);
    };
    work();
    const index_t n_checked = std::min(n, index_t{1} << 22);  // the first: the reference draws its numbers from there on
    const auto from = x.host.view().rows(0, n_checked), expected = y.host.view().rows(0, n_checked);
    if (way == direction::forward) ops::ref::dropout_forward<T>(expected, from, options);
    else if (way == direction::residual) ops::ref::residual_dropout_forward<T>(expected, residual.host.view().rows(0, n_checked), from, options);
    else ops::ref::dropout_backward<T>(expected, from, options);
    const auto found = y.fetch();
    if (!r.check(found.view().rows(0, n_checked), expected)) return;
    r.time(work, {.bytes = (way == direction::residual ? 3.0 : 2.0) * static_cast<double>(n) * sizeof(T)});
}

const bool registered = [] {
    const std::string shape = gpu::slashed(k_elements);
    gpu::add("dropout_forward", shape, gpu::k_no_products, []<class T>(gpu::run& r) { dropout<T>(r, direction::forward); });
    gpu::add("residual_dropout_forward", shape, gpu::k_no_products, []<class T>(gpu::run& r) { dropout<T>(r, direction::residual); });
    gpu::add("dropout_backward", shape, gpu::k_no_products, []<class T>(gpu::run& r) { dropout<T>(r, direction::backward); });
    return true;
}();

}  // namespace
