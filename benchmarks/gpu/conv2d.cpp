// Convolutions of ResNet-50, forward and backward to input and weight. FLOP: 2 and 4 · pixels out · d_out · kernel² · d_in.
//
//     bench_gpu_conv2d --benchmark_filter=forward_bf16
//
// Names: conv2d_forward/batch/size/d_in/d_out/kernel/stride. Sixty-four elements of each result are checked against sums in double.

#include "instar/ops/conv2d.hpp"

#include "harness.hpp"

namespace {

using namespace instar;
namespace gpu = bench::gpu;

struct shape {
    index_t n_batch, size, d_in, d_out, kernel, stride;
};

/// Sixty-four elements, spread over x, against f of their four indices.
template <class T, class F>
bool check_some(gpu::run& r, const tensor<T, 4>& x, F f) {
    tensor<double, 1> actual({64}), expected({64});
    for (index_t s = 0; s < 64; ++s) {
        const index_t at[4] = {s * 7919 % x.extent(0), s * 104729 % x.extent(1), s * 1299709 % x.extent(2), s * 15485863 % x.extent(3)};
        actual(s) = gpu::value(x(at[0], at[1], at[2], at[3]));
        expected(s) = f(at[0], at[1], at[2], at[3]);
    }
    return r.check(actual.view(), expected.view());
}

template <class T>
void conv2d(gpu::run& r, shape real, bool backward) {
    const ops::conv2d_shape s{.n_batch = gpu::sized(real.n_batch, 2), .height = gpu::sized(real.size, 9), .width = gpu::sized(real.size, 9),
                              .d_in = real.kernel == 7 ? real.d_in : gpu::sized(real.d_in, 8), .d_out = gpu::sized(real.d_out, 16), .kernel = real.kernel,
                              .stride = real.stride, .padding = real.kernel / 2};
    gpu::both<T, 4> x(r.ctx, {s.n_batch, s.height, s.width, s.d_in}, 1), y(r.ctx, {s.n_batch, s.height_out(), s.width_out(), s.d_out}, 2);
    gpu::both<T, 4> weight(r.ctx, {s.d_out, s.d_in, s.kernel, s.kernel}, 3);
    tensor<T, 1, device_memory> scratch({ops::conv2d_scratch(s)});
    const double flop = 2.0 * static_cast<double>(y.host.size()) * static_cast<double>(s.depth());
    // The pixel that tap p of output i reads; outside the image it is a zero.
    const auto meets = [&](index_t i, index_t p) { return i * s.stride + p - s.padding; };
    if (!backward) {
        const auto work = [&] { ops::conv2d_forward<T>(r.ctx, y, x, weight, {}, s, scratch.view()); };
        work();
        const auto expected = [&](index_t b, index_t i, index_t j, index_t o) {
            double sum = 0.0;
            for (index_t p = 0; p < s.kernel; ++p) {
                for (index_t q = 0; q < s.kernel; ++q) {
                    const index_t row = meets(i, p), column = meets(j, q);
                    if (row < 0 || row >= s.height || column < 0 || column >= s.width) continue;
                    for (index_t c = 0; c < s.d_in; ++c) sum += gpu::value(x.host(b, row, column, c)) * gpu::value(weight.host(o, c, p, q));
                }
            }
            return sum;
        };
        if (check_some(r, y.fetch(), expected)) r.time(work, {.flop = flop});
        return;
    }
    gpu::both<T, 4> dx(r.ctx, {s.n_batch, s.height, s.width, s.d_in}, 4), dweight(r.ctx, {s.d_out, s.d_in, s.kernel, s.kernel}, 5);
    const auto work = [&] { ops::conv2d_backward<T>(r.ctx, dx, dweight, {}, y, x, weight, s, scratch.view()); };
    work();
    const auto of_x = [&](index_t b, index_t row, index_t column, index_t c) {
        double sum = 0.0;
        for (index_t i = 0; i < s.height_out(); ++i) {
            for (index_t j = 0; j < s.width_out(); ++j) {
                const index_t p = row - meets(i, 0), q = column - meets(j, 0);
                if (p < 0 || p >= s.kernel || q < 0 || q >= s.kernel) continue;
                for (index_t o = 0; o < s.d_out; ++o) sum += gpu::value(y.host(b, i, j, o)) * gpu::value(weight.host(o, c, p, q));
            }
        }
        return sum;
    };
    const auto of_weight = [&](index_t o, index_t c, index_t p, index_t q) {
        double sum = gpu::value(dweight.host(o, c, p, q));
        for (index_t b = 0; b < s.n_batch; ++b) {
            for (index_t i = 0; i < s.height_out(); ++i) {
                for (index_t j = 0; j < s.width_out(); ++j) {
                    const index_t row = meets(i, p), column = meets(j, q);
                    if (row < 0 || row >= s.height || column < 0 || column >= s.width) continue;
                    sum += gpu::value(y.host(b, i, j, o)) * gpu::value(x.host(b, row, column, c));
                }
            }
        }
        return sum;
    };
    if (check_some(r, dx.fetch(), of_x) && check_some(r, dweight.fetch(), of_weight)) r.time(work, {.flop = 2.0 * flop});
}

const bool registered = [] {
    for (const shape s : {shape{64, 224, 3, 64, 7, 2}, {64, 56, 64, 64, 3, 1}, {64, 56, 256, 64, 1, 1}, {64, 28, 128, 128, 3, 1}, {64, 28, 256, 256, 3, 2},
                          {64, 14, 256, 256, 3, 1}}) {
        for (const bool backward : {false, true}) {
            gpu::add(backward ? "conv2d_backward" : "conv2d_forward", gpu::slashed(s.n_batch, s.size, s.d_in, s.d_out, s.kernel, s.stride), gpu::k_all,
                     [s, backward]<class T>(gpu::run& r) { conv2d<T>(r, s, backward); });
        }
    }
    return true;
}();

}  // namespace
