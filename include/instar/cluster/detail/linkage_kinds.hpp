#ifndef INSTAR_CLUSTER_DETAIL_LINKAGE_KINDS_HPP
#define INSTAR_CLUSTER_DETAIL_LINKAGE_KINDS_HPP

// The linkages and metrics of cluster/agglomerative.hpp, and how a linkage's distances follow from those before a merge.
//
// The update formulas are Lance and Williams', "A general theory of classificatory sorting strategies", Computer Journal 9,
// 1967. They are written in the operations and the order that SciPy rounds them in, so that a matrix of doubles goes through
// the same values.

#include <cmath>
#include <cstdint>

#include "instar/core/version.hpp"

namespace instar::cluster {

/// What the distance between two clusters is.
enum class linkage {
    ward,      ///< √(2·|A|·|B| / (|A| + |B|)) · ‖mean A − mean B‖: what merging adds to the within-cluster variance
    average,   ///< mean over all pairs (UPGMA)
    complete,  ///< largest of all pairs
    single,    ///< smallest of all pairs
    weighted,  ///< mean of the distances of the two clusters merged last, whatever their sizes (WPGMA)
    centroid,  ///< ‖mean A − mean B‖ (UPGMC)
    median,    ///< ‖m A − m B‖, m being the midpoint of the two clusters merged last (WPGMC)
};

/// What the distance between two points is.
enum class linkage_metric {
    euclidean,    ///< ‖a − b‖
    sqeuclidean,  ///< ‖a − b‖²
    cosine,       ///< 1 − a·b / (‖a‖·‖b‖)
};

/// Elements of the distance matrix that complete, average-euclidean, weighted, centroid and median linkage keep.
enum class matrix_precision {
    float64,  ///< 4·n² bytes: SciPy's values bit by bit, ties included
    float32,  ///< 2·n² bytes: heights to 7 digits; distances equal in float count as ties
};

namespace detail {

constexpr const char* linkage_name(linkage l) {
    switch (l) {
        case linkage::ward: return "ward";
        case linkage::average: return "average";
        case linkage::complete: return "complete";
        case linkage::single: return "single";
        case linkage::weighted: return "weighted";
        case linkage::centroid: return "centroid";
        case linkage::median: return "median";
    }
    return "?";
}

constexpr const char* metric_name(linkage_metric m) {
    switch (m) {
        case linkage_metric::euclidean: return "euclidean";
        case linkage_metric::sqeuclidean: return "sqeuclidean";
        case linkage_metric::cosine: return "cosine";
    }
    return "?";
}

/// Whether a cluster's size, mean and variance are all that its distances need.
constexpr bool over_means(linkage l, linkage_metric m) {
    return l == linkage::ward || (l == linkage::average && m != linkage_metric::euclidean);
}

/// a · b, rounded: no compiler fuses it with the addition that follows, which would change its last bit.
INSTAR_HOST_DEVICE inline double rounded_product(double a, double b) {
#if defined(__CUDA_ARCH__)
    return __dmul_rn(a, b);
#else
    double product = a * b;
#if defined(__GNUC__) && !defined(__clang__)
#if defined(__SSE2__)
    asm("" : "+x"(product));
#elif defined(__aarch64__)
    asm("" : "+w"(product));
#endif
#endif
    return product;
#endif
}

/// The distance of cluster i from the union of x and y, from those of x and y and the one between them; n_* are sizes.
INSTAR_HOST_DEVICE inline double merged_distance(linkage l, double xi, double yi, double xy, double n_x, double n_y, double n_i) {
#if defined(__clang__)
#pragma clang fp contract(off)
#endif
    switch (l) {
        case linkage::single: return yi < xi ? yi : xi;
        case linkage::complete: return yi > xi ? yi : xi;
        case linkage::average: return (rounded_product(n_x, xi) + rounded_product(n_y, yi)) / (n_x + n_y);
        case linkage::weighted: return 0.5 * (xi + yi);
        case linkage::centroid:
            return std::sqrt(((rounded_product(n_x * xi, xi) + rounded_product(n_y * yi, yi)) - rounded_product(n_x * n_y * xy, xy) / (n_x + n_y)) / (n_x + n_y));
        case linkage::median: return std::sqrt(rounded_product(0.5, rounded_product(xi, xi) + rounded_product(yi, yi)) - rounded_product(0.25 * xy, xy));
        default: break;
    }
    const double t = 1.0 / (n_x + n_y + n_i);
    return std::sqrt(rounded_product((n_i + n_x) * t * xi, xi) + rounded_product((n_i + n_y) * t * yi, yi) - rounded_product(n_i * t * xy, xy));
}

}  // namespace detail
}  // namespace instar::cluster

#endif
