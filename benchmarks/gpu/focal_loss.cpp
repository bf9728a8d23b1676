// Focal loss (γ = 2) with its gradient, which overwrites the logits: the logits once in and once out. Names: focal_loss/rows/classes.
// Eight rows are checked against ops/ref; what is timed works on its own output, the traffic is the same.

#include "instar/ops/focal_loss.hpp"

#include "harness.hpp"
#include "instar/ops/ref/focal_loss.hpp"

namespace {

using namespace instar;
namespace gpu = bench::gpu;

template <class T>
void focal_loss(gpu::run& r, index_t rows, index_t classes) {
    const index_t n = gpu::sized(rows, 9), c = gpu::sized(classes, 301), n_checked = 8;
    gpu::both<T, 2> logits(r.ctx, {n, c}, 1, -4.0f, 4.0f);
    gpu::both<std::int32_t, 1> targets(r.ctx, {n}, 0);
    for (index_t i = 0; i < n; ++i) targets.host(i) = static_cast<std::int32_t>(i * 7919 % c);
    targets.upload();
    gpu::both<float, 1> loss(r.ctx, {n}, 2);
    const ops::focal_loss_options options{.denominator = static_cast<double>(n)};
    const auto work = [&] { ops::focal_loss<T>(r.ctx, loss, logits, logits, targets, {}, options); };
    work();
    auto some = logits.host.view().rows(0, n_checked);
    const auto expected = loss.host.view().rows(0, n_checked);
    ops::ref::focal_loss<T>(expected, some, some, targets.host.view().rows(0, n_checked), {}, options);
    const auto losses = loss.fetch();
    const auto gradient = logits.fetch();
    if (!r.check(losses.view().rows(0, n_checked), expected) || !r.check(gradient.view().rows(0, n_checked), some)) return;
    r.time(work, {.bytes = 2.0 * static_cast<double>(n * c) * sizeof(T)});
}

const bool registered = [] {
    gpu::add("focal_loss", "65536/1000", gpu::k_no_products, []<class T>(gpu::run& r) { focal_loss<T>(r, 65536, 1000); });
    return true;
}();

}  // namespace
