// Flat passes over memory, at a size that no cache holds. Both ends of each are checked against ops/ref. Names: fill/elements, copy, add,
// scale, add_relu, relu_backward.

#include "instar/ops/elementwise.hpp"

#include "harness.hpp"
#include "instar/ops/ref/elementwise.hpp"
#include "instar/ops/ref/relu.hpp"
#include "instar/ops/relu.hpp"

namespace {

using namespace instar;
namespace gpu = bench::gpu;

constexpr index_t k_elements = index_t{1} << 26;

enum class pass { fill, copy, add, scale, add_relu, relu_backward };

struct pass_info {
    pass what;
    const char* name;
    double n_moved;  // elements read and written, for each of y
};
constexpr pass_info k_passes[] = {{pass::fill, "fill", 1.0}, {pass::copy, "copy", 2.0}, {pass::add, "add", 3.0},
                                  {pass::scale, "scale", 2.0}, {pass::add_relu, "add_relu", 3.0}, {pass::relu_backward, "relu_backward", 3.0}};

template <class T>
void elementwise(gpu::run& r, const pass_info& p) {
    const index_t n = gpu::sized(k_elements, 1003);
    gpu::both<T, 1> a(r.ctx, {n}, 1), b(r.ctx, {n}, 2), y(r.ctx, {n}, 3);
    const auto work = [&] {
        switch (p.what) {
        case pass::fill: return ops::fill<T>(r.ctx, y, T(0.25f));
        case pass::copy: return ops::copy<T>(r.ctx, y, a);
        case pass::add: return ops::add<T>(r.ctx, y, a, b);
        case pass::scale: return ops::scale<T>(r.ctx, y, -1.0f);  // works on its own output, which must neither vanish nor overflow
        case pass::add_relu: return ops::add_relu<T>(r.ctx, y, a, b);
        case pass::relu_backward: return ops::relu_backward<T>(r.ctx, y, a, b);
        }
    };
    work();
    const auto found = y.fetch();
    const bool right = gpu::at_both_ends(n, index_t{1} << 20, [&](index_t begin, index_t end) {
        const auto x = a.host.view().rows(begin, end), z = b.host.view().rows(begin, end), expected = y.host.view().rows(begin, end);
        switch (p.what) {
        case pass::fill: ops::ref::fill<T>(expected, T(0.25f)); break;
        case pass::copy: ops::ref::copy<T>(expected, x); break;
        case pass::add: ops::ref::add<T>(expected, x, z); break;
        case pass::scale: ops::ref::scale<T>(expected, -1.0f); break;
        case pass::add_relu: ops::ref::add_relu<T>(expected, x, z); break;
        case pass::relu_backward: ops::ref::relu_backward<T>(expected, x, z); break;
        }
        return r.check(found.view().rows(begin, end), expected);
    });
    if (right) r.time(work, {.bytes = p.n_moved * static_cast<double>(n) * sizeof(T)});
}

const bool registered = [] {
    for (const pass_info& p : k_passes) {
        gpu::add(p.name, gpu::slashed(k_elements), gpu::k_no_products, [p]<class T>(gpu::run& r) { elementwise<T>(r, p); });
    }
    return true;
}();

}  // namespace
