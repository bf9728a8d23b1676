#ifndef INSTAR_TRAIN_BERT_TRAINER_HPP
#define INSTAR_TRAIN_BERT_TRAINER_HPP

// One training step of a BERT under each of the objectives: masked tokens, sequence classes, supervised contrast.
//
//     train::bert_trainer<float> trainer(model, {.weight_decay = 0.0});
//     auto masked = train::mask_tokens(ids, {}, rng);                                   // BarcodeBERT's 50 %
//     double loss = trainer.accumulate_mlm(ctx, masked, mask, masked.denominator, rng); // forward + backward
//     trainer.update(ctx, schedule(step));                                              // AdamW, gradients back to zero
//
// Calling an accumulate_… function several times before update() sums gradients: micro-batches. Nothing is allocated after
// the first step of a shape. The same bits for any number of threads.
//
// On a GPU: a bert<float, device_memory> and a cuda_context. Batches are host memory on either device; the trainer keeps the
// buffers that they are copied through.

#include <span>

#include "instar/core/transfer.hpp"
#include "instar/nn/bert.hpp"
#include "instar/ops/l2_normalize.hpp"
#include "instar/ops/sup_con.hpp"
#include "instar/optim/adamw.hpp"

namespace instar::train {

/// Which tokens the masked-language-model loss counts.
enum class mlm_loss {
    all,       ///< every non-special token, masked or not, one flat mean: BarcodeBERT since August 2024
    masked,    ///< masked tokens only: BERT
    weighted,  ///< w · mean over masked + (1 − w) · mean over unmasked: BarcodeMAE's ablations
};

struct mlm_options {
    float mask_ratio = 0.5f;
    mlm_loss loss = mlm_loss::all;
    float masked_weight = 0.5f;     ///< w of mlm_loss::weighted
    std::int32_t mask_id = 0;       ///< [MASK]
    std::int32_t n_special = 2;     ///< ids below are special: never masked, never a target; targets are id − n_special
};

/// Inputs and targets of one masked batch.
struct masked_batch {
    tensor<std::int32_t, 2> ids;      // with [MASK] where masked
    tensor<std::int32_t, 1> targets;  // [n_batch · seq_len], −1 where the loss does not count
    tensor<float, 1> weights;         // [n_batch · seq_len], or empty
    double denominator = 1.0;         // what the sum of weighted losses is divided by
    index_t n_masked = 0;
    index_t n_targets = 0;
};

/// Masks each non-special token with probability mask_ratio; always [MASK], no random tokens. Token i of the batch draws
/// rng.uniform(i). `into` keeps its memory when the shape is unchanged.
inline void mask_tokens(masked_batch& into, tensor_view<const std::int32_t, 2> ids, const mlm_options& options, philox rng) {
    const index_t n = ids.size();
    if (into.ids.extent(0) != ids.extent(0) || into.ids.extent(1) != ids.extent(1)) {
        into.ids = tensor<std::int32_t, 2>({ids.extent(0), ids.extent(1)});
        into.targets = tensor<std::int32_t, 1>({n});
        into.weights = tensor<float, 1>({options.loss == mlm_loss::weighted ? n : 0});
    }
    index_t n_masked = 0, n_plain = 0;
    for (index_t b = 0, i = 0; b < ids.extent(0); ++b) {
        for (index_t t = 0; t < ids.extent(1); ++t, ++i) {
            const std::int32_t id = ids(b, t);
            const bool special = id < options.n_special;
            const bool masked = !special && rng.uniform(static_cast<std::uint64_t>(i)) < options.mask_ratio;
            into.ids(b, t) = masked ? options.mask_id : id;
            const bool counts = !special && (masked || options.loss != mlm_loss::masked);
            into.targets(i) = counts ? id - options.n_special : -1;
            n_masked += masked;
            n_plain += !special && !masked;
        }
    }
    into.n_masked = n_masked;
    into.n_targets = options.loss == mlm_loss::masked ? n_masked : n_masked + n_plain;
    into.denominator = static_cast<double>(std::max<index_t>(into.n_targets, 1));
    if (options.loss == mlm_loss::weighted) {
        // The two means become one weighted sum with denominator 1.
        const float wm = options.masked_weight / static_cast<float>(std::max<index_t>(n_masked, 1));
        const float wp = (1.0f - options.masked_weight) / static_cast<float>(std::max<index_t>(n_plain, 1));
        for (index_t i = 0; i < n; ++i) into.weights(i) = into.ids.data()[i] == options.mask_id ? wm : wp;
        into.denominator = 1.0;
    }
}

/// Forward, backward and update of one model. Holds its gradients, activations and optimiser; the model must outlive it.
/// ids, masks, targets and labels that come as arguments are host memory, whatever the model's.
template <class T, class Memory = host_memory>
class bert_trainer {
public:
    explicit bert_trainer(nn::bert<T, Memory>& model, optim::adamw_config config = {})
        : model_(model), gradients_(model.make_gradients()), optimiser_(model.layout().size(), config) {}

    nn::bert<T, Memory>& model() noexcept { return model_; }
    tensor_view<T, 1> gradients() noexcept { return gradients_.view(); }
    optim::adamw<T, Memory>& optimiser() noexcept { return optimiser_; }
    std::size_t bytes() const noexcept {
        return activations_.bytes() + head_.committed_bytes() + ids_.bytes() + mask_.bytes() + targets_.bytes() + weights_.bytes() +
               4 * static_cast<std::size_t>(model_.layout().size()) * sizeof(T);
    }

    /// Masked tokens: the classifier sees dropout(hidden) of every token. Returns this batch's share of the loss.
    template <class Context>
    double accumulate_mlm(Context& ctx, const masked_batch& batch, tensor_view<const std::uint8_t, 2> mask, double denominator, philox rng) {
        auto hidden = model_.forward(ctx, activations_, ids_(ctx, batch.ids.view()), mask_(ctx, mask), {.training = true, .rng = rng});
        const index_t n_rows = hidden.extent(0) * hidden.extent(1), d = hidden.extent(2);
        auto x = hidden.template reshape<2>({n_rows, d});
        const ops::dropout_options drop{model_.config().dropout, rng.fork(1)};
        auto dropped = x.template reshape<1>({n_rows * d});
        // The hidden states are not needed below this point as they were: the last LayerNorm's backward reads its input.
        if (drop.p > 0) ops::dropout_forward<T>(ctx, dropped, dropped, drop);
        auto d_hidden = nn::bert<T, Memory>::d_hidden_buffer(activations_);
        auto dx = d_hidden.template reshape<2>({n_rows, d});
        head_memory([&](arena<Memory>& memory) { return memory.template take<accumulator_t<T>>({n_rows}); }, loss_);
        nn::linear_cross_entropy(ctx, model_.network().classifier(), values(), gradients_.view(), loss_, dx, x, targets_(ctx, batch.targets.view()),
                                 weights_(ctx, batch.weights.view()), {.denominator = denominator}, activations_.scratch());
        if (drop.p > 0) ops::dropout_backward<T>(ctx, flat(dx), flat(dx), drop);
        model_.backward(ctx, gradients_.view(), activations_, d_hidden);
        return sum(ctx, loss_);
    }

    /// Sequence classes: the classifier sees the pooled (then dropped) hidden states; targets < 0 do not count.
    template <class Context>
    double accumulate_classification(Context& ctx, tensor_view<const std::int32_t, 2> ids, tensor_view<const std::uint8_t, 2> mask,
                                     tensor_view<const std::int32_t, 1> targets, ops::pooling pooling, ops::cross_entropy_options options,
                                     philox rng, bool freeze_encoder = false) {
        auto hidden = model_.forward(ctx, activations_, ids_(ctx, ids), mask_(ctx, mask), {.training = true, .rng = rng});
        take_pooled(ids.extent(0));
        ops::sequence_pool_forward<T>(ctx, pooled_, hidden, activations_.mask, pooling);
        nn::linear_cross_entropy(ctx, model_.network().classifier(), values(), gradients_.view(), loss_, d_pooled_, pooled_, targets_(ctx, targets), {},
                                 options, activations_.scratch());
        if (!freeze_encoder) backward_pooled(ctx, pooling);
        return sum(ctx, loss_);
    }

    /// Supervised contrast (ops/sup_con.hpp) of the pooled, normalised hidden states under several label ranks at once.
    /// rank_labels[r]: [n_batch]; rank_weights[r] scales that rank's mean loss over anchors that have a positive.
    template <class Context>
    double accumulate_sup_con(Context& ctx, tensor_view<const std::int32_t, 2> ids, tensor_view<const std::uint8_t, 2> mask,
                              std::span<const tensor_view<const std::int32_t, 1>> rank_labels, std::span<const double> rank_weights,
                              ops::pooling pooling, double temperature, philox rng) {
        const index_t n = ids.extent(0);
        auto hidden = model_.forward(ctx, activations_, ids_(ctx, ids), mask_(ctx, mask), {.training = true, .rng = rng});
        take_pooled(n);
        ops::sequence_pool_forward<T>(ctx, pooled_, hidden, activations_.mask, pooling);
        ops::l2_normalize_forward<T>(ctx, unit_, inv_norm_, pooled_);
        ops::fill<T>(ctx, flat(d_pooled_), T(0));
        double total = 0.0;
        for (std::size_t r = 0; r < rank_labels.size(); ++r) {
            const double anchors = static_cast<double>(std::max<index_t>(anchors_with_positive(rank_labels[r]), 1));
            ops::sup_con<T>(ctx, loss_, d_pooled_, unit_, targets_(ctx, rank_labels[r]), {.temperature = temperature, .denominator = anchors / rank_weights[r]});
            total += sum(ctx, loss_);
        }
        ops::l2_normalize_backward<T>(ctx, d_pooled_, d_pooled_, unit_, inv_norm_);
        backward_pooled(ctx, pooling);
        return total;
    }

    /// One optimiser step over what was accumulated; the gradients are zero afterwards.
    template <class Context>
    void update(Context& ctx, optim::rates rates) {
        optimiser_.step(ctx, model_.parameters(), gradients_.view(), rates);
        ops::fill<T>(ctx, gradients_.view(), T(0));
    }

private:
    tensor_view<const T, 1> values() const { return std::as_const(model_).parameters(); }
    static tensor_view<T, 1> flat(const tensor_view<T, 2>& v) { return v.template reshape<1>({v.size()}); }
    template <class Context>
    double sum(Context& ctx, const tensor_view<accumulator_t<T>, 1>& loss) {
        const auto v = loss_here_(ctx, loss);
        double s = 0.0;
        for (index_t i = 0; i < v.extent(0); ++i) s += static_cast<double>(v(i));
        return s;
    }
    static index_t anchors_with_positive(tensor_view<const std::int32_t, 1> labels) {
        std::vector<std::int32_t> sorted(labels.data(), labels.data() + labels.extent(0));
        std::sort(sorted.begin(), sorted.end());
        index_t n = 0;
        for (std::size_t i = 0, j = 0; i < sorted.size(); i = j) {
            while (j < sorted.size() && sorted[j] == sorted[i]) ++j;
            if (sorted[i] >= 0 && j - i > 1) n += static_cast<index_t>(j - i);
        }
        return n;
    }

    template <class Take, class View>
    void head_memory(Take take, View& view) {
        head_.measure();
        take(head_);
        head_.commit();
        view = take(head_);
    }
    void take_pooled(index_t n) {
        const index_t d = model_.config().d_model;
        const auto take = [&] {
            pooled_ = head_.template take<T>({n, d});
            unit_ = head_.template take<T>({n, d});
            d_pooled_ = head_.template take<T>({n, d});
            inv_norm_ = head_.template take<accumulator_t<T>>({n});
            loss_ = head_.template take<accumulator_t<T>>({n});
        };
        head_.measure();
        take();
        head_.commit();
        take();
    }
    template <class Context>
    void backward_pooled(Context& ctx, ops::pooling pooling) {
        auto d_hidden = nn::bert<T, Memory>::d_hidden_buffer(activations_);
        ops::sequence_pool_backward<T>(ctx, d_hidden, d_pooled_, activations_.mask, pooling);
        model_.backward(ctx, gradients_.view(), activations_, d_hidden);
    }

    nn::bert<T, Memory>& model_;
    tensor<T, 1, Memory> gradients_;
    optim::adamw<T, Memory> optimiser_;
    nn::bert_activations<T, Memory> activations_;
    arena<Memory> head_;
    tensor_view<T, 2> pooled_, unit_, d_pooled_;
    tensor_view<accumulator_t<T>, 1> inv_norm_, loss_;
    device_input<std::int32_t, 2, Memory> ids_;
    device_input<std::uint8_t, 2, Memory> mask_;
    device_input<std::int32_t, 1, Memory> targets_;
    device_input<float, 1, Memory> weights_;
    host_output<accumulator_t<T>, 1, Memory> loss_here_;
};

}  // namespace instar::train

#endif
