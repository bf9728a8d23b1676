// Instantiates ops/conv2d.hpp, ops/batch_norm.hpp, ops/max_pool2d.hpp and ops/relu.hpp for float and double in instar::compiled.

#include "instar/ops/batch_norm.hpp"
#include "instar/ops/conv2d.hpp"
#include "instar/ops/max_pool2d.hpp"
#include "instar/ops/relu.hpp"

namespace instar::ops {

#define INSTAR_INSTANTIATE(T)                                                                                                                        \
    template void conv2d_forward<T>(cpu_context&, tensor_view<T, 4>, in_view<T, 4>, in_view<T, 4>, in_view<T, 1>, const conv2d_shape&,               \
                                    tensor_view<T, 1>);                                                                                              \
    template void conv2d_backward<T>(cpu_context&, out_view<T, 4>, tensor_view<T, 4>, out_view<T, 1>, in_view<T, 4>, in_view<T, 4>, in_view<T, 4>,    \
                                     const conv2d_shape&, tensor_view<T, 1>);                                                                        \
    template void batch_norm_forward<T>(cpu_context&, tensor_view<T, 2>, std::type_identity_t<batch_norm_saved<T>>,                                   \
                                        std::type_identity_t<batch_norm_running<T>>, in_view<T, 2>, in_view<T, 1>, in_view<T, 1>, batch_norm_options); \
    template void batch_norm_inference<T>(cpu_context&, tensor_view<T, 2>, std::type_identity_t<batch_norm_running<T>>, in_view<T, 2>, in_view<T, 1>,  \
                                          in_view<T, 1>, batch_norm_options);                                                                        \
    template void batch_norm_backward<T>(cpu_context&, tensor_view<T, 2>, tensor_view<T, 1>, tensor_view<T, 1>, in_view<T, 2>,                        \
                                         std::type_identity_t<batch_norm_saved<T>>, in_view<T, 2>, in_view<T, 2>, in_view<T, 1>, batch_norm_options);  \
    template void max_pool2d_forward<T>(cpu_context&, tensor_view<T, 4>, tensor_view<std::int32_t, 4>, in_view<T, 4>, max_pool2d_options);            \
    template void max_pool2d_backward<T>(cpu_context&, tensor_view<T, 4>, in_view<T, 4>, tensor_view<const std::int32_t, 4>);                          \
    template void add_relu<T>(cpu_context&, tensor_view<T, 1>, in_view<T, 1>, in_view<T, 1>);                                                        \
    template void relu_backward<T>(cpu_context&, tensor_view<T, 1>, in_view<T, 1>, in_view<T, 1>)

INSTAR_INSTANTIATE(float);
INSTAR_INSTANTIATE(double);

#undef INSTAR_INSTANTIATE

}  // namespace instar::ops
