// Instantiates ops/focal_loss.hpp for float and double in instar::compiled.

#include "instar/ops/focal_loss.hpp"

namespace instar::ops {

#define INSTAR_INSTANTIATE(T)                                                                                                           \
    template void focal_loss<T>(cpu_context&, out_view<accumulator_t<T>, 1>, tensor_view<T, 2>, in_view<T, 2>,                         \
                                tensor_view<const std::int32_t, 1>, tensor_view<const float, 1>, focal_loss_options)

INSTAR_INSTANTIATE(float);
INSTAR_INSTANTIATE(double);

#undef INSTAR_INSTANTIATE

}  // namespace instar::ops
