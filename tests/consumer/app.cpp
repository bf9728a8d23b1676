// What every consumer project builds: one operator on real numbers, checked, so that a wrong link is seen at run time too.

#include <cmath>
#include <cstdio>

#include "instar/core/cpu_context.hpp"
#include "instar/core/tensor.hpp"
#include "instar/ops/layer_norm.hpp"

int main() {
    instar::cpu_context ctx;
    const instar::index_t n_rows = 3, d_model = 8;
    instar::tensor<float, 2> x({n_rows, d_model}), y({n_rows, d_model});
    instar::tensor<float, 1> weight({d_model}), bias({d_model}), mean({n_rows}), rstd({n_rows});
    for (instar::index_t i = 0; i < n_rows; ++i) {
        for (instar::index_t j = 0; j < d_model; ++j) x.view()(i, j) = static_cast<float>((i + 1) * j);
    }
    for (instar::index_t j = 0; j < d_model; ++j) weight.view()[j] = 1.0f;

    instar::ops::layer_norm_forward(ctx, y.view(), {mean.view(), rstd.view()}, x.view(), weight.view(), bias.view(), 1e-12);

    // 0, 1, …, 7 normalised: mean 3.5, standard deviation √5.25, whatever the row's factor.
    for (instar::index_t i = 0; i < n_rows; ++i) {
        for (instar::index_t j = 0; j < d_model; ++j) {
            const double expected = (static_cast<double>(j) - 3.5) / std::sqrt(5.25);
            if (std::abs(static_cast<double>(y.view()(i, j)) - expected) > 1e-5) {
                std::fprintf(stderr, "y[%d, %d] is %g, expected %g\n", static_cast<int>(i), static_cast<int>(j),
                             static_cast<double>(y.view()(i, j)), expected);
                return 1;
            }
        }
    }
    std::puts("layer_norm agrees");
    return 0;
}
