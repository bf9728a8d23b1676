// Instantiates ops/adamw.hpp for float and double in instar::compiled.

#include "instar/ops/adamw.hpp"

namespace instar::ops {

#define INSTAR_INSTANTIATE(T)                                                                      \
    template void adamw_update<T>(cpu_context&, tensor_view<T, 1>, out_view<T, 1>, out_view<T, 1>, \
                                  in_view<T, 1>, adamw_options);                                   \
    template double squared_norm<T>(cpu_context&, tensor_view<const T, 1>)

INSTAR_INSTANTIATE(float);
INSTAR_INSTANTIATE(double);

#undef INSTAR_INSTANTIATE

}  // namespace instar::ops
