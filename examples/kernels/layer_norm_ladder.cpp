// LayerNorm is bound by memory: what counts is how often a row travels, not how many operations it takes.
//
//     kernels layer_norm [n_rows]        rows of 768 floats, default 40,000 (123 MB in, 123 MB out)
//
// The text that goes with it is docs/kernels/layer_norm.md.
#include "ladder.hpp"
#include "tile.hpp"

#include "instar/ops/layer_norm.hpp"

namespace kernels {

namespace {

using instar::index_t;
constexpr index_t k_d = 768;
constexpr double k_eps = 1e-5;

// 1. Operator by operator over the whole array, as a framework without fusion does it: mean, difference, square, variance, scale. Every
// step reads and writes all rows again.
void operator_by_operator(float* y, const float* x, const float* weight, const float* bias, index_t n_rows) {
    std::vector<float> mean(static_cast<std::size_t>(n_rows)), variance(mean.size()), squares(static_cast<std::size_t>(n_rows * k_d));
    for (index_t r = 0; r < n_rows; ++r) {
        float sum = 0.0f;
        for (index_t c = 0; c < k_d; ++c) sum += x[r * k_d + c];
        mean[static_cast<std::size_t>(r)] = sum / k_d;
    }
    for (index_t r = 0; r < n_rows; ++r) {
        for (index_t c = 0; c < k_d; ++c) y[r * k_d + c] = x[r * k_d + c] - mean[static_cast<std::size_t>(r)];
    }
    for (index_t i = 0; i < n_rows * k_d; ++i) squares[static_cast<std::size_t>(i)] = y[i] * y[i];
    for (index_t r = 0; r < n_rows; ++r) {
        float sum = 0.0f;
        for (index_t c = 0; c < k_d; ++c) sum += squares[static_cast<std::size_t>(r * k_d + c)];
        variance[static_cast<std::size_t>(r)] = sum / k_d;
    }
    for (index_t r = 0; r < n_rows; ++r) {
        const float rstd = 1.0f / std::sqrt(variance[static_cast<std::size_t>(r)] + static_cast<float>(k_eps));
        for (index_t c = 0; c < k_d; ++c) y[r * k_d + c] = y[r * k_d + c] * rstd * weight[c] + bias[c];
    }
}

// 2. Row by row: a row of 3 KiB stays in the first-level cache while all steps pass over it. But one sum is a chain of 768 additions of
// four cycles each: without permission to reorder them, the compiler cannot use a vector.
void row_by_row(float* y, const float* x, const float* weight, const float* bias, index_t n_rows) {
    for (index_t r = 0; r < n_rows; ++r) {
        const float* row = x + r * k_d;
        float sum = 0.0f, squares = 0.0f;
        for (index_t c = 0; c < k_d; ++c) sum += row[c];
        const float mean = sum / k_d;
        for (index_t c = 0; c < k_d; ++c) squares += (row[c] - mean) * (row[c] - mean);
        const float rstd = 1.0f / std::sqrt(squares / k_d + static_cast<float>(k_eps));
        for (index_t c = 0; c < k_d; ++c) y[r * k_d + c] = (row[c] - mean) * rstd * weight[c] + bias[c];
    }
}

// 3. Four vectors of sums: 64 chains side by side, in an order that we chose once and that never changes.
void vector_sums(float* y, const float* x, const float* weight, const float* bias, index_t n_rows) {
    for (index_t r = 0; r < n_rows; ++r) {
        const float* row = x + r * k_d;
        vec s[4] = {}, q[4] = {};
        for (index_t c = 0; c < k_d; c += 4 * k_lanes) {
            for (index_t u = 0; u < 4; ++u) s[u] += at(row + c + u * k_lanes);
        }
        const float mean = total((s[0] + s[1]) + (s[2] + s[3])) / k_d;
        for (index_t c = 0; c < k_d; c += 4 * k_lanes) {
            for (index_t u = 0; u < 4; ++u) {
                const vec d = at(row + c + u * k_lanes) - mean;
                q[u] += d * d;
            }
        }
        const float rstd = 1.0f / std::sqrt(total((q[0] + q[1]) + (q[2] + q[3])) / k_d + static_cast<float>(k_eps));
        for (index_t c = 0; c < k_d; c += k_lanes) at(y + r * k_d + c) = (at(row + c) - mean) * rstd * at(weight + c) + at(bias + c);
    }
}

}  // namespace

int run_layer_norm(index_t n_rows) {
    const auto x = random_values(n_rows * k_d, 1), weight = random_values(k_d, 2), bias = random_values(k_d, 3);
    std::vector<float> y(x.size()), mean(static_cast<std::size_t>(n_rows)), rstd(mean.size());
    const auto error = [&] {
        double worst = 0.0;
        for (index_t r = 0; r < n_rows; r += 97) {
            const float* row = x.data() + r * k_d;
            double sum = 0.0, squares = 0.0;
            for (index_t c = 0; c < k_d; ++c) sum += static_cast<double>(row[c]);
            for (index_t c = 0; c < k_d; ++c) squares += (static_cast<double>(row[c]) - sum / k_d) * (static_cast<double>(row[c]) - sum / k_d);
            const double scale = 1.0 / std::sqrt(squares / k_d + k_eps);
            for (index_t c = 0; c < k_d; ++c) {
                const auto i = static_cast<std::size_t>(c);
                const double expected = (static_cast<double>(row[c]) - sum / k_d) * scale * static_cast<double>(weight[i]) + static_cast<double>(bias[i]);
                worst = std::max(worst, std::fabs(static_cast<double>(y[static_cast<std::size_t>(r * k_d + c)]) - expected));
            }
        }
        return worst;
    };
    ladder steps("LayerNorm of " + std::to_string(n_rows) + " rows of 768", {.bytes = 8.0 * static_cast<double>(n_rows * k_d)});
    using function = void (*)(float*, const float*, const float*, const float*, index_t);
    const std::pair<const char*, function> rungs[] = {{"1 operator by operator", operator_by_operator}, {"2 row by row", row_by_row}, {"3 vector sums", vector_sums}};
    for (const auto& [name, f] : rungs) steps.rung(name, 1, [&] { f(y.data(), x.data(), weight.data(), bias.data(), n_rows); }, error);
    instar::cpu_context one(1), all;
    const auto run = [&](instar::cpu_context& ctx) {
        instar::ops::layer_norm_forward<float>(ctx, instar::tensor_view<float, 2>(y.data(), {n_rows, k_d}), {{mean.data(), {n_rows}}, {rstd.data(), {n_rows}}},
                                               instar::tensor_view<const float, 2>(x.data(), {n_rows, k_d}), instar::tensor_view<const float, 1>(weight.data(), {k_d}),
                                               instar::tensor_view<const float, 1>(bias.data(), {k_d}), k_eps);
    };
    steps.rung("4 instar, one thread", 1, [&] { run(one); }, error);
    steps.rung("5 instar, all threads", all.max_threads(), [&] { run(all); }, error);
    return steps.finish();
}

}  // namespace kernels
