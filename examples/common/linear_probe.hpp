#ifndef INSTAR_EXAMPLES_COMMON_LINEAR_PROBE_HPP
#define INSTAR_EXAMPLES_COMMON_LINEAR_PROBE_HPP

// A linear classifier of given features, and how it is trained.
//
//     auto probe = train_linear_probe(ctx, x, labels, n_classes, {.per_feature = true});
//     std::vector<std::int32_t> predicted = probe.predict(ctx, test_x);

#include <cmath>
#include <numeric>
#include <vector>

#include "instar/nn/bert.hpp"
#include "instar/optim/sgd.hpp"
#include "instar/train/batch_order.hpp"

namespace examples {

using namespace instar;

struct linear_probe_options {
    int epochs = 200;
    index_t batch_size = 1024;
    double lr = 1.0;
    double momentum = 0.95;
    double weight_decay = 1e-9;
    bool per_feature = false;  // each feature by its own mean and deviation, instead of one of each for all
    std::uint64_t seed = 7;
};

/// A linear classifier of plain features: logits = x · weightᵀ + bias.
struct linear_classifier {
    tensor<float, 2> weight;  // [n_classes, d]
    tensor<float, 1> bias;    // [n_classes]

    /// The class of the largest logit, for each row.
    std::vector<std::int32_t> predict(cpu_context& ctx, tensor_view<const float, 2> x) const;
};

/// BarcodeBERT's linear probe: features standardised by the scalar mean and deviation of all training features, one
/// linear layer, SGD, last epoch. The standardisation is folded into what is returned. After little pre-training, what all
/// samples share outweighs what tells them apart, and the reference's probe fails; options.per_feature (all presets but paper) mends that.
inline linear_classifier train_linear_probe(cpu_context& ctx, tensor_view<const float, 2> x, const std::vector<std::int32_t>& y, index_t n_classes,
                                            linear_probe_options options = {}) {
    const index_t n = x.extent(0), d = x.extent(1);
    std::vector<double> mean(static_cast<std::size_t>(d)), squares(mean.size()), deviation(mean.size());
    for (index_t i = 0; i < n; ++i) {
        for (index_t c = 0; c < d; ++c) mean[static_cast<std::size_t>(c)] += static_cast<double>(x(i, c)) / static_cast<double>(n);
    }
    const double all = std::accumulate(mean.begin(), mean.end(), 0.0) / static_cast<double>(d);
    if (!options.per_feature) std::fill(mean.begin(), mean.end(), all);
    for (index_t i = 0; i < n; ++i) {
        for (index_t c = 0; c < d; ++c) {
            const double v = static_cast<double>(x(i, c)) - mean[static_cast<std::size_t>(c)];
            squares[static_cast<std::size_t>(c)] += v * v / static_cast<double>(n);
        }
    }
    const double variance = std::accumulate(squares.begin(), squares.end(), 0.0) / static_cast<double>(d);
    for (std::size_t c = 0; c < deviation.size(); ++c) deviation[c] = std::sqrt(std::max(options.per_feature ? squares[c] : variance, 1e-8 * variance + 1e-30));
    const auto standardise = [&](float v, index_t c) { return static_cast<float>((static_cast<double>(v) - mean[static_cast<std::size_t>(c)]) / deviation[static_cast<std::size_t>(c)]); };

    nn::parameter_layout layout;
    const nn::linear head(layout, "probe", nn::linear_config::torch_default(d, n_classes));
    tensor<float, 1> values({layout.size()}), gradients({layout.size()});
    nn::initialise(layout, values.view(), philox{options.seed, 21});
    optim::sgd<float> optimiser(layout.size(), {.momentum = options.momentum, .weight_decay = options.weight_decay});
    const index_t batch_size = std::min(options.batch_size, n);
    tensor<float, 2> batch({batch_size, d});
    tensor<std::int32_t, 1> targets({batch_size});
    tensor<float, 1> loss({batch_size});
    arena<> scratch;
    for (int epoch = 0; epoch < options.epochs; ++epoch) {
        const auto order = train::epoch_order(n, philox{options.seed, 22}, epoch);
        for (index_t begin = 0; begin < n; begin += batch_size) {
            const index_t m = std::min(batch_size, n - begin);
            for (index_t i = 0; i < m; ++i) {
                const index_t row = order[static_cast<std::size_t>(begin + i)];
                for (index_t c = 0; c < d; ++c) batch(i, c) = standardise(x(row, c), c);
                targets(i) = y[static_cast<std::size_t>(row)];
            }
            const auto step = [&] {
                nn::linear_cross_entropy<cpu_context, float>(ctx, head, std::as_const(values).view(), gradients.view(), loss.view().rows(0, m), {},
                                                             batch.view().rows(0, m), targets.view().rows(0, m), {}, {.denominator = static_cast<double>(m)}, scratch);
            };
            if (scratch.committed_bytes() == 0) {
                scratch.measure();
                step();
                scratch.commit();
            }
            step();
            optimiser.step(ctx, values.view(), gradients.view(), options.lr);
            ops::fill<float>(ctx, gradients.view(), 0.0f);
        }
    }
    // w · (x − mean) / deviation + b, as one affine map of x.
    linear_classifier result{tensor<float, 2>({n_classes, d}), tensor<float, 1>({n_classes})};
    const auto w = head.weight(values.view());
    const auto bias = head.bias(values.view());
    for (index_t k = 0; k < n_classes; ++k) {
        double shift = 0.0;
        for (index_t c = 0; c < d; ++c) {
            const double scaled = static_cast<double>(w(k, c)) / deviation[static_cast<std::size_t>(c)];
            result.weight(k, c) = static_cast<float>(scaled);
            shift += scaled * mean[static_cast<std::size_t>(c)];
        }
        result.bias(k) = static_cast<float>(static_cast<double>(bias(k)) - shift);
    }
    return result;
}

inline std::vector<std::int32_t> argmax_rows(tensor_view<const float, 2> x) {
    std::vector<std::int32_t> best(static_cast<std::size_t>(x.extent(0)), 0);
    for (index_t r = 0; r < x.extent(0); ++r) {
        for (index_t c = 1; c < x.extent(1); ++c) {
            if (x(r, c) > x(r, best[static_cast<std::size_t>(r)])) best[static_cast<std::size_t>(r)] = static_cast<std::int32_t>(c);
        }
    }
    return best;
}

inline std::vector<std::int32_t> linear_classifier::predict(cpu_context& ctx, tensor_view<const float, 2> x) const {
    tensor<float, 2> logits({x.extent(0), weight.extent(0)});
    ops::linear_forward<float>(ctx, logits.view(), x, weight.view(), bias.view());
    return argmax_rows(logits.view());
}

}  // namespace examples

#endif
