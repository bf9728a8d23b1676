#ifndef INSTAR_CLUSTER_DETAIL_LINKAGE_CHECKS_HPP
#define INSTAR_CLUSTER_DETAIL_LINKAGE_CHECKS_HPP

// What agglomerative clustering refuses on every device, before any work: shapes, metrics, sizes.

#include <cstddef>
#include <cstdio>
#include <limits>
#include <string>

#include "instar/cluster/detail/linkage_kinds.hpp"
#include "instar/core/error.hpp"
#include "instar/core/tensor_view.hpp"

namespace instar::cluster::detail {

/// Node numbers of a tree of this many points fit in 32 bits.
inline constexpr index_t k_most_points = index_t{1} << 30;

inline void check_linkage_metric(linkage l, linkage_metric metric) {
    const bool of_means = l == linkage::ward || l == linkage::centroid || l == linkage::median;
    if (of_means && metric != linkage_metric::euclidean) {
        throw value_error(std::string("agglomerative: ") + linkage_name(l) +
                          " linkage needs the euclidean metric, not " + metric_name(metric));
    }
}

inline void check_points_shape(tensor_view<const float, 2> x) {
    if (x.extent(0) < 1 || x.extent(1) < 1 || x.extent(0) > k_most_points) {
        throw value_error("agglomerative: x has shape " + shape_string(x) +
                          ", needs at least one row and one column, and at most 2^30 rows");
    }
}

/// Bytes that the system says can be had without swapping; the largest number where it does not say.
inline std::size_t available_memory() {
    std::size_t kib = std::numeric_limits<std::size_t>::max() / 1024;
#if defined(__linux__)
    if (std::FILE* file = std::fopen("/proc/meminfo", "r")) {
        char line[256];
        unsigned long long value = 0;
        while (std::fgets(line, sizeof line, file)) {
            if (std::sscanf(line, "MemAvailable: %llu kB", &value) == 1) {
                kib = static_cast<std::size_t>(value);
                break;
            }
        }
        std::fclose(file);
    }
#endif
    return kib * 1024;
}

/// Throws memory_error when n·per_point and a condensed matrix of `element` bytes each do not fit.
inline void check_memory(const char* what, linkage l, index_t n, double per_point, int element, std::size_t limit) {
    const double pairs = 0.5 * static_cast<double>(n) * static_cast<double>(n - 1);
    const double needed = static_cast<double>(n) * per_point + pairs * element;
    const std::size_t allowed = limit != 0 ? limit : available_memory();
    if (needed <= static_cast<double>(allowed)) return;
    std::string message = std::string(what) + ": " + linkage_name(l) + " linkage of " + std::to_string(n) +
                          " points needs " + std::to_string(static_cast<unsigned long long>(needed)) + " bytes";
    if (element != 0)
        message += ", " + std::to_string(static_cast<unsigned long long>(pairs * element)) +
                   " of them for the matrix of distances";
    message += "; " + std::to_string(allowed) + (limit != 0 ? " are allowed (memory_limit)" : " are available");
    if (element == 8) message += "; precision float32 halves the matrix";
    throw memory_error(message);
}

}  // namespace instar::cluster::detail

#endif
