// Instantiates ops/l2_normalize.hpp for float, double and bf16 in instar::compiled.

#include "instar/ops/l2_normalize.hpp"

namespace instar::ops {

#define INSTAR_INSTANTIATE(T)                                                                             \
    template void l2_normalize_forward<T>(cpu_context&, tensor_view<T, 2>, out_view<accumulator_t<T>, 1>, \
                                          in_view<T, 2>, double);                                         \
    template void l2_normalize_backward<T>(cpu_context&, tensor_view<T, 2>, in_view<T, 2>, in_view<T, 2>, \
                                           in_view<accumulator_t<T>, 1>)

INSTAR_INSTANTIATE(float);
INSTAR_INSTANTIATE(double);
INSTAR_INSTANTIATE(bf16);

#undef INSTAR_INSTANTIATE

}  // namespace instar::ops
