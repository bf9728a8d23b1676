#ifndef INSTAR_OPS_SUP_CON_HPP
#define INSTAR_OPS_SUP_CON_HPP

// Supervised contrastive loss over one or several label ranks, with its gradient.
//
//     ops::sup_con(ctx, loss, dz, z, labels, {.temperature = 0.1f});

#include "instar/core/tensor_view.hpp"

namespace instar {
class cpu_context;
class cuda_context;
}  // namespace instar

namespace instar::ops {

struct sup_con_options {
    double temperature = 0.1;
    double denominator = 1.0;   ///< what the sum over anchors is divided by, usually the number of anchors with a positive
};

/// Supervised contrastive loss, the "out" form (Khosla et al. 2020, arXiv:2004.11362, eq. 2):
///
///     s_ij = z_i · z_j / temperature;   loss_i = −1/|P(i)| Σ_{j ∈ P(i)} (s_ij − log Σ_{a ≠ i} exp s_ia)
///     P(i) = { j ≠ i : labels_j = labels_i },  loss_i = 0 when P(i) is empty or labels_i < 0
///
/// A row with a negative label is no anchor and nobody's positive, but stays in the denominators.
///
/// | argument | shape    | element                                    |
/// |----------|----------|--------------------------------------------|
/// | loss     | [n]      | float or double                            |
/// | dz       | [n, d]   | T, accumulated (so ranks can be summed)    |
/// | z        | [n, d]   | T, rows usually of unit length             |
/// | labels   | [n]      | int32                                      |
///
/// Same bits for any number of threads. Cost: 6·n²·d FLOP; a panel of n floats a row of z in flight.
template <class T>
void sup_con(cpu_context& ctx, out_view<accumulator_t<T>, 1> loss, tensor_view<T, 2> dz, in_view<T, 2> z,
             tensor_view<const std::int32_t, 1> labels, sup_con_options options);
template <class T>
void sup_con(cuda_context& ctx, out_view<accumulator_t<T>, 1> loss, tensor_view<T, 2> dz, in_view<T, 2> z,
             tensor_view<const std::int32_t, 1> labels, sup_con_options options);

}  // namespace instar::ops

#if !defined(INSTAR_COMPILED)
#if !defined(__CUDACC__)
#include "instar/ops/cpu/sup_con.hpp"
#endif
#if defined(__CUDACC__) || defined(INSTAR_CUDA_EMULATED)
#include "instar/ops/cuda/sup_con.cuh"
#endif
#endif

#endif
