// Instantiates ops/elementwise.hpp for float, double and bf16 in instar::compiled.

#include "instar/ops/elementwise.hpp"

namespace instar::ops {

#define INSTAR_INSTANTIATE(T)                                                            \
    template void fill<T>(cpu_context&, tensor_view<T, 1>, std::type_identity_t<T>);     \
    template void copy<T>(cpu_context&, tensor_view<T, 1>, in_view<T, 1>);               \
    template void add<T>(cpu_context&, tensor_view<T, 1>, in_view<T, 1>, in_view<T, 1>); \
    template void scale<T>(cpu_context&, tensor_view<T, 1>, accumulator_t<T>)

INSTAR_INSTANTIATE(float);
INSTAR_INSTANTIATE(double);
INSTAR_INSTANTIATE(bf16);

#undef INSTAR_INSTANTIATE

}  // namespace instar::ops
