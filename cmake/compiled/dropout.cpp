// Instantiates ops/dropout.hpp for float, double and bf16 in instar::compiled.

#include "instar/ops/dropout.hpp"

namespace instar::ops {

#define INSTAR_INSTANTIATE(T)                                                                                \
    template void dropout_forward<T>(cpu_context&, tensor_view<T, 1>, in_view<T, 1>, dropout_options);       \
    template void residual_dropout_forward<T>(cpu_context&, tensor_view<T, 1>, in_view<T, 1>, in_view<T, 1>, \
                                              dropout_options);                                              \
    template void dropout_backward<T>(cpu_context&, tensor_view<T, 1>, in_view<T, 1>, dropout_options)

INSTAR_INSTANTIATE(float);
INSTAR_INSTANTIATE(double);
INSTAR_INSTANTIATE(bf16);

#undef INSTAR_INSTANTIATE

}  // namespace instar::ops
