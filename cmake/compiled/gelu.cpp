// Instantiates ops/gelu.hpp for float, double and bf16 in instar::compiled.

#include "instar/ops/gelu.hpp"

namespace instar::ops {

#define INSTAR_INSTANTIATE(T)                                                                      \
    template void gelu_forward<T>(cpu_context&, tensor_view<T, 1>, in_view<T, 1>);                 \
    template void gelu_backward<T>(cpu_context&, tensor_view<T, 1>, in_view<T, 1>, in_view<T, 1>)

INSTAR_INSTANTIATE(float);
INSTAR_INSTANTIATE(double);
INSTAR_INSTANTIATE(bf16);

#undef INSTAR_INSTANTIATE

}  // namespace instar::ops
