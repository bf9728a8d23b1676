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
double distance_at(tensor_view<const T, 2> square, index_t, index_t i, index_t j) {
    return static_cast<double>(square(i, j));
}
template <class T>
double distance_at(tensor_view<const T, 1> condensed, index_t n, index_t i, index_t j) {
    return static_cast<double>(condensed(i * n - i * (i + 1) / 2 + j - i - 1));
}

template <class T, int Rank>
void check_distances(tensor_view<const T, Rank> distances, index_t n) {
    constexpr bool k_square = Rank == 2;
    double largest = 0.0;
    for (index_t i = 0; i < n; ++i) {
        for (index_t j = k_square ? 0 : i + 1; j < n; ++j) {
            const double d = distance_at(distances, n, i, j);
            if (!std::isfinite(d)) throw_infinite_distance(i, j);
            largest = std::max(largest, d);
        }
    }
    for (index_t i = 0; i < n; ++i) {
        for (index_t j = k_square ? i : i + 1; j < n; ++j) {
            const double d = distance_at(distances, n, i, j), mirrored = k_square ? distance_at(distances, n, j, i) : d;
            if (refused_distance(d, mirrored, i == j, largest)) throw_refused_distance(i, j, d, mirrored, largest);
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
