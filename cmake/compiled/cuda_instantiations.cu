// Instantiates the operators of cuda_context for float and bf16 in instar::compiled: a plain .cpp that links it launches
// kernels without nvcc.

#include "instar/ops/adamw.hpp"
#include "instar/ops/attention.hpp"
#include "instar/ops/batch_norm.hpp"
#include "instar/ops/centre_tokens.hpp"
#include "instar/ops/channels_last.hpp"
#include "instar/ops/conv2d.hpp"
#include "instar/ops/cross_entropy.hpp"
#include "instar/ops/dropout.hpp"
#include "instar/ops/elementwise.hpp"
#include "instar/ops/embedding.hpp"
#include "instar/ops/focal_loss.hpp"
#include "instar/ops/gelu.hpp"
#include "instar/ops/gemm.hpp"
#include "instar/ops/info_nce.hpp"
#include "instar/ops/l2_normalize.hpp"
#include "instar/ops/layer_norm.hpp"
#include "instar/ops/linear.hpp"
#include "instar/ops/max_pool2d.hpp"
#include "instar/ops/patch_embedding.hpp"
#include "instar/ops/pooling.hpp"
#include "instar/ops/relu.hpp"
#include "instar/ops/sgd.hpp"
#include "instar/ops/siglip.hpp"
#include "instar/ops/softmax.hpp"
#include "instar/ops/sup_con.hpp"

namespace instar::ops {

template void adamw_update<float>(cuda_context&, tensor_view<float, 1>, out_view<float, 1>, out_view<float, 1>, in_view<float, 1>, adamw_options);
template void adamw_update<bf16>(cuda_context&, tensor_view<bf16, 1>, out_view<float, 1>, out_view<float, 1>, out_view<float, 1>, in_view<bf16, 1>, adamw_options);
template void sgd_update<bf16>(cuda_context&, tensor_view<bf16, 1>, out_view<float, 1>, out_view<float, 1>, in_view<bf16, 1>, sgd_options);

#define INSTAR_INSTANTIATE(T)                                                                                                     \
    template double squared_norm<T>(cuda_context&, tensor_view<const T, 1>);                                                      \
    template void attention_forward<T>(cuda_context&, tensor_view<T, 4>, std::type_identity_t<attention_saved<T>>, in_view<T, 4>, \
                                       in_view<T, 4>, in_view<T, 4>, tensor_view<const std::uint8_t, 2>, attention_options);      \
    template void attention_backward<T>(cuda_context&, tensor_view<T, 4>, out_view<T, 4>, out_view<T, 4>, in_view<T, 4>,          \
                                        in_view<T, 4>, std::type_identity_t<attention_saved<T>>, in_view<T, 4>, in_view<T, 4>,    \
                                        in_view<T, 4>, tensor_view<const std::uint8_t, 2>, attention_options);                    \
    template void batch_norm_forward<T>(cuda_context&, tensor_view<T, 2>, std::type_identity_t<batch_norm_saved<T>>,              \
                                        std::type_identity_t<batch_norm_running<T>>, in_view<T, 2>, in_view<T, 1>, in_view<T, 1>, \
                                        batch_norm_options);                                                                      \
    template void batch_norm_inference<T>(cuda_context&, tensor_view<T, 2>, std::type_identity_t<batch_norm_running<T>>,          \
                                          in_view<T, 2>, in_view<T, 1>, in_view<T, 1>, batch_norm_options);                       \
    template void batch_norm_backward<T>(cuda_context&, tensor_view<T, 2>, tensor_view<T, 1>, tensor_view<T, 1>, in_view<T, 2>,   \
                                         std::type_identity_t<batch_norm_saved<T>>, in_view<T, 2>, in_view<T, 2>, in_view<T, 1>,  \
                                         batch_norm_options);                                                                     \
    template void centre_tokens_forward<T>(cuda_context&, tensor_view<T, 3>, in_view<T, 3>, in_view<T, 2>,                        \
                                           tensor_view<const std::uint8_t, 2>);                                                   \
    template void centre_tokens_backward<T>(cuda_context&, tensor_view<T, 3>, in_view<T, 3>, tensor_view<const std::uint8_t, 2>); \
    template void channels_last<T>(cuda_context&, tensor_view<T, 4>, in_view<T, 4>);                                              \
    template void conv2d_forward<T>(cuda_context&, tensor_view<T, 4>, in_view<T, 4>, in_view<T, 4>, in_view<T, 1>,                \
                                    const conv2d_shape&, tensor_view<T, 1>);                                                      \
    template void conv2d_backward<T>(cuda_context&, out_view<T, 4>, tensor_view<T, 4>, out_view<T, 1>, in_view<T, 4>,             \
                                     in_view<T, 4>, in_view<T, 4>, const conv2d_shape&, tensor_view<T, 1>);                       \
    template void softmax_cross_entropy<T>(cuda_context&, out_view<accumulator_t<T>, 1>, tensor_view<T, 2>, in_view<T, 2>,        \
                                           tensor_view<const std::int32_t, 1>, tensor_view<const float, 1>, cross_entropy_options); \
    template void focal_loss<T>(cuda_context&, out_view<accumulator_t<T>, 1>, tensor_view<T, 2>, in_view<T, 2>,                   \
                                tensor_view<const std::int32_t, 1>, tensor_view<const float, 1>, focal_loss_options);             \
    template void dropout_forward<T>(cuda_context&, tensor_view<T, 1>, in_view<T, 1>, dropout_options);                           \
    template void residual_dropout_forward<T>(cuda_context&, tensor_view<T, 1>, in_view<T, 1>, in_view<T, 1>, dropout_options);   \
    template void dropout_backward<T>(cuda_context&, tensor_view<T, 1>, in_view<T, 1>, dropout_options);                          \
    template void fill<T>(cuda_context&, tensor_view<T, 1>, std::type_identity_t<T>);                                             \
    template void copy<T>(cuda_context&, tensor_view<T, 1>, in_view<T, 1>);                                                       \
    template void add<T>(cuda_context&, tensor_view<T, 1>, in_view<T, 1>, in_view<T, 1>);                                         \
    template void scale<T>(cuda_context&, tensor_view<T, 1>, accumulator_t<T>);                                                   \
    template void embedding_forward<T>(cuda_context&, tensor_view<T, 3>, tensor_view<const std::int32_t, 2>, in_view<T, 2>,       \
                                       in_view<T, 2>, in_view<T, 1>);                                                             \
    template void embedding_backward<T>(cuda_context&, tensor_view<T, 2>, out_view<T, 2>, out_view<T, 1>, in_view<T, 3>,          \
                                        tensor_view<const std::int32_t, 2>, embedding_options);                                   \
    template void gelu_forward<T>(cuda_context&, tensor_view<T, 1>, in_view<T, 1>);                                               \
    template void gelu_backward<T>(cuda_context&, tensor_view<T, 1>, in_view<T, 1>, in_view<T, 1>);                               \
    template void gemm<T>(cuda_context&, tensor_view<T, 2>, in_view<T, 2>, in_view<T, 2>, gemm_options);                          \
    template void l2_normalize_forward<T>(cuda_context&, tensor_view<T, 2>, out_view<accumulator_t<T>, 1>, in_view<T, 2>, double); \
    template void l2_normalize_backward<T>(cuda_context&, tensor_view<T, 2>, in_view<T, 2>, in_view<T, 2>,                        \
                                           in_view<accumulator_t<T>, 1>);                                                         \
    template void info_nce_forward<T>(cuda_context&, std::type_identity_t<info_nce_saved<accumulator_t<T>>>, in_view<T, 2>,       \
                                      in_view<T, 2>, in_view<accumulator_t<T>, 1>, info_nce_targets);                             \
    template void info_nce_merge<T>(cuda_context&, std::type_identity_t<info_nce_side<accumulator_t<T>>>,                         \
                                    std::type_identity_t<info_nce_side<accumulator_t<T>>>);                                       \
    template void info_nce_loss<T>(cuda_context&, out_view<accumulator_t<T>, 1>, out_view<accumulator_t<T>, 1>,                   \
                                   std::type_identity_t<info_nce_saved<accumulator_t<T>>>, info_nce_options);                     \
    template void info_nce_backward<T>(cuda_context&, tensor_view<T, 2>, out_view<T, 2>, out_view<accumulator_t<T>, 1>,           \
                                       std::type_identity_t<info_nce_saved<accumulator_t<T>>>, in_view<T, 2>, in_view<T, 2>,      \
                                       in_view<accumulator_t<T>, 1>, info_nce_targets, info_nce_options);                         \
    template void info_nce<T>(cuda_context&, out_view<accumulator_t<T>, 1>, out_view<accumulator_t<T>, 1>, tensor_view<T, 2>,     \
                              out_view<T, 2>, out_view<accumulator_t<T>, 1>,                                                      \
                              std::type_identity_t<info_nce_saved<accumulator_t<T>>>, in_view<T, 2>, in_view<T, 2>,               \
                              in_view<accumulator_t<T>, 1>, info_nce_targets, info_nce_options);                                  \
    template void siglip<T>(cuda_context&, out_view<accumulator_t<T>, 1>, out_view<T, 2>, out_view<T, 2>,                         \
                            out_view<accumulator_t<T>, 1>, out_view<accumulator_t<T>, 1>, in_view<T, 2>, in_view<T, 2>,           \
                            in_view<accumulator_t<T>, 1>, in_view<accumulator_t<T>, 1>, info_nce_targets, siglip_options);        \
    template void layer_norm_forward<T>(cuda_context&, tensor_view<T, 2>, std::type_identity_t<layer_norm_saved<T>>, in_view<T, 2>, \
                                        in_view<T, 1>, in_view<T, 1>, double);                                                    \
    template void layer_norm_backward<T>(cuda_context&, tensor_view<T, 2>, out_view<T, 1>, out_view<T, 1>, in_view<T, 2>,         \
                                         std::type_identity_t<layer_norm_saved<T>>, in_view<T, 2>, in_view<T, 1>);                \
    template void linear_forward<T>(cuda_context&, tensor_view<T, 2>, in_view<T, 2>, in_view<T, 2>, in_view<T, 1>);               \
    template void linear_gelu_forward<T>(cuda_context&, tensor_view<T, 2>, out_view<T, 2>, in_view<T, 2>, in_view<T, 2>,          \
                                         in_view<T, 1>);                                                                          \
    template void linear_backward<T>(cuda_context&, tensor_view<T, 2>, out_view<T, 2>, out_view<T, 1>, in_view<T, 2>,             \
                                     in_view<T, 2>, in_view<T, 2>);                                                               \
    template void max_pool2d_forward<T>(cuda_context&, tensor_view<T, 4>, tensor_view<std::int32_t, 4>, in_view<T, 4>,            \
                                        max_pool2d_options);                                                                      \
    template void max_pool2d_backward<T>(cuda_context&, tensor_view<T, 4>, in_view<T, 4>, tensor_view<const std::int32_t, 4>,     \
                                         max_pool2d_options);                                                                     \
    template void extract_patches<T>(cuda_context&, tensor_view<T, 2>, in_view<T, 4>, index_t);                                    \
    template void extract_patches_backward<T>(cuda_context&, tensor_view<T, 4>, in_view<T, 2>, index_t);                           \
    template void prepend_class_token<T>(cuda_context&, tensor_view<T, 3>, in_view<T, 2>, in_view<T, 1>, in_view<T, 2>);           \
    template void prepend_class_token_backward<T>(cuda_context&, tensor_view<T, 2>, tensor_view<T, 1>, tensor_view<T, 2>,          \
                                                  in_view<T, 3>);                                                                  \
    template void sequence_pool_forward<T>(cuda_context&, tensor_view<T, 2>, in_view<T, 3>, tensor_view<const std::uint8_t, 2>,   \
                                           pooling);                                                                              \
    template void sequence_pool_backward<T>(cuda_context&, tensor_view<T, 3>, in_view<T, 2>, tensor_view<const std::uint8_t, 2>,  \
                                            pooling);                                                                             \
    template void add_relu<T>(cuda_context&, tensor_view<T, 1>, in_view<T, 1>, in_view<T, 1>);                                    \
    template void relu_backward<T>(cuda_context&, tensor_view<T, 1>, in_view<T, 1>, in_view<T, 1>);                               \
    template void sgd_update<T>(cuda_context&, tensor_view<T, 1>, out_view<T, 1>, in_view<T, 1>, sgd_options);                    \
    template void softmax_forward<T>(cuda_context&, tensor_view<T, 2>, in_view<T, 2>);                                            \
    template void softmax_backward<T>(cuda_context&, tensor_view<T, 2>, in_view<T, 2>, in_view<T, 2>);                            \
    template void sup_con<T>(cuda_context&, out_view<accumulator_t<T>, 1>, tensor_view<T, 2>, in_view<T, 2>,                      \
                             tensor_view<const std::int32_t, 1>, sup_con_options)

INSTAR_INSTANTIATE(float);
INSTAR_INSTANTIATE(bf16);

#undef INSTAR_INSTANTIATE

}  // namespace instar::ops
