#ifndef INSTAR_NN_POSITION_PROJECTION_HPP
#define INSTAR_NN_POSITION_PROJECTION_HPP

// A sequence's embedding as a linear map of all its tokens, each at its own place:
//
//     y = W · vec(mask ⊙ (h − centre))
//
//     nn::position_projection<float> readout(std::move(centre), std::move(weight));   // [seq_len, d_model], [d_out, seq_len · d_model]
//     readout.forward(ctx, y, h, mask, flat);                                         // y [n, d_out]; flat [n, seq_len · d_model]
//     auto there = readout.copy_to(gpu);                                              // position_projection<float, device_memory>
//
// Where sequences are aligned (barcodes in one frame), position is information, and the mean over positions that pooling
// takes throws it away: the same word at two places counts as equal. Examples/dna_barcode fits W in closed form.

#include <utility>

#include "instar/core/tensor.hpp"
#include "instar/core/transfer.hpp"
#include "instar/ops/centre_tokens.hpp"
#include "instar/ops/linear.hpp"

namespace instar::nn {

/// See the file's head. T: float or double; on a device float. Memory: where centre and weight lie, that of the context which computes.
/// `centre` is a statistic of the training data, not a parameter.
///
/// | argument             | shape                     | note                                               |
/// |----------------------|---------------------------|----------------------------------------------------|
/// | h, dh                | [n, seq_len, d_model]     | dh overwritten, zero where masked                  |
/// | mask                 | [n, seq_len]              | 0: the token counts as the centre                  |
/// | y, dy                | [n, d_out]                |                                                    |
/// | flat                 | [n, seq_len · d_model]    | forward writes it, backward reads it               |
/// | d_weight             | [d_out, seq_len · d_model] | accumulates                                       |
///
/// Same bits for any number of threads. Cost: 2·n·seq_len·d_model·d_out FLOP forward, twice that backward.
/// Throws shape_error when a shape disagrees, before anything is written.
template <class T, class Memory = host_memory>
class position_projection {
public:
    position_projection() = default;
    position_projection(tensor<T, 2, Memory> centre, tensor<T, 2, Memory> weight) : centre_(std::move(centre)), weight_(std::move(weight)) {
        instar::detail::check_shape("position_projection", "weight", weight_.view(), {weight_.extent(0), centre_.extent(0) * centre_.extent(1)});
    }

    bool empty() const noexcept { return weight_.empty(); }
    index_t seq_len() const { return centre_.extent(0); }
    index_t d_model() const { return centre_.extent(1); }
    index_t d_out() const { return weight_.extent(0); }
    const tensor<T, 2, Memory>& centre() const noexcept { return centre_; }
    const tensor<T, 2, Memory>& weight() const noexcept { return weight_; }
    tensor<T, 2, Memory>& weight() noexcept { return weight_; }

    /// A copy where ctx computes.
    template <class Context>
    position_projection<T, typename Context::memory> copy_to(Context& ctx) const {
        using there = typename Context::memory;
        if (empty()) return {};
        const auto copy = [&](const tensor<T, 2, Memory>& from) {
            tensor<T, 2, there> to({from.extent(0), from.extent(1)});
            transfer<there, Memory>(ctx, to.view().template reshape<1>({to.size()}), from.view().template reshape<1>({from.size()}));
            return to;
        };
        return {copy(centre_), copy(weight_)};
    }

    template <class Context>
    void forward(Context& ctx, out_view<T, 2> y, in_view<T, 3> h, tensor_view<const std::uint8_t, 2> mask, tensor_view<T, 2> flat) const {
        instar::detail::check_shape("position_projection.forward", "y", y, {h.extent(0), d_out()});
        centred(ctx, centre_.view(), flat, h, mask);
        ops::linear_forward<T>(ctx, y, flat, weight_.view(), {});
    }

    /// `flat` as forward left it. dh may be empty: then only d_weight is computed.
    template <class Context>
    void backward(Context& ctx, tensor_view<T, 2> d_weight, tensor_view<T, 3> dh, in_view<T, 2> dy, tensor_view<T, 2> flat,
                  tensor_view<const std::uint8_t, 2> mask) const {
        const index_t n = dy.extent(0), width = seq_len() * d_model();
        instar::detail::check_shape("position_projection.backward", "dy", dy, {n, d_out()});
        instar::detail::check_shape("position_projection.backward", "flat", flat, {n, width});
        instar::detail::check_shape("position_projection.backward", "d_weight", d_weight, {d_out(), width});
        instar::detail::check_shape("position_projection.backward", "mask", mask, {n, seq_len()});
        if (dh.empty()) {
            ops::linear_backward<T>(ctx, {}, d_weight, {}, dy, flat, weight_.view());
            return;
        }
        instar::detail::check_shape("position_projection.backward", "dh", dh, {n, seq_len(), d_model()});
        instar::detail::check_contiguous("position_projection.backward", "dh", dh);
        ops::linear_backward<T>(ctx, dh.template reshape<2>({n, width}), d_weight, {}, dy, flat, weight_.view());
        ops::centre_tokens_backward<T>(ctx, dh, dh, mask);
    }

    /// flat = vec(mask ⊙ (h − centre)); for fitting. flat may be h's own memory.
    template <class Context>
    static void centred(Context& ctx, in_view<T, 2> centre, tensor_view<T, 2> flat, in_view<T, 3> h, tensor_view<const std::uint8_t, 2> mask) {
        const index_t n = h.extent(0), seq_len = centre.extent(0), d = centre.extent(1);
        instar::detail::check_shape("position_projection", "h", h, {n, seq_len, d});
        instar::detail::check_shape("position_projection", "mask", mask, {n, seq_len});
        instar::detail::check_shape("position_projection", "flat", flat, {n, seq_len * d});
        instar::detail::check_unit_stride("position_projection", "flat", flat);
        ops::centre_tokens_forward<T>(ctx, tensor_view<T, 3>(flat.data(), {n, seq_len, d}, {flat.stride(0), d, 1}), h, centre, mask);
    }

private:
    tensor<T, 2, Memory> centre_, weight_;
};

}  // namespace instar::nn

#endif
