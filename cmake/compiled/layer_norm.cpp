// Instantiates ops/layer_norm.hpp for float, double and bf16 in instar::compiled.

#include "instar/ops/layer_norm.hpp"

namespace instar::ops {

#define INSTAR_INSTANTIATE(T)                                                                             \
    template void layer_norm_forward<T>(cpu_context&, tensor_view<T, 2>,                                  \
                                        std::type_identity_t<layer_norm_saved<T>>, in_view<T, 2>,         \
                                        in_view<T, 1>, in_view<T, 1>, double);                            \
    template void layer_norm_backward<T>(cpu_context&, tensor_view<T, 2>, out_view<T, 1>, out_view<T, 1>, \
                                         in_view<T, 2>, std::type_identity_t<layer_norm_saved<T>>,        \
                                         in_view<T, 2>, in_view<T, 1>)

INSTAR_INSTANTIATE(float);
INSTAR_INSTANTIATE(double);
INSTAR_INSTANTIATE(bf16);

#undef INSTAR_INSTANTIATE

}  // namespace instar::ops
