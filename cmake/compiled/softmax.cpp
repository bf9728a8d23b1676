// Instantiates ops/softmax.hpp for float, double and bf16 in instar::compiled.

#include "instar/ops/softmax.hpp"

namespace instar::ops {

#define INSTAR_INSTANTIATE(T)                                                                         \
    template void softmax_forward<T>(cpu_context&, tensor_view<T, 2>, in_view<T, 2>);                 \
    template void softmax_backward<T>(cpu_context&, tensor_view<T, 2>, in_view<T, 2>, in_view<T, 2>)

INSTAR_INSTANTIATE(float);
INSTAR_INSTANTIATE(double);
INSTAR_INSTANTIATE(bf16);

#undef INSTAR_INSTANTIATE

}  // namespace instar::ops
