// Instantiates ops/embedding.hpp for float, double and bf16 in instar::compiled.

#include "instar/ops/embedding.hpp"

namespace instar::ops {

#define INSTAR_INSTANTIATE(T)                                                                                  \
    template void embedding_forward<T>(cpu_context&, tensor_view<T, 3>, tensor_view<const std::int32_t, 2>,    \
                                       in_view<T, 2>, in_view<T, 2>, in_view<T, 1>);                           \
    template void embedding_backward<T>(cpu_context&, tensor_view<T, 2>, out_view<T, 2>, out_view<T, 1>,       \
                                        in_view<T, 3>, tensor_view<const std::int32_t, 2>, embedding_options)

INSTAR_INSTANTIATE(float);
INSTAR_INSTANTIATE(double);
INSTAR_INSTANTIATE(bf16);

#undef INSTAR_INSTANTIATE

}  // namespace instar::ops
