// Instantiates ops/sgd.hpp for float and double in instar::compiled.

#include "instar/ops/sgd.hpp"

namespace instar::ops {

#define INSTAR_INSTANTIATE(T)                                                                                \
    template void sgd_update<T>(cpu_context&, tensor_view<T, 1>, out_view<T, 1>, in_view<T, 1>, sgd_options)

INSTAR_INSTANTIATE(float);
INSTAR_INSTANTIATE(double);

#undef INSTAR_INSTANTIATE

}  // namespace instar::ops
