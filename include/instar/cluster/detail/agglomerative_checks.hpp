#ifndef INSTAR_CLUSTER_DETAIL_AGGLOMERATIVE_CHECKS_HPP
#define INSTAR_CLUSTER_DETAIL_AGGLOMERATIVE_CHECKS_HPP

// What agglomerative clustering refuses, before any work, and how it takes given distances.

#include <algorithm>
#include <cmath>
#include <string>

#include "instar/cluster/detail/linkage_checks.hpp"
#include "instar/cluster/detail/linkage_matrix.hpp"
#include "instar/core/error.hpp"
#include "instar/core/tensor_view.hpp"

namespace instar::cluster::detail {

inline void check_points(tensor_view<const float, 2> x, linkage_metric metric) {
    check_points_shape(x);
    for (index_t r = 0; r < x.extent(0); ++r) {
        bool zero = true;
        for (index_t c = 0; c < x.extent(1); ++c) {
            if (!std::isfinite(x(r, c))) throw value_error("agglomerative: x row " + std::to_string(r) + ", column " + std::to_string(c) + " is not finite");
            zero = zero && x(r, c) == 0.0f;
        }
        if (zero && metric == linkage_metric::cosine) throw value_error("agglomerative: x row " + std::to_string(r) + " is zero, its cosine undefined");
    }
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
