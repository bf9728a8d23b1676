// Instantiates ops/pooling.hpp for float, double and bf16 in instar::compiled.

#include "instar/ops/pooling.hpp"

namespace instar::ops {

#define INSTAR_INSTANTIATE(T)                                                               \
    template void sequence_pool_forward<T>(cpu_context&, tensor_view<T, 2>, in_view<T, 3>,  \
                                           tensor_view<const std::uint8_t, 2>, pooling);    \
    template void sequence_pool_backward<T>(cpu_context&, tensor_view<T, 3>, in_view<T, 2>, \
                                            tensor_view<const std::uint8_t, 2>, pooling)

INSTAR_INSTANTIATE(float);
INSTAR_INSTANTIATE(double);
INSTAR_INSTANTIATE(bf16);

#undef INSTAR_INSTANTIATE

}  // namespace instar::ops
