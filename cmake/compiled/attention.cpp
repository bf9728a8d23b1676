// Instantiates ops/attention.hpp for float, double and bf16 in instar::compiled.

#include "instar/ops/attention.hpp"

namespace instar::ops {

#define INSTAR_INSTANTIATE(T)                                                                                   \
    template void attention_forward<T>(cpu_context&, tensor_view<T, 4>,                                         \
                                       std::type_identity_t<attention_saved<T>>, in_view<T, 4>, in_view<T, 4>,  \
                                       in_view<T, 4>, tensor_view<const std::uint8_t, 2>, attention_options);   \
    template void attention_backward<T>(cpu_context&, tensor_view<T, 4>, out_view<T, 4>, out_view<T, 4>,        \
                                        in_view<T, 4>, in_view<T, 4>, std::type_identity_t<attention_saved<T>>, \
                                        in_view<T, 4>, in_view<T, 4>, in_view<T, 4>,                            \
                                        tensor_view<const std::uint8_t, 2>, attention_options)

INSTAR_INSTANTIATE(float);
INSTAR_INSTANTIATE(double);
INSTAR_INSTANTIATE(bf16);

#undef INSTAR_INSTANTIATE

}  // namespace instar::ops
