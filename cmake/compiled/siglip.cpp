// Instantiates ops/siglip.hpp for float and double in instar::compiled.

#include "instar/ops/siglip.hpp"

namespace instar::ops {

#define INSTAR_INSTANTIATE(T)                                                                            \
    template void siglip<T>(cpu_context&, out_view<accumulator_t<T>, 1>, out_view<T, 2>, out_view<T, 2>, \
                            out_view<accumulator_t<T>, 1>, out_view<accumulator_t<T>, 1>, in_view<T, 2>, \
                            in_view<T, 2>, in_view<accumulator_t<T>, 1>, in_view<accumulator_t<T>, 1>,   \
                            info_nce_targets, siglip_options)

INSTAR_INSTANTIATE(float);
INSTAR_INSTANTIATE(double);

#undef INSTAR_INSTANTIATE

}  // namespace instar::ops
