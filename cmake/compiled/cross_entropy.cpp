// Instantiates ops/cross_entropy.hpp for float, double and bf16 in instar::compiled.

#include "instar/ops/cross_entropy.hpp"

namespace instar::ops {

#define INSTAR_INSTANTIATE(T)                                                                              \
    template void softmax_cross_entropy<T>(cpu_context&, out_view<accumulator_t<T>, 1>, tensor_view<T, 2>, \
                                           in_view<T, 2>, tensor_view<const std::int32_t, 1>,              \
                                           tensor_view<const float, 1>, cross_entropy_options)

INSTAR_INSTANTIATE(float);
INSTAR_INSTANTIATE(double);
INSTAR_INSTANTIATE(bf16);

#undef INSTAR_INSTANTIATE

}  // namespace instar::ops
