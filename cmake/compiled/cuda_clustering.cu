// Instantiates the clusterers of cuda_context in instar::compiled: a plain .cpp that links it clusters on a GPU without nvcc.

#include "instar/cluster/agglomerative.hpp"
#include "instar/cluster/detail/umap_device_layout.hpp"
#include "instar/cluster/kmeans.hpp"
#include "instar/cluster/knn.hpp"
#include "instar/cluster/mini_batch_kmeans.hpp"
#include "instar/cluster/nn_descent.hpp"
#include "instar/cluster/pca.hpp"
#include "instar/cluster/silhouette.hpp"

namespace instar::cluster {

template dendrogram agglomerative<float>(cuda_context&, in_view<float, 2>, agglomerative_options);
template dendrogram agglomerative_precomputed<float>(cuda_context&, in_view<float, 2>, agglomerative_options);
template dendrogram agglomerative_precomputed<float>(cuda_context&, in_view<float, 1>, agglomerative_options);
template dendrogram agglomerative_precomputed<double>(cuda_context&, in_view<double, 2>, agglomerative_options);
template dendrogram agglomerative_precomputed<double>(cuda_context&, in_view<double, 1>, agglomerative_options);
template kmeans_result kmeans<float>(cuda_context&, in_view<float, 2>, const kmeans_options&);
template kmeans_result kmeans<float>(cuda_context&, in_view<float, 2>, in_view<float, 2>, kmeans_options);
template tensor<std::int32_t, 1> kmeans_predict<float>(cuda_context&, in_view<float, 2>, in_view<float, 2>);
template tensor<float, 2> kmeans_transform<float>(cuda_context&, in_view<float, 2>, in_view<float, 2>);
template void kmeans_transform<float>(cuda_context&, out_view<float, 2>, in_view<float, 2>, in_view<float, 2>);
template knn_result knn<float>(cuda_context&, in_view<float, 2>, in_view<float, 2>, knn_options);
template class mini_batch_state<cuda_context, float>;
template kmeans_result mini_batch_kmeans<float>(cuda_context&, in_view<float, 2>, const mini_batch_kmeans_options&);
template knn_result nn_descent<float>(cuda_context&, in_view<float, 2>, const nn_descent_options&);
template pca_model pca<float>(cuda_context&, in_view<float, 2>, pca_options);
template tensor<float, 2> pca_model::transform<float>(cuda_context&, in_view<float, 2>) const;
template void pca_model::transform<float>(cuda_context&, out_view<float, 2>, in_view<float, 2>) const;
template std::vector<double> silhouette_samples<float>(cuda_context&, in_view<float, 2>, std::span<const std::int32_t>,
                                                       silhouette_metric);
template double silhouette_score<float>(cuda_context&, in_view<float, 2>, std::span<const std::int32_t>,
                                        silhouette_metric);

namespace detail {
template void umap_device_layout<float>(cuda_context&, const umap_edges&, const umap_layout_options&, tensor<float, 2>&,
                                        const tensor<float, 2>&, std::uint64_t);
}

}  // namespace instar::cluster
