// Instantiates ops/conv2d.hpp for float and double in instar::compiled.

#include "instar/ops/conv2d.hpp"

namespace instar::ops {

#define INSTAR_INSTANTIATE(T)                                                                                                       \
    template void conv2d_forward<T>(cpu_context&, tensor_view<T, 4>, in_view<T, 4>, in_view<T, 4>, in_view<T, 1>, const             \
        conv2d_shape&, tensor_view<T, 1>);                                                                                          \
    template void conv2d_backward<T>(cpu_context&, out_view<T, 4>, tensor_view<T, 4>, out_view<T, 1>, in_view<T, 4>, in_view<T, 4>, \
        in_view<T, 4>, const conv2d_shape&, tensor_view<T, 1>)

INSTAR_INSTANTIATE(float);
INSTAR_INSTANTIATE(double);

#undef INSTAR_INSTANTIATE

}  // namespace instar::ops
