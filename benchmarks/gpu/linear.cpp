// Affine maps of a transformer's MLP: forward, forward with GELU in the product's epilogue, and backward to input, weight and bias in one call.
//
//     bench_gpu_linear --benchmark_filter=backward_bf16
//
// Names: linear_forward/rows/d_in/d_out, linear_gelu_forward, linear_backward. FLOP: 2, 2 and 4 · rows · d_in · d_out. Sixty-four elements of
// each result are checked against sums in double.

#include "instar/ops/linear.hpp"

#include "harness.hpp"

namespace {

using namespace instar;
namespace gpu = bench::gpu;

struct shape {
    index_t rows, d_in, d_out;
};
enum class direction { forward, gelu, backward };

/// Sixty-four elements, spread over [n_rows, n_columns], against f(row, column).
template <class A, class F>
bool check_some(gpu::run& r, const tensor<A, 2>& found, F f) {
    tensor<double, 1> actual({64}), expected({64});
    for (index_t s = 0; s < 64; ++s) {
        const index_t i = s * 7919 % found.extent(0), j = s * 104729 % found.extent(1);
        actual(s) = gpu::value(found(i, j));
        expected(s) = f(i, j);
    }
    return r.check(actual.view(), expected.view());
}

template <class T>
void linear(gpu::run& r, shape s, direction way) {
    const index_t n = gpu::sized(s.rows, 40), d_in = gpu::sized(s.d_in, 24), d_out = gpu::sized(s.d_out, 32);
    const double flop = 2.0 * static_cast<double>(n) * static_cast<double>(d_in) * static_cast<double>(d_out);
    gpu::both<T, 2> x(r.ctx, {n, d_in}, 1), weight(r.ctx, {d_out, d_in}, 2), y(r.ctx, {n, d_out}, 3);
    gpu::both<T, 1> bias(r.ctx, {d_out}, 4);
    if (way != direction::backward) {
        gpu::both<T, 2> pre(r.ctx, {way == direction::gelu ? n : 1, d_out}, 5);
        const auto work = [&] {
            if (way == direction::gelu) ops::linear_gelu_forward<T>(r.ctx, y, pre, x, weight, bias);
            else ops::linear_forward<T>(r.ctx, y, x, weight, bias);
        };
        work();
        const auto affine = [&](index_t i, index_t j) {
            double sum = gpu::value(bias.host(j));
            for (index_t l = 0; l < d_in; ++l) sum += gpu::value(x.host(i, l)) * gpu::value(weight.host(j, l));
            return sum;
        };
        const auto gelu = [&](index_t i, index_t j) { return 0.5 * affine(i, j) * std::erfc(-affine(i, j) / std::sqrt(2.0)); };
        const bool right = way == direction::gelu ? check_some(r, pre.fetch(), affine) && check_some(r, y.fetch(), gelu) : check_some(r, y.fetch(), affine);
        if (right) r.time(work, {.flop = flop});
        return;
    }
    gpu::both<T, 2> dx(r.ctx, {n, d_in}, 6), dweight(r.ctx, {d_out, d_in}, 7);
    gpu::both<T, 1> dbias(r.ctx, {d_out}, 8);
    const auto work = [&] { ops::linear_backward<T>(r.ctx, dx, dweight, dbias, y, x, weight); };
    work();
    const auto of_x = [&](index_t i, index_t j) {
        double sum = 0.0;
        for (index_t l = 0; l < d_out; ++l) sum += gpu::value(y.host(i, l)) * gpu::value(weight.host(l, j));
        return sum;
    };
    const auto of_weight = [&](index_t i, index_t j) {
        double sum = gpu::value(dweight.host(i, j));
        for (index_t l = 0; l < n; ++l) sum += gpu::value(y.host(l, i)) * gpu::value(x.host(l, j));
        return sum;
    };
    const auto of_bias = [&](index_t, index_t j) {
        double sum = gpu::value(dbias.host(j));
        for (index_t l = 0; l < n; ++l) sum += gpu::value(y.host(l, j));
        return sum;
    };
    tensor<T, 2> dbias_row({1, d_out});
    r.ctx.download(dbias_row.view().template reshape<1>({d_out}), std::as_const(dbias.device).view());
    if (check_some(r, dx.fetch(), of_x) && check_some(r, dweight.fetch(), of_weight) && check_some(r, dbias_row, of_bias)) r.time(work, {.flop = 2.0 * flop});
}

const bool registered = [] {
    for (const shape s : {shape{5280, 768, 3072}, {84480, 768, 3072}}) {
        const std::string name = gpu::slashed(s.rows, s.d_in, s.d_out);
        gpu::add("linear_forward", name, gpu::k_all, [s]<class T>(gpu::run& r) { linear<T>(r, s, direction::forward); });
        gpu::add("linear_gelu_forward", name, gpu::k_all, [s]<class T>(gpu::run& r) { linear<T>(r, s, direction::gelu); });
        gpu::add("linear_backward", name, gpu::k_all, [s]<class T>(gpu::run& r) { linear<T>(r, s, direction::backward); });
    }
    return true;
}();

}  // namespace
