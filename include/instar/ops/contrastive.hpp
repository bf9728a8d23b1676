#ifndef INSTAR_OPS_CONTRASTIVE_HPP
#define INSTAR_OPS_CONTRASTIVE_HPP

// The contrastive loss of a batch with two or more modalities: InfoNCE of every pair, both directions, averaged. With two it
// is CLIP's loss, with three CLIBD's.
//
//     const ops::contrastive_modality<float> modalities[] = {{image, d_image}, {dna, d_dna}, {text, d_text}};
//     tensor<float, 2> loss({2 * ops::contrastive_pairs<float>(modalities, {}).size(), n});
//     ops::contrastive_loss<float>(ctx, loss, d_logit_scale, logit_scale, modalities, {}, scratch.view(), {});
//
// scratch: info_nce_saved<float>::size(n, n) elements. The sum of `loss` is the loss; its rows are the directions.

#include <array>
#include <span>
#include <string>
#include <vector>

#include "instar/ops/info_nce.hpp"

namespace instar::ops {

/// One tower's embeddings of the batch, and where their gradient goes.
template <class T>
struct contrastive_modality {
    tensor_view<const T, 2> features{};         ///< [n, d], rows of unit length; empty: the batch lacks this modality
    tensor_view<T, 2> gradient{};               ///< [n, d], accumulated; empty: not wanted
    tensor_view<const std::uint8_t, 1> mask{};  ///< [n], 0 where a sample lacks it; empty: all have it
};

struct contrastive_options {
    int bind_to = -1;  ///< only pairs with this modality; its index counts missing ones too. −1: all pairs
    std::vector<std::array<int, 2>> without{};  ///< pairs to leave out, as {{0, 2}}
    bool normalize_targets = true;              ///< of several partners by labels: see info_nce_options
};

/// The pairs that the loss is made of: both modalities are there, in the order (0, 1), (0, 2), (1, 2), …
template <class T>
std::vector<std::array<int, 2>> contrastive_pairs(
    std::type_identity_t<std::span<const contrastive_modality<T>>> modalities, const contrastive_options& options) {
    const int n = static_cast<int>(modalities.size());
    if (options.bind_to < -1 || options.bind_to >= n) {
        throw value_error("contrastive_pairs: options.bind_to is " + std::to_string(options.bind_to) + ", there are " +
                          std::to_string(n) + " modalities");
    }
    std::vector<std::array<int, 2>> pairs;
    for (int a = 0; a < n; ++a) {
        for (int b = a + 1; b < n; ++b) {
            bool wanted = options.bind_to < 0 || options.bind_to == a || options.bind_to == b;
            for (const auto& p : options.without)
                wanted = wanted && !(p == std::array<int, 2>{a, b}) && !(p == std::array<int, 2>{b, a});
            const auto there = [&](int m) {
                return modalities[static_cast<std::size_t>(m)].features.data() != nullptr;
            };
            if (wanted && there(a) && there(b)) pairs.push_back({a, b});
        }
    }
    return pairs;
}

/// Mean of the InfoNCE losses of all directions between the modalities that are there, and its gradients:
///
///     loss = 1 / (2 · n_pairs) Σ_pairs (CE_{a→b} + CE_{b→a}),   CE_{a→b} the mean over samples of a with a partner in b
///
/// With three modalities that is a third of the sum of three CLIP losses. A pair in which the masks leave no partners counts
/// with 0.
///
/// | argument      | shape            | element                                                            |
/// |---------------|------------------|--------------------------------------------------------------------|
/// | loss          | [2·n_pairs, n]   | float or double, overwritten: a→b and b→a of each pair, per sample |
/// | d_logit_scale | [1] or empty     | float or double, accumulated                                       |
/// | logit_scale   | [1]              | float or double                                                    |
/// | labels        | [n] or empty     | int32; equal labels are partners, negative ones have none; empty: sample i and sample i |
/// | scratch       | [8·n]            | float or double                                                    |
///
/// Cost and memory: those of info_nce, a pair. Same bits for any number of threads.
/// Throws shape_error when a shape disagrees, value_error when no pair is left; else as info_nce_forward.
template <class T, class Context>
void contrastive_loss(Context& ctx, out_view<accumulator_t<T>, 2> loss, out_view<accumulator_t<T>, 1> d_logit_scale,
                      in_view<accumulator_t<T>, 1> logit_scale,
                      std::type_identity_t<std::span<const contrastive_modality<T>>> modalities,
                      tensor_view<const std::int32_t, 1> labels, out_view<accumulator_t<T>, 1> scratch,
                      const contrastive_options& options) {
    static constexpr const char* k_op = "contrastive_loss";
    const auto pairs = contrastive_pairs<T>(modalities, options);
    if (pairs.empty()) throw value_error(std::string(k_op) + ": no pair of modalities is there");
    const index_t n = modalities[static_cast<std::size_t>(pairs[0][0])].features.extent(0),
                  n_pairs = static_cast<index_t>(pairs.size());
    instar::detail::check_shape(k_op, "loss", loss, {2 * n_pairs, n});
    instar::detail::check_unit_stride(k_op, "loss", loss);
    for (const auto& m : modalities) {
        if (m.features.data() != nullptr && m.gradient.extent(0) != 0) {
            instar::detail::check_shape(k_op, "a modality's gradient", m.gradient,
                                        {m.features.extent(0), m.features.extent(1)});
        }
    }
    const info_nce_saved<accumulator_t<T>> saved(scratch, n, n);
    const double weight = 0.5 / static_cast<double>(n_pairs);
    const info_nce_options weights{
        .row_weight = weight, .column_weight = weight, .normalize_targets = options.normalize_targets};
    for (index_t k = 0; k < n_pairs; ++k) {
        const auto& [first, second] = pairs[static_cast<std::size_t>(k)];
        const auto &a = modalities[static_cast<std::size_t>(first)], &b = modalities[static_cast<std::size_t>(second)];
        const info_nce_targets targets{
            .row_labels = labels, .column_labels = labels, .row_mask = a.mask, .column_mask = b.mask};
        info_nce<T>(ctx, loss[2 * k], loss[2 * k + 1], a.gradient, b.gradient, d_logit_scale, saved, a.features,
                    b.features, logit_scale, targets, weights);
    }
}

}  // namespace instar::ops

#endif
