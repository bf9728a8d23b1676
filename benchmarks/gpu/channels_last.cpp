// Images as loaders give them into the order of convolutions. Bytes: once in, once out. All of it is compared bit for bit with ops/ref.
// Names: channels_last/batch/channels/size.

#include "instar/ops/channels_last.hpp"

#include "harness.hpp"
#include "instar/ops/ref/channels_last.hpp"

namespace {

using namespace instar;
namespace gpu = bench::gpu;

const bool registered = [] {
    gpu::add("channels_last", "256/3/224", gpu::k_no_products, []<class T>(gpu::run& r) {
        const index_t n = gpu::sized(256, 2), size = gpu::sized(224, 13), c = 3;
        gpu::both<T, 4> x(r.ctx, {n, c, size, size}, 1), y(r.ctx, {n, size, size, c}, 2);
        const auto work = [&] { ops::channels_last<T>(r.ctx, y, x); };
        work();
        ops::ref::channels_last<T>(y.host, x.host);
        if (r.check_equal(y.fetch().view(), y.host.view())) r.time(work, {.bytes = 2.0 * static_cast<double>(x.host.size()) * sizeof(T)});
    });
    return true;
}();

}  // namespace
