// One AdamW update of a flat range: parameters in float, or in bf16 with a copy of them in float; 28 bytes an element either way. Also the
// squared norm of gradients that clipping asks for, which waits for its result. Checked against ops/ref: both ends of the update, all of the
// norm.
//
// Names: adamw_update/elements, adamw_update_bf16/elements, squared_norm/elements, squared_norm_bf16/elements.

#include <type_traits>

#include "instar/ops/adamw.hpp"

#include "harness.hpp"
#include "instar/ops/ref/adamw.hpp"

namespace {

using namespace instar;
namespace gpu = bench::gpu;

constexpr index_t k_elements = index_t{1} << 26;

const bool registered = [] {
    gpu::add("adamw_update", gpu::slashed(k_elements), gpu::k_no_products, []<class T>(gpu::run& r) {
        const index_t n = gpu::sized(k_elements, 1003);
        gpu::both<T, 1> p(r.ctx, {n}, 1), g(r.ctx, {n}, 4);
        gpu::both<float, 1> master(r.ctx, {n}, 5), m(r.ctx, {n}, 2), v(r.ctx, {n}, 3, 0.0f, 1.0f);
        const ops::adamw_options options{.lr = 1e-3, .weight_decay = 0.01, .step = 3};
        const auto work = [&] {
            if constexpr (std::is_same_v<T, float>) ops::adamw_update<T>(r.ctx, p, m, v, g, options);
            else ops::adamw_update<T>(r.ctx, p, master, m, v, g, options);
        };
        work();
        const auto found_p = p.fetch();
        const auto found_v = v.fetch();
        const bool right = gpu::at_both_ends(n, index_t{1} << 20, [&](index_t begin, index_t end) {
            const auto part = [&](auto& x) { return x.host.view().rows(begin, end); };
            if constexpr (std::is_same_v<T, float>) ops::ref::adamw_update<T>(part(p), part(m), part(v), part(g), options);
            else ops::ref::adamw_update<T>(part(p), part(master), part(m), part(v), part(g), options);
            return r.check(found_p.view().rows(begin, end), part(p)) && r.check(found_v.view().rows(begin, end), part(v));
        });
        if (!right) return;
        r.time(work, {.bytes = 28.0 * static_cast<double>(n)});
    });
    gpu::add("squared_norm", gpu::slashed(k_elements), gpu::k_no_products, []<class T>(gpu::run& r) {
        const index_t n = gpu::sized(k_elements, 1003);
        gpu::both<T, 1> g(r.ctx, {n}, 4);
        tensor<double, 1> found({1}), expected({1});
        const auto work = [&] { found(0) = ops::squared_norm<T>(r.ctx, std::as_const(g.device).view()); };
        work();
        expected(0) = ops::ref::squared_norm<T>(std::as_const(g.host).view());
        if (r.check(found.view(), expected.view())) r.time(work, {.bytes = static_cast<double>(n) * sizeof(T)});
    });
    return true;
}();

}  // namespace
