// Instantiates ops/patch_embedding.hpp for float, double and bf16 in instar::compiled.

#include "instar/ops/patch_embedding.hpp"

namespace instar::ops {

#define INSTAR_INSTANTIATE(T)                                                                                                \
    template void extract_patches<T>(cpu_context&, tensor_view<T, 2>, in_view<T, 4>, index_t);                               \
    template void extract_patches_backward<T>(cpu_context&, tensor_view<T, 4>, in_view<T, 2>, index_t);                      \
    template void prepend_class_token<T>(cpu_context&, tensor_view<T, 3>, in_view<T, 2>, in_view<T, 1>, in_view<T, 2>);      \
    template void prepend_class_token_backward<T>(cpu_context&, tensor_view<T, 2>, tensor_view<T, 1>, tensor_view<T, 2>, in_view<T, 3>)

INSTAR_INSTANTIATE(float);
INSTAR_INSTANTIATE(double);
INSTAR_INSTANTIATE(bf16);

#undef INSTAR_INSTANTIATE

}  // namespace instar::ops
