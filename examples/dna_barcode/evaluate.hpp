#ifndef INSTAR_EXAMPLES_DNA_BARCODE_EVALUATE_HPP
#define INSTAR_EXAMPLES_DNA_BARCODE_EVALUATE_HPP

// Benchmark 1's scores: 1-NN and linear probes on embeddings, the classifier's accuracy, the 5-mer baseline.
//
//     metrics_map m;
//     score_nearest(ctx, m, "pretrained.", all, train, train_x, unseen, unseen_x, "test_unseen", {"genus", "family"});

#include <map>
#include <numeric>
#include <string>
#include <vector>

#include "instar/cluster/knn.hpp"
#include "instar/metrics/classification.hpp"
#include "instar/nn/bert.hpp"
#include "instar/ops/softmax.hpp"
#include "instar/optim/sgd.hpp"
#include "instar/train/batch_order.hpp"

#include "barcodes.hpp"
#include "model_folder.hpp"
#include "specimens.hpp"

namespace dna_barcode {

using metrics_map = std::map<std::string, double>;

/// Embeddings of barcodes, offset 0, in evaluation mode. readout: mean, masked_mean, or projection (folders of `project`).
inline tensor<float, 2> embed_barcodes(cpu_context& ctx, const model_folder& folder, std::span<const std::string> barcodes, const std::string& readout,
                                       index_t batch_size = 64) {
    using namespace instar;
    const bool project = readout == "projection";
    if (project && folder.projection.empty()) throw value_error("the model folder has no projection.safetensors; fit one with dna_barcode project");
    const auto pooling = readout == "mean" ? ops::pooling::mean : ops::pooling::masked_mean;
    const std::vector<int> shifts = folder.encoder.shifts(ctx, barcodes);
    const index_t n = static_cast<index_t>(barcodes.size()), d = folder.model.config().d_model, seq_len = folder.encoder.tokenizer().seq_len();
    tensor<float, 2> x({n, project ? folder.projection.d_out() : d}), flat({project ? std::min(n, batch_size) : 0, seq_len * d});
    token_batch batch;
    nn::bert_activations<float> memory;
    std::vector<index_t> indices;
    for (index_t begin = 0; begin < n; begin += batch_size) {
        const index_t end = std::min(n, begin + batch_size);
        indices.clear();
        for (index_t i = begin; i < end; ++i) indices.push_back(i);
        folder.encoder.encode(ctx, batch, barcodes, shifts, indices, {}, {});
        const auto h = folder.model.forward(ctx, memory, batch.ids.view(), batch.mask.view());
        if (project) folder.projection.forward(ctx, x.view().rows(begin, end), h, batch.mask.view(), flat.view().rows(0, end - begin));
        else ops::sequence_pool_forward<float>(ctx, x.view().rows(begin, end), h, batch.mask.view(), pooling);
    }
    return x;
}

/// The readout that a folder's embeddings are meant to have: what its task trained, masked_mean otherwise.
inline std::string readout_of(const model_folder& folder) {
    return !folder.projection.empty() ? "projection" : folder.task == "metric" && !folder.pooling.empty() ? folder.pooling : "masked_mean";
}

/// Accuracy of the nearest reference's label (k > 1: uniform vote, ties to the smallest label) for each rank:
/// metrics[prefix + split + "." + rank + ".accuracy"].
inline void score_nearest(cpu_context& ctx, metrics_map& metrics, const std::string& prefix, const specimens& all, const partition& reference,
                          instar::tensor_view<const float, 2> reference_x, const partition& query, instar::tensor_view<const float, 2> query_x,
                          const std::string& split, std::initializer_list<const char*> ranks, index_t k = 1,
                          instar::cluster::knn_metric metric = instar::cluster::knn_metric::cosine) {
    if (query.rows.empty() || reference.rows.empty()) return;
    const auto neighbours = instar::cluster::knn(ctx, query_x, reference_x, {.k = std::min(k, reference_x.extent(0)), .metric = metric});
    for (const char* rank : ranks) {
        const joint_labels labels(all, rank, reference.rows, query.rows);
        std::vector<std::int32_t> predicted(query.rows.size(), -1);
        for (std::size_t q = 0; q < predicted.size(); ++q) {
            std::map<std::int32_t, int> votes;
            for (index_t j = 0; j < neighbours.index.extent(1); ++j) {
                ++votes[labels.reference[static_cast<std::size_t>(neighbours.index(static_cast<index_t>(q), j))]];
            }
            predicted[q] = std::max_element(votes.begin(), votes.end(), [](const auto& a, const auto& b) { return a.second < b.second; })->first;
        }
        const auto s = instar::metrics::classification_scores(predicted, labels.query);
        if (s.n_counted == 0) continue;
        const std::string name = prefix + split + "." + rank;
        metrics[name + ".accuracy"] = s.accuracy;
        metrics[name + ".f1_macro"] = s.f1_macro;
        metrics[name + ".n"] = static_cast<double>(s.n_counted);
    }
}

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
    std::vector<std::int32_t> predict(cpu_context& ctx, instar::tensor_view<const float, 2> x) const;
};

/// BarcodeBERT's linear probe: features standardised by the scalar mean and deviation of all training features, one
/// linear layer, SGD, last epoch. The standardisation is folded into what is returned. After little pre-training, what all
/// samples share outweighs what tells them apart, and the reference's probe fails; options.per_feature (all presets but paper) mends that.
inline linear_classifier train_linear_probe(cpu_context& ctx, instar::tensor_view<const float, 2> x, const std::vector<std::int32_t>& y, index_t n_classes,
                                            linear_probe_options options = {}) {
    using namespace instar;
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

inline std::vector<std::int32_t> argmax_rows(instar::tensor_view<const float, 2> x) {
    std::vector<std::int32_t> best(static_cast<std::size_t>(x.extent(0)), 0);
    for (index_t r = 0; r < x.extent(0); ++r) {
        for (index_t c = 1; c < x.extent(1); ++c) {
            if (x(r, c) > x(r, best[static_cast<std::size_t>(r)])) best[static_cast<std::size_t>(r)] = static_cast<std::int32_t>(c);
        }
    }
    return best;
}

inline std::vector<std::int32_t> linear_classifier::predict(cpu_context& ctx, instar::tensor_view<const float, 2> x) const {
    tensor<float, 2> logits({x.extent(0), weight.extent(0)});
    instar::ops::linear_forward<float>(ctx, logits.view(), x, weight.view(), bias.view());
    return argmax_rows(logits.view());
}

/// Class probabilities of barcodes under a fine-tuned model, [n, n_classes].
inline tensor<float, 2> class_probabilities(cpu_context& ctx, const instar::nn::bert<float>& model, instar::tensor_view<const float, 2> pooled) {
    using namespace instar;
    tensor<float, 2> p({pooled.extent(0), model.config().n_labels});
    model.network().classifier().forward<cpu_context, float>(ctx, model.parameters(), p.view(), pooled);
    ops::softmax_forward<float>(ctx, p.view(), p.view());
    return p;
}

}  // namespace dna_barcode

#endif
