// Instantiates the clusterers of cuda_context in instar::compiled: a plain .cpp that links it clusters on a GPU without nvcc.

#include "instar/cluster/knn.hpp"

namespace instar::cluster {

template knn_result knn<float>(cuda_context&, in_view<float, 2>, in_view<float, 2>, knn_options);

}  // namespace instar::cluster
