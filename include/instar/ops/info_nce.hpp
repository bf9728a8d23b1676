#ifndef INSTAR_OPS_INFO_NCE_HPP
#define INSTAR_OPS_INFO_NCE_HPP

// InfoNCE, the contrastive loss between two sets of embeddings (CLIP's loss), without the matrix of all similarities.
//
//     ops::info_nce_saved<float> saved(memory.view(), n, n);          // memory: info_nce_saved<float>::size(n, n)
//     ops::info_nce<float>(ctx, row_loss, column_loss, d_image, d_dna, d_logit_scale, saved, image, dna, logit_scale, {}, {});
//
// The sum of row_loss and column_loss is CLIP's loss, the mean of both directions. Forward, loss and backward also stand
// apart, because a batch that is spread over processes needs a step between them. A process that holds rows [r, r + n) of
// image and a copy of all of dna gets its rows' statistics whole and the columns' in part:
//
//     info_nce_forward<float>(ctx, saved, image_rows, dna_all, logit_scale, {.diagonal = r});
//     …every process sends saved.column to the others, and adds theirs in one agreed order with info_nce_merge…
//     info_nce_backward<float>(ctx, d_rows, d_dna_part, …, {.diagonal = r}, {.row_weight = 0.5 / n_all, …, .mean = false});
//     …the d_dna_part of all processes add up to the gradient of dna…
//
// ops/contrastive.hpp makes losses of two and three modalities of it; ops/siglip.hpp has the sigmoid loss.

#include "instar/core/tensor_view.hpp"

namespace instar {
class cpu_context;
class cuda_context;
}  // namespace instar

namespace instar::ops {

/// Which row of a and which row of b ("column" of the similarities) belong together. Without labels: row i and column
/// i + diagonal. With labels, both given: those with equal labels; a negative label belongs to nobody.
struct info_nce_targets {
    index_t diagonal = 0;
    tensor_view<const std::int32_t, 1> row_labels{};     ///< [n] or empty
    tensor_view<const std::int32_t, 1> column_labels{};  ///< [m] or empty
    tensor_view<const std::uint8_t, 1> row_mask{};       ///< [n] or empty; 0: it lacks this modality and takes no part
    tensor_view<const std::uint8_t, 1> column_mask{};    ///< [m] or empty
};

/// What the losses are multiplied by. The defaults give the mean of both directions' means.
struct info_nce_options {
    double row_weight = 0.5;
    double column_weight = 0.5;
    /// Divide each direction by its number of anchors: rows (columns) that have a partner. Of a part of a batch the number is
    /// wrong: set false there and put the whole batch's into the weights.
    bool mean = true;
    /// With several partners: their mean (true), or their sum, as a multi-hot target without normalisation gives.
    bool normalize_targets = true;
};

/// Statistics of the rows, or of the columns: over the other side's samples that take part. The log-sum-exp is max + log(sum);
/// in two parts it has the digits that a probability near 1 needs.
template <class T>
struct info_nce_side {
    tensor_view<T, 1> max;       ///< largest z; −∞ when there is none
    tensor_view<T, 1> sum;       ///< Σ exp(z − max); 0 when there is none
    tensor_view<T, 1> positive;  ///< Σ z over the partners
    tensor_view<T, 1> count;     ///< how many partners

    info_nce_side() = default;
    /// Cuts 4·n elements.
    info_nce_side(T* memory, index_t n)
        : max(memory, {n}),
          sum(memory + n, {n}),
          positive(memory + 2 * n, {n}),
          count(memory + 3 * n, {n}) {}
    INSTAR_HOST_DEVICE index_t size() const { return max.extent(0); }
};

/// What the forward leaves for the loss and the backward. An empty column side: that direction is not wanted.
template <class T>
struct info_nce_saved {
    info_nce_side<T> row, column;

    info_nce_saved() = default;
    /// Cuts memory of size(n, m) elements.
    info_nce_saved(tensor_view<T, 1> memory, index_t n, index_t m)
        : row(memory.data(), n),
          column(memory.data() + 4 * n, m) {
        instar::detail::check_shape("info_nce_saved", "memory", memory, {size(n, m)});
        instar::detail::check_contiguous("info_nce_saved", "memory", memory);
    }
    static constexpr index_t size(index_t n, index_t m) { return 4 * (n + m); }
};

/// Statistics of the logits of InfoNCE (van den Oord et al. 2018, arXiv:1807.03748; in CLIP's form Radford et al. 2021,
/// arXiv:2103.00020), by tiles that update rows and columns together:
///
///     z_ij = exp(logit_scale) · a_i · b_j
///     row.max_i = max_j z_ij,   row.sum_i = Σ_j exp(z_ij − row.max_i),   row.positive_i = Σ_j T_ij z_ij,   row.count_i = Σ_j T_ij
///
/// and column.… likewise over i.
/// T_ij is 1 for partners (info_nce_targets) and 0 for others; the sums leave masked samples out. A masked sample has count
/// 0. Rows of a and b are usually of unit length.
///
/// | argument    | shape           | element                                  |
/// |-------------|-----------------|------------------------------------------|
/// | saved       | rows n, columns m (or none) | float or double, contiguous  |
/// | a           | [n, d]          | T                                        |
/// | b           | [m, d]          | T; masked rows must be finite            |
/// | logit_scale | [1]             | float or double                          |
///
/// T: float or double (CPU), float or bf16 (CUDA). Logits in float (double for double). Same bits for any number of threads.
/// Cost: 2·n·m·d FLOP; a tile of fixed size in flight, and O(n + m) elements.
/// Throws shape_error when a shape disagrees; value_error when logit_scale is not finite or exp of it overflows (CPU; the CUDA
/// kernel lets NaN through to the losses).
template <class T>
void info_nce_forward(cpu_context& ctx, std::type_identity_t<info_nce_saved<accumulator_t<T>>> saved, in_view<T, 2> a,
                      in_view<T, 2> b, in_view<accumulator_t<T>, 1> logit_scale, info_nce_targets targets);
template <class T>
void info_nce_forward(cuda_context& ctx, std::type_identity_t<info_nce_saved<accumulator_t<T>>> saved, in_view<T, 2> a,
                      in_view<T, 2> b, in_view<accumulator_t<T>, 1> logit_scale, info_nce_targets targets);

/// Adds the statistics of another part of the batch. What has seen nothing yet holds −∞, 0, 0, 0.
template <class T>
void info_nce_merge(cpu_context& ctx, std::type_identity_t<info_nce_side<accumulator_t<T>>> into,
                    std::type_identity_t<info_nce_side<accumulator_t<T>>> part);
template <class T>
void info_nce_merge(cuda_context& ctx, std::type_identity_t<info_nce_side<accumulator_t<T>>> into,
                    std::type_identity_t<info_nce_side<accumulator_t<T>>> part);

/// The losses of rows and columns, overwritten; their sum is the loss. With lse = max + log(sum):
///
///     row_loss_i = w · (lse_i − positive_i / count_i),  or  w · (count_i · lse_i − positive_i) without normalize_targets
///
/// and 0 where count_i = 0; w = row_weight, divided by the number of rows with count > 0 when `mean`. Columns likewise.
///
/// row_loss: [n]; column_loss: [m], or empty when saved has no columns. T is the features' type.
template <class T>
void info_nce_loss(cpu_context& ctx, out_view<accumulator_t<T>, 1> row_loss, out_view<accumulator_t<T>, 1> column_loss,
                   std::type_identity_t<info_nce_saved<accumulator_t<T>>> saved, info_nce_options options);
template <class T>
void info_nce_loss(cuda_context& ctx, out_view<accumulator_t<T>, 1> row_loss, out_view<accumulator_t<T>, 1> column_loss,
                   std::type_identity_t<info_nce_saved<accumulator_t<T>>> saved, info_nce_options options);

/// Gradients of the sum of all losses, by tiles whose logits are computed again:
///
///     G_ij = ∂loss/∂z_ij = w_i exp(z_ij − row.lse_i) + w_j exp(z_ij − column.lse_j) − T_ij (w_i / count_i + w_j / count_j)
///     da += exp(logit_scale) · G · b,   db += exp(logit_scale) · Gᵀ · a,   d_logit_scale += Σ_ij G_ij z_ij
///
/// (without normalize_targets w·count takes the place of w, and w that of w / count).
///
/// | argument      | shape            | element                              |
/// |---------------|------------------|--------------------------------------|
/// | da            | [n, d] or empty  | T, accumulated                       |
/// | db            | [m, d] or empty  | T, accumulated                       |
/// | d_logit_scale | [1] or empty     | float or double, accumulated         |
/// | others        | as info_nce_forward, info_nce_loss |                    |
///
/// da and db may not alias a or b. Same bits for any number of threads; no atomics. Cost: 6·n·m·d FLOP (4 without da or db);
/// one tile in flight (CUDA with bf16: also a float copy of db). Errors as info_nce_forward.
template <class T>
void info_nce_backward(cpu_context& ctx, tensor_view<T, 2> da, out_view<T, 2> db,
                       out_view<accumulator_t<T>, 1> d_logit_scale,
                       std::type_identity_t<info_nce_saved<accumulator_t<T>>> saved, in_view<T, 2> a, in_view<T, 2> b,
                       in_view<accumulator_t<T>, 1> logit_scale, info_nce_targets targets, info_nce_options options);
template <class T>
void info_nce_backward(cuda_context& ctx, tensor_view<T, 2> da, out_view<T, 2> db,
                       out_view<accumulator_t<T>, 1> d_logit_scale,
                       std::type_identity_t<info_nce_saved<accumulator_t<T>>> saved, in_view<T, 2> a, in_view<T, 2> b,
                       in_view<accumulator_t<T>, 1> logit_scale, info_nce_targets targets, info_nce_options options);

/// info_nce_forward, info_nce_loss and info_nce_backward in one, to the bit: what a step on one process needs. On the CPU
/// the last tile of logits is used by both, so a batch of at most 2,048 costs 6·n·m·d FLOP instead of 8. Nothing is computed
/// backwards when da, db and d_logit_scale are empty.
template <class T>
void info_nce(cpu_context& ctx, out_view<accumulator_t<T>, 1> row_loss, out_view<accumulator_t<T>, 1> column_loss,
              tensor_view<T, 2> da, out_view<T, 2> db, out_view<accumulator_t<T>, 1> d_logit_scale,
              std::type_identity_t<info_nce_saved<accumulator_t<T>>> saved, in_view<T, 2> a, in_view<T, 2> b,
              in_view<accumulator_t<T>, 1> logit_scale, info_nce_targets targets, info_nce_options options);
template <class T>
void info_nce(cuda_context& ctx, out_view<accumulator_t<T>, 1> row_loss, out_view<accumulator_t<T>, 1> column_loss,
              tensor_view<T, 2> da, out_view<T, 2> db, out_view<accumulator_t<T>, 1> d_logit_scale,
              std::type_identity_t<info_nce_saved<accumulator_t<T>>> saved, in_view<T, 2> a, in_view<T, 2> b,
              in_view<accumulator_t<T>, 1> logit_scale, info_nce_targets targets, info_nce_options options);

namespace detail {

template <class T>
void check_info_nce_side(const char* op, const char* name, const info_nce_side<T>& side, index_t n) {
    const std::string prefix = std::string("saved.") + name;
    instar::detail::check_shape(op, (prefix + ".max").c_str(), side.max, {n});
    instar::detail::check_shape(op, (prefix + ".sum").c_str(), side.sum, {n});
    instar::detail::check_shape(op, (prefix + ".positive").c_str(), side.positive, {n});
    instar::detail::check_shape(op, (prefix + ".count").c_str(), side.count, {n});
    for (const tensor_view<T, 1>* v : {&side.max, &side.sum, &side.positive, &side.count})
        instar::detail::check_contiguous(op, prefix.c_str(), *v);
}

/// Shapes of targets for n rows and m columns.
inline void check_info_nce_targets(const char* op, const info_nce_targets& t, index_t n, index_t m) {
    const bool labelled = t.row_labels.extent(0) != 0 || t.column_labels.extent(0) != 0;
    if (labelled) {
        instar::detail::check_shape(op, "targets.row_labels", t.row_labels, {n});
        instar::detail::check_shape(op, "targets.column_labels", t.column_labels, {m});
    }
    if (t.row_mask.extent(0) != 0) instar::detail::check_shape(op, "targets.row_mask", t.row_mask, {n});
    if (t.column_mask.extent(0) != 0) instar::detail::check_shape(op, "targets.column_mask", t.column_mask, {m});
}

/// Each may be empty.
template <class T, class A>
void check_info_nce_gradients(const char* op, const tensor_view<T, 2>& da, const tensor_view<T, 2>& db,
                              const tensor_view<A, 1>& d_logit_scale, index_t n, index_t m, index_t d) {
    if (da.extent(0) != 0) instar::detail::check_shape(op, "da", da, {n, d});
    if (db.extent(0) != 0) instar::detail::check_shape(op, "db", db, {m, d});
    instar::detail::check_unit_stride(op, "da", da);
    instar::detail::check_unit_stride(op, "db", db);
    if (d_logit_scale.extent(0) != 0) instar::detail::check_shape(op, "d_logit_scale", d_logit_scale, {1});
}

template <class A>
void check_info_nce_losses(const char* op, const tensor_view<A, 1>& row_loss, const tensor_view<A, 1>& column_loss,
                           const info_nce_saved<A>& saved) {
    check_info_nce_side(op, "row", saved.row, saved.row.size());
    check_info_nce_side(op, "column", saved.column, saved.column.size());
    instar::detail::check_shape(op, "row_loss", row_loss, {saved.row.size()});
    instar::detail::check_shape(op, "column_loss", column_loss, {saved.column.size()});
}

/// Shapes that forward and backward share. The column side may be empty.
template <class T, class A>
void check_info_nce(const char* op, const info_nce_saved<A>& saved, const tensor_view<const T, 2>& a,
                    const tensor_view<const T, 2>& b, const tensor_view<const A, 1>& logit_scale,
                    const info_nce_targets& targets) {
    const index_t n = a.extent(0), m = b.extent(0), d = a.extent(1);
    instar::detail::check_shape(op, "b", b, {m, d});
    instar::detail::check_unit_stride(op, "a", a);
    instar::detail::check_unit_stride(op, "b", b);
    instar::detail::check_shape(op, "logit_scale", logit_scale, {1});
    check_info_nce_side(op, "row", saved.row, n);
    if (saved.column.size() != 0) check_info_nce_side(op, "column", saved.column, m);
    check_info_nce_targets(op, targets, n, m);
}

}  // namespace detail

}  // namespace instar::ops

#if !defined(INSTAR_COMPILED)
#if !defined(__CUDACC__)
#include "instar/ops/cpu/info_nce.hpp"
#endif
#if defined(__CUDACC__) || defined(INSTAR_CUDA_EMULATED)
#include "instar/ops/cuda/info_nce.cuh"
#endif
#endif

#endif
