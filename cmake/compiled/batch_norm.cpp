// Instantiates ops/batch_norm.hpp for float and double in instar::compiled.

#include "instar/ops/batch_norm.hpp"

namespace instar::ops {

#define INSTAR_INSTANTIATE(T)                                                                                                      \
    template void batch_norm_forward<T>(cpu_context&, tensor_view<T, 2>, std::type_identity_t<batch_norm_saved<T>>,                \
        std::type_identity_t<batch_norm_running<T>>, in_view<T, 2>, in_view<T, 1>, in_view<T, 1>, batch_norm_options);             \
    template void batch_norm_inference<T>(cpu_context&, tensor_view<T, 2>, std::type_identity_t<batch_norm_running<T>>, in_view<T, \
        2>, in_view<T, 1>, in_view<T, 1>, batch_norm_options);                                                                     \
    template void batch_norm_backward<T>(cpu_context&, tensor_view<T, 2>, tensor_view<T, 1>, tensor_view<T, 1>, in_view<T, 2>,     \
        std::type_identity_t<batch_norm_saved<T>>, in_view<T, 2>, in_view<T, 2>, in_view<T, 1>, batch_norm_options)

INSTAR_INSTANTIATE(float);
INSTAR_INSTANTIATE(double);

#undef INSTAR_INSTANTIATE

}  // namespace instar::ops
