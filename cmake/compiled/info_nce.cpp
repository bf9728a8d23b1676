// Instantiates ops/info_nce.hpp for float and double in instar::compiled.

#include "instar/ops/info_nce.hpp"

namespace instar::ops {

#define INSTAR_INSTANTIATE(T)                                                                                          \
    template void info_nce_forward<T>(cpu_context&, std::type_identity_t<info_nce_saved<accumulator_t<T>>>,            \
                                      in_view<T, 2>, in_view<T, 2>, in_view<accumulator_t<T>, 1>, info_nce_targets);   \
    template void info_nce_merge<T>(cpu_context&, std::type_identity_t<info_nce_side<accumulator_t<T>>>,               \
                                    std::type_identity_t<info_nce_side<accumulator_t<T>>>);                            \
    template void info_nce_loss<T>(cpu_context&, out_view<accumulator_t<T>, 1>, out_view<accumulator_t<T>, 1>,         \
                                   std::type_identity_t<info_nce_saved<accumulator_t<T>>>, info_nce_options);          \
    template void info_nce_backward<T>(cpu_context&, tensor_view<T, 2>, out_view<T, 2>, out_view<accumulator_t<T>, 1>, \
                                       std::type_identity_t<info_nce_saved<accumulator_t<T>>>, in_view<T, 2>,          \
                                       in_view<T, 2>, in_view<accumulator_t<T>, 1>, info_nce_targets,                  \
                                       info_nce_options);                                                              \
    template void info_nce<T>(cpu_context&, out_view<accumulator_t<T>, 1>, out_view<accumulator_t<T>, 1>,              \
                              tensor_view<T, 2>, out_view<T, 2>, out_view<accumulator_t<T>, 1>,                        \
                              std::type_identity_t<info_nce_saved<accumulator_t<T>>>, in_view<T, 2>, in_view<T, 2>,    \
                              in_view<accumulator_t<T>, 1>, info_nce_targets, info_nce_options)

INSTAR_INSTANTIATE(float);
INSTAR_INSTANTIATE(double);

#undef INSTAR_INSTANTIATE

}  // namespace instar::ops
