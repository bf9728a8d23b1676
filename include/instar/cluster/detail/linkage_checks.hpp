#ifndef INSTAR_CLUSTER_DETAIL_LINKAGE_CHECKS_HPP
#define INSTAR_CLUSTER_DETAIL_LINKAGE_CHECKS_HPP

// What agglomerative clustering refuses on every device, before any work: shapes, metrics, sizes.

#include <cmath>
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

template <class T>
index_t points_of_distances(tensor_view<const T, 2> square) {
    const index_t n = square.extent(0);
    if (square.extent(1) != n) throw shape_error("agglomerative_precomputed: distances have shape " + shape_string(square) + ", expected a square");
    if (n < 1 || n > k_most_points) throw value_error("agglomerative_precomputed: distances have shape " + shape_string(square) + ", need at least one point");
    return n;
}
template <class T>
index_t points_of_distances(tensor_view<const T, 1> condensed) {
    const auto n = static_cast<index_t>(std::llround(0.5 + std::sqrt(0.25 + 2.0 * static_cast<double>(condensed.extent(0)))));
    if (n * (n - 1) / 2 != condensed.extent(0) || n > k_most_points) {
        throw shape_error("agglomerative_precomputed: condensed distances have shape " + shape_string(condensed) + ", no n gives n·(n − 1)/2");
    }
    return n;
}

/// Whether a given distance is below 0, or not that of a symmetric matrix with zeros on its diagonal, by more than rounding.
INSTAR_HOST_DEVICE inline bool refused_distance(double d, double mirrored, bool on_diagonal, double largest) {
    const double apart = d < mirrored ? mirrored - d : d - mirrored, size = d < 0.0 ? -d : d;
    return d < -1e-6 * largest || apart > 1e-5 * largest || (on_diagonal && size > 1e-5 * largest);
}

inline std::string distance_name(index_t i, index_t j) {
    return "agglomerative_precomputed: the distance of " + std::to_string(i) + " and " + std::to_string(j);
}
[[noreturn]] inline void throw_infinite_distance(index_t i, index_t j) {
    throw value_error(distance_name(i, j) + " is not finite");
}
/// Says what refused_distance saw.
[[noreturn]] inline void throw_refused_distance(index_t i, index_t j, double d, double mirrored, double largest) {
    if (d < -1e-6 * largest) throw value_error(distance_name(i, j) + " is negative, " + std::to_string(d));
    if (i == j) throw value_error(distance_name(i, j) + " is " + std::to_string(d) + ", must be 0");
    throw value_error(distance_name(i, j) + " is " + std::to_string(d) + ", that of " + std::to_string(j) + " and " +
                      std::to_string(i) + " " + std::to_string(mirrored) + ": not symmetric");
}

}  // namespace instar::cluster::detail

#endif
