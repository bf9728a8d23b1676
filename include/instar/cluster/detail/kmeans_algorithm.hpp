#ifndef INSTAR_CLUSTER_DETAIL_KMEANS_ALGORITHM_HPP
#define INSTAR_CLUSTER_DETAIL_KMEANS_ALGORITHM_HPP

// Which way of assigning points cluster/kmeans.hpp takes; apart, because both devices' options name it.

namespace instar::cluster {

/// automatic: filtering while it leaves less than half of the comparisons, else all of them. Labels are the same.
enum class kmeans_algorithm { automatic, lloyd, filtering };

}  // namespace instar::cluster

#endif
