// Instantiates ops/relu.hpp for float and double in instar::compiled.

#include "instar/ops/relu.hpp"

namespace instar::ops {

#define INSTAR_INSTANTIATE(T)                                                                     \
    template void add_relu<T>(cpu_context&, tensor_view<T, 1>, in_view<T, 1>, in_view<T, 1>);     \
    template void relu_backward<T>(cpu_context&, tensor_view<T, 1>, in_view<T, 1>, in_view<T, 1>)

INSTAR_INSTANTIATE(float);
INSTAR_INSTANTIATE(double);

#undef INSTAR_INSTANTIATE

}  // namespace instar::ops
