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

#include "common/device.hpp"
#include "common/linear_probe.hpp"
#include "common/results.hpp"

#include "barcodes.hpp"
#include "model_folder.hpp"
#include "specimens.hpp"

namespace dna_barcode {

using examples::metrics_map;
using examples::argmax_rows;
using examples::train_linear_probe;

/// Embeddings of barcodes, offset 0, in evaluation mode. readout: mean, masked_mean, or projection (folders of `project`).
inline tensor<float, 2> embed_barcodes(examples::device& device, const model_folder& folder, std::span<const std::string> barcodes, const std::string& readout,
                                       index_t batch_size = 64) {
    using namespace instar;
    const bool project = readout == "projection";
    if (project && folder.projection.empty()) throw value_error("the model folder has no projection.safetensors; fit one with dna_barcode project");
    const auto pooling = readout == "mean" ? ops::pooling::mean : ops::pooling::masked_mean;
    const std::vector<int> shifts = folder.encoder.shifts(device.cpu(), barcodes);
    const index_t n = static_cast<index_t>(barcodes.size()), d = folder.model.config().d_model, seq_len = folder.encoder.tokenizer().seq_len();
    tensor<float, 2> x({n, project ? folder.projection.d_out() : d});
    device.run([&](auto& ctx) {
        using memory = typename std::remove_reference_t<decltype(ctx)>::memory;
        const auto& model = examples::on_device(ctx, folder.model);
        nn::bert_activations<float, memory> activations;
        device_input<std::int32_t, 2, memory> ids;
        device_input<std::uint8_t, 2, memory> mask;
        host_output<float, 2, memory> result;
        const index_t rows = std::min(n, batch_size);
        tensor<float, 2, memory> read({rows, x.extent(1)}), flat({project ? rows : 0, seq_len * d});
        nn::position_projection<float, memory> copy;
        const auto& projection = [&]() -> const nn::position_projection<float, memory>& {
            if constexpr (is_host_memory<memory>) return folder.projection;
            else return copy = folder.projection.copy_to(ctx);
        }();
        auto& in_float = [&]() -> auto& {  // never in bf16: it was fitted in float
            if constexpr (is_host_memory<memory>) return device.cpu();
            else return ctx;
        }();
        token_batch batch;
        std::vector<index_t> indices;
        for (index_t begin = 0; begin < n; begin += batch_size) {
            const index_t end = std::min(n, begin + batch_size);
            indices.clear();
            for (index_t i = begin; i < end; ++i) indices.push_back(i);
            folder.encoder.encode(device.cpu(), batch, barcodes, shifts, indices, {}, {});
            const auto mask_there = mask(ctx, batch.mask.view());
            const auto h = model.forward(ctx, activations, ids(ctx, batch.ids.view()), mask_there);
            const auto y = read.view().rows(0, end - begin);
            if (project) projection.forward(in_float, y, h, mask_there, flat.view().rows(0, end - begin));
            else ops::sequence_pool_forward<float>(ctx, y, h, mask_there, pooling);
            const auto here = result(ctx, y);
            std::copy_n(here.data(), here.size(), &x(begin, 0));
        }
    });
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

/// Class probabilities of barcodes under a fine-tuned model, [n, n_classes].
inline tensor<float, 2> class_probabilities(examples::device& device, const instar::nn::bert<float>& model, instar::tensor_view<const float, 2> pooled) {
    using namespace instar;
    const index_t n = pooled.extent(0), n_classes = model.config().n_labels;
    tensor<float, 2> p({n, n_classes});
    if (n == 0) return p;
    device.run([&](auto& ctx) {
        using context = std::remove_reference_t<decltype(ctx)>;
        using memory = typename context::memory;
        const auto& there = examples::on_device(ctx, model);
        device_input<float, 2, memory> x;
        host_output<float, 2, memory> result;
        tensor<float, 2, memory> y({n, n_classes});
        there.network().classifier().template forward<context, float>(ctx, there.parameters(), y.view(), x(ctx, pooled));
        ops::softmax_forward<float>(ctx, y.view(), y.view());
        const auto here = result(ctx, y.view());
        std::copy_n(here.data(), here.size(), p.data());
    });
    return p;
}

}  // namespace dna_barcode

#endif
