// Instantiates ops/adamw.hpp for float, double and bf16 in instar::compiled.

#include "instar/ops/adamw.hpp"

namespace instar::ops {

#define INSTAR_INSTANTIATE(T)                                                                      \
    template void adamw_update<T>(cpu_context&, tensor_view<T, 1>, out_view<T, 1>, out_view<T, 1>, \
                                  in_view<T, 1>, adamw_options);                                   \
    template double squared_norm<T>(cpu_context&, tensor_view<const T, 1>)

INSTAR_INSTANTIATE(float);
INSTAR_INSTANTIATE(double);
template void adamw_update<bf16>(cpu_context&, tensor_view<bf16, 1>, out_view<float, 1>, out_view<float, 1>, out_view<float, 1>,
                                 in_view<bf16, 1>, adamw_options);
template double squared_norm<bf16>(cpu_context&, tensor_view<const bf16, 1>);

#undef INSTAR_INSTANTIATE

}  // namespace instar::ops
