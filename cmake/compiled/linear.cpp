// Instantiates ops/linear.hpp for float, double and bf16 in instar::compiled.

#include "instar/ops/linear.hpp"

namespace instar::ops {

#define INSTAR_INSTANTIATE(T)                                                                            \
    template void linear_forward<T>(cpu_context&, tensor_view<T, 2>, in_view<T, 2>, in_view<T, 2>,       \
                                    in_view<T, 1>);                                                      \
    template void linear_gelu_forward<T>(cpu_context&, tensor_view<T, 2>, out_view<T, 2>, in_view<T, 2>, \
                                         in_view<T, 2>, in_view<T, 1>);                                  \
    template void linear_backward<T>(cpu_context&, tensor_view<T, 2>, out_view<T, 2>, out_view<T, 1>,    \
                                     in_view<T, 2>, in_view<T, 2>, in_view<T, 2>)

INSTAR_INSTANTIATE(float);
INSTAR_INSTANTIATE(double);
INSTAR_INSTANTIATE(bf16);

#undef INSTAR_INSTANTIATE

}  // namespace instar::ops
