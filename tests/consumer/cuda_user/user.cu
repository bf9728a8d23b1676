// A .cu file of a user's: one operator on the device. Compiled and linked as a test; it runs where there is a GPU.

#include <cmath>
#include <cstdio>
#include <exception>

#include "instar/cuda/cuda_context.hpp"
#include "instar/ops/layer_norm.hpp"

int main() try {
    instar::cuda_context ctx;
    const instar::index_t n_rows = 3, d_model = 8;
    using device = instar::device_memory;
    instar::tensor<float, 2> x({n_rows, d_model}), y({n_rows, d_model});
    instar::tensor<float, 1> ones({d_model});
    for (instar::index_t i = 0; i < n_rows; ++i) {
        for (instar::index_t j = 0; j < d_model; ++j) x(i, j) = static_cast<float>((i + 1) * j);
    }
    for (float& w : ones) w = 1.0f;

    instar::tensor<float, 2, device> dx({n_rows, d_model}), dy({n_rows, d_model});
    instar::tensor<float, 1, device> weight({d_model}), bias({d_model}), mean({n_rows}), rstd({n_rows});
    ctx.upload(dx.view(), x.view());
    ctx.upload(weight.view(), ones.view());
    instar::ops::layer_norm_forward<float>(ctx, dy, {mean, rstd}, dx, weight, bias, 1e-12);
    ctx.download(y.view(), dy.view());

    const double expected = (0 - 3.5) / std::sqrt(5.25);
    std::printf("y[0, 0] = %g, expected %g\n", static_cast<double>(y(0, 0)), expected);
    return std::abs(static_cast<double>(y(0, 0)) - expected) < 1e-5 ? 0 : 1;
} catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
}
