// One update of a flat range by gradient descent with momentum and weight decay: parameters and momentum are read and written, gradients
// read, all in the element of the parameters. All of it is checked against ops/ref. Names: sgd_update/elements.

#include "instar/ops/sgd.hpp"

#include "harness.hpp"
#include "instar/ops/ref/sgd.hpp"

namespace {

using namespace instar;
namespace gpu = bench::gpu;

constexpr index_t k_elements = index_t{1} << 26;

const bool registered = [] {
    gpu::add("sgd_update", gpu::slashed(k_elements), gpu::k_no_products, []<class T>(gpu::run& r) {
        const index_t n = gpu::sized(k_elements, 1003);
        gpu::both<T, 1> p(r.ctx, {n}, 1), momentum(r.ctx, {n}, 2), g(r.ctx, {n}, 3);
        const ops::sgd_options options{.lr = 1e-3, .momentum = 0.9, .weight_decay = 1e-4};
        const auto work = [&] { ops::sgd_update<T>(r.ctx, p, momentum, g, options); };
        work();
        ops::ref::sgd_update<T>(p.host, momentum.host, g.host, options);
        if (!r.check(p.fetch().view(), p.host.view()) || !r.check(momentum.fetch().view(), momentum.host.view())) return;
        r.time(work, {.bytes = 5.0 * static_cast<double>(n) * sizeof(T)});
    });
    return true;
}();

}  // namespace
