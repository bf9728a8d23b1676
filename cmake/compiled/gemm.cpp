// Instantiates ops/gemm.hpp for float, double and bf16 in instar::compiled.

#include "instar/ops/gemm.hpp"

namespace instar::ops {

#define INSTAR_INSTANTIATE(T)                                                                           \
    template void gemm<T>(cpu_context&, tensor_view<T, 2>, in_view<T, 2>, in_view<T, 2>, gemm_options)

INSTAR_INSTANTIATE(float);
INSTAR_INSTANTIATE(double);
INSTAR_INSTANTIATE(bf16);

#undef INSTAR_INSTANTIATE

}  // namespace instar::ops
