// Instantiates ops/channels_last.hpp for float and double in instar::compiled.

#include "instar/ops/channels_last.hpp"

namespace instar::ops {

#define INSTAR_INSTANTIATE(T)                                                      \
    template void channels_last<T>(cpu_context&, tensor_view<T, 4>, in_view<T, 4>)

INSTAR_INSTANTIATE(float);
INSTAR_INSTANTIATE(double);

#undef INSTAR_INSTANTIATE

}  // namespace instar::ops
