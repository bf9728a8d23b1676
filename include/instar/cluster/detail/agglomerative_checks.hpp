#ifndef INSTAR_CLUSTER_DETAIL_AGGLOMERATIVE_CHECKS_HPP
#define INSTAR_CLUSTER_DETAIL_AGGLOMERATIVE_CHECKS_HPP

// What agglomerative clustering refuses, before any work, and how it takes given distances.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <limits>
#include <string>

#include "instar/cluster/detail/linkage_kinds.hpp"
#include "instar/cluster/detail/linkage_matrix.hpp"
#include "instar/core/error.hpp"
#include "instar/core/tensor_view.hpp"

namespace instar::cluster::detail {

/// Node numbers of a tree of this many points fit in 32 bits.
inline constexpr index_t k_most_points = index_t{1} << 30;

inline void check_linkage_metric(linkage l, linkage_metric metric) {
    const bool of_means = l == linkage::ward || l == linkage::centroid || l == linkage::median;
    if (of_means && metric != linkage_metric::euclidean) {
        throw value_error(std::string("agglomerative: ") + linkage_name(l) + " linkage needs the euclidean metric, not " + metric_name(metric));
    }
}

inline void check_points(tensor_view<const float, 2> x, linkage_metric metric) {
    if (x.extent(0) < 1 || x.extent(1) < 1 || x.extent(0) > k_most_points) {
        throw value_error("agglomerative: x has shape " + shape_string(x) + ", needs at least one row and one column, and at most 2^30 rows");
    }
    for (index_t r = 0; r < x.extent(0); ++r) {
        bool zero = true;
        for (index_t c = 0; c < x.extent(1); ++c) {
            if (!std::isfinite(x(r, c))) throw value_error("agglomerative: x row " + std::to_string(r) + ", column " + std::to_string(c) + " is not finite");
            zero = zero && x(r, c) == 0.0f;
        }
        if (zero && metric == linkage_metric::cosine) throw value_error("agglomerative: x row " + std::to_string(r) + " is zero, its cosine undefined");
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
    std::string message = std::string(what) + ": " + linkage_name(l) + " linkage of " + std::to_string(n) + " points needs " +
                          std::to_string(static_cast<unsigned long long>(needed)) + " bytes";
    if (element != 0) message += ", " + std::to_string(static_cast<unsigned long long>(pairs * element)) + " of them for the matrix of distances";
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

template <class T>
double distance_at(tensor_view<const T, 2> square, index_t, index_t i, index_t j) {
    return static_cast<double>(square(i, j));
}
template <class T>
double distance_at(tensor_view<const T, 1> condensed, index_t n, index_t i, index_t j) {
    return static_cast<double>(condensed(i * n - i * (i + 1) / 2 + j - i - 1));
}

template <class T, int Rank>
void check_distances(tensor_view<const T, Rank> distances, index_t n) {
    const auto at = [&](index_t i, index_t j) { return "agglomerative_precomputed: the distance of " + std::to_string(i) + " and " + std::to_string(j); };
    double largest = 0.0;
    for (index_t i = 0; i < n; ++i) {
        for (index_t j = Rank == 2 ? 0 : i + 1; j < n; ++j) {
            const double d = distance_at(distances, n, i, j);
            if (!std::isfinite(d)) throw value_error(at(i, j) + " is not finite");
            largest = std::max(largest, d);
        }
    }
    for (index_t i = 0; i < n; ++i) {
        for (index_t j = Rank == 2 ? i : i + 1; j < n; ++j) {
            const double d = distance_at(distances, n, i, j);
            if (d < -1e-6 * largest) throw value_error(at(i, j) + " is negative, " + std::to_string(d));
            if constexpr (Rank == 2) {
                if (std::fabs(d - distance_at(distances, n, j, i)) > 1e-5 * largest) {
                    throw value_error(at(i, j) + " is " + std::to_string(d) + ", that of " + std::to_string(j) + " and " + std::to_string(i) + " " +
                                      std::to_string(distance_at(distances, n, j, i)) + ": not symmetric");
                }
                if (i == j && std::fabs(d) > 1e-5 * largest) throw value_error(at(i, j) + " is " + std::to_string(d) + ", must be 0");
            }
        }
    }
}

template <class Stored, class T, int Rank>
linkage_matrix<Stored> copy_distances(tensor_view<const T, Rank> distances, index_t n) {
    linkage_matrix<Stored> matrix(n);
    Stored* out = matrix.data();
    for (index_t i = 0; i < n; ++i) {
        for (index_t j = i + 1; j < n; ++j) *out++ = static_cast<Stored>(std::max(0.0, distance_at(distances, n, i, j)));
    }
    return matrix;
}

}  // namespace instar::cluster::detail

#endif
