// Instantiates ops/centre_tokens.hpp for float and double in instar::compiled.

#include "instar/ops/centre_tokens.hpp"

namespace instar::ops {

#define INSTAR_INSTANTIATE(T)                                                                             \
    template void centre_tokens_forward<T>(cpu_context&, tensor_view<T, 3>, in_view<T, 3>, in_view<T, 2>, \
                                           tensor_view<const std::uint8_t, 2>);                           \
    template void centre_tokens_backward<T>(cpu_context&, tensor_view<T, 3>, in_view<T, 3>,               \
                                            tensor_view<const std::uint8_t, 2>)

INSTAR_INSTANTIATE(float);
INSTAR_INSTANTIATE(double);

#undef INSTAR_INSTANTIATE

}  // namespace instar::ops
