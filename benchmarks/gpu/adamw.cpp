// One AdamW update of a flat range of floats: 28 bytes an element. Names: adamw_update/elements. Checked against ops/ref.

#include "instar/ops/adamw.hpp"

#include "harness.hpp"
#include "instar/ops/ref/adamw.hpp"

namespace {

using namespace instar;
namespace gpu = bench::gpu;

constexpr index_t k_elements = index_t{1} << 26;

const bool registered = [] {
    gpu::add("adamw_update", gpu::slashed(k_elements), gpu::k_fp32_only, []<class T>(gpu::run& r) {
        const index_t n = gpu::sized(k_elements, 1003);
        gpu::both<T, 1> p(r.ctx, {n}, 1), m(r.ctx, {n}, 2), v(r.ctx, {n}, 3, 0.0f, 1.0f), g(r.ctx, {n}, 4);
        const ops::adamw_options options{.lr = 1e-3, .weight_decay = 0.01, .step = 3};
        const auto work = [&] { ops::adamw_update<T>(r.ctx, p, m, v, g, options); };
        work();
        ops::ref::adamw_update<T>(p.host, m.host, v.host, g.host, options);
        if (!r.check(p.fetch().view(), p.host.view()) || !r.check(v.fetch().view(), v.host.view())) return;
        r.time(work, {.bytes = 7.0 * static_cast<double>(n) * sizeof(T)});
    });
    return true;
}();

}  // namespace
