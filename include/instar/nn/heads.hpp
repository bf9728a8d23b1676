#ifndef INSTAR_NN_HEADS_HPP
#define INSTAR_NN_HEADS_HPP

// A linear classifier and its softmax cross-entropy as one step that never holds all logits.
//
//     linear_cross_entropy(ctx, head, values, gradients, loss, dx, x, targets, weights, options, scratch);
//
// With 4⁸ = 65,536 classes and 2,624 tokens the logits would take 688 MB; in three ranges of 875 rows they take 229.

#include "instar/nn/linear.hpp"
#include "instar/ops/cross_entropy.hpp"

namespace instar::nn {

/// Rows of logits held at once: about 16 MB, or 896 rows where that is more; all ranges of about equal size. Each range of rows travels
/// through all weights twice and through their gradients once: with fewer rows memory sets the pace (65,536 classes × 768 are 200 MB).
inline index_t logits_rows(index_t n_rows, index_t n_classes) {
    const index_t budget = (index_t{1} << 22) / std::max<index_t>(n_classes, 1), most = std::max<index_t>(budget / 16 * 16, 896);
    const index_t n_ranges = std::max<index_t>((n_rows + most - 1) / most, 1);
    return (n_rows + n_ranges - 1) / n_ranges;
}

/// loss and gradients of softmax_cross_entropy(x · weightᵀ + bias, targets); see ops/cross_entropy.hpp for the formula.
///
/// | argument          | shape                      | note                                             |
/// |-------------------|----------------------------|--------------------------------------------------|
/// | gradients         | flat, or empty             | accumulate; empty: the loss alone                |
/// | loss              | [n_rows]                   | each row's share, 0 for targets < 0              |
/// | dx                | [n_rows, d_in] or empty    | overwritten; empty: not computed                 |
/// | x                 | [n_rows, d_in]             |                                                  |
/// | targets, weights  | [n_rows]                   | weights may be empty                             |
///
/// Takes logits_rows(...) · n_classes elements from scratch and gives them back. Cost: 6·n_rows·d_in·n_classes FLOP.
template <class Context, class T, class Memory>
void linear_cross_entropy(Context& ctx, const linear& head, tensor_view<const T, 1> values, out_view<T, 1> gradients,
                          out_view<accumulator_t<T>, 1> loss, out_view<T, 2> dx, in_view<T, 2> x, tensor_view<const std::int32_t, 1> targets,
                          tensor_view<const float, 1> weights, ops::cross_entropy_options options, arena<Memory>& scratch) {
    const index_t n_rows = x.extent(0);
    const index_t n_classes = head.d_out();
    const index_t chunk = logits_rows(n_rows, n_classes);
    const std::size_t mark = scratch.mark();
    auto logits_memory = scratch.template take<T>({chunk, n_classes});
    if (!scratch.measuring()) {
        for (index_t begin = 0; begin < n_rows; begin += chunk) {
            const index_t end = std::min(n_rows, begin + chunk);
            auto logits = logits_memory.rows(0, end - begin);
            auto x_rows = x.rows(begin, end);
            head.forward(ctx, values, logits, x_rows);
            const bool backward = gradients.data() != nullptr;
            ops::softmax_cross_entropy<T>(ctx, loss.rows(begin, end), backward ? logits : tensor_view<T, 2>{}, logits, targets.rows(begin, end),
                                          weights.data() ? weights.rows(begin, end) : weights, options);
            if (backward) {
                head.backward(ctx, values, gradients, dx.data() ? dx.rows(begin, end) : dx, logits, x_rows);
            }
        }
    }
    scratch.rewind(mark);
}

}  // namespace instar::nn

#endif
