// Instantiates ops/max_pool2d.hpp for float and double in instar::compiled.

#include "instar/ops/max_pool2d.hpp"

namespace instar::ops {

#define INSTAR_INSTANTIATE(T)                                                                                                \
    template void max_pool2d_forward<T>(cpu_context&, tensor_view<T, 4>, tensor_view<std::int32_t, 4>, in_view<T, 4>,        \
        max_pool2d_options);                                                                                                 \
    template void max_pool2d_backward<T>(cpu_context&, tensor_view<T, 4>, in_view<T, 4>, tensor_view<const std::int32_t, 4>, \
        max_pool2d_options)

INSTAR_INSTANTIATE(float);
INSTAR_INSTANTIATE(double);

#undef INSTAR_INSTANTIATE

}  // namespace instar::ops
