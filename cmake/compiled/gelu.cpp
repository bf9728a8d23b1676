// Instantiates ops/gelu.hpp for float and double in instar::compiled.

#include "instar/ops/gelu.hpp"

namespace instar::ops {

#define INSTAR_INSTANTIATE(T)                                                                      \
    template void gelu_forward<T>(cpu_context&, tensor_view<T, 1>, in_view<T, 1>);                 \
    template void gelu_backward<T>(cpu_context&, tensor_view<T, 1>, in_view<T, 1>, in_view<T, 1>)

INSTAR_INSTANTIATE(float);
INSTAR_INSTANTIATE(double);

#undef INSTAR_INSTANTIATE

}  // namespace instar::ops
