#ifndef INSTAR_CLUSTER_PCA_HPP
#define INSTAR_CLUSTER_PCA_HPP

// Principal component analysis, exact.
//
//     auto pca = cluster::pca(ctx, x, {.n_components = 50});
//     auto y   = pca.transform(ctx, x);                        // [n, 50]
//     auto few = cluster::pca(ctx, x, {.variance = 0.9});      // as many as explain nine tenths of the variance
//
// Options and signs are scikit-learn's (PCA): components by falling variance, the largest element of each positive.

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "instar/cluster/detail/symmetric_eigen.hpp"
#include "instar/core/tensor.hpp"

#if !defined(__CUDACC__)
#include "instar/core/cpu_context.hpp"
#include "instar/core/parallel_for.hpp"
#include "instar/ops/gemm.hpp"
#endif

namespace instar {
class cpu_context;
class cuda_context;
}  // namespace instar

namespace instar::cluster {

struct pca_options {
    index_t n_components = 2;  ///< 0: see variance
    double variance = 0.0;     ///< share to be explained, in (0, 1); n_components is not read then
    bool whiten = false;       ///< transform gives components of variance 1
};

struct pca_model {
    tensor<float, 2> components;                    ///< [k, d], rows of length 1
    tensor<float, 1> mean;                          ///< [d]
    std::vector<double> explained_variance;         ///< [k], with 1 / (n − 1)
    std::vector<double> explained_variance_ratio;   ///< [k], of the total
    bool whiten = false;

    /// (x − mean) · componentsᵀ, divided by the components' deviations with `whiten`. x: [n, d] → [n, k].
    tensor<float, 2> transform(cpu_context& ctx, tensor_view<const float, 2> x) const;

    /// The same on a GPU, for x in device memory: y on the host, complete on return, or in device memory, queued. At most 256 MiB of rows
    /// are centred at a time; products are float's (TF32's, where the context allows it). Throws shape_error for other shapes.
    template <class T = float>
    tensor<T, 2> transform(cuda_context& ctx, in_view<T, 2> x) const;
    template <class T = float>
    void transform(cuda_context& ctx, out_view<T, 2> y, in_view<T, 2> x) const;
};

namespace detail {

/// Throws what pca refuses before it looks at values; returns the smaller of rows and columns.
inline index_t check_pca(tensor_view<const float, 2> x, const pca_options& options) {
    const index_t n = x.extent(0), m = std::min(n, x.extent(1));
    const auto text = [](index_t v) { return std::to_string(v); };
    if (n < 2) throw value_error("pca: needs two rows at least, x has " + text(n));
    const bool by_variance = options.variance != 0.0;
    if (by_variance && !(options.variance > 0.0 && options.variance < 1.0)) throw value_error("pca: variance must be between 0 and 1, is " + std::to_string(options.variance));
    if (!by_variance && (options.n_components < 1 || options.n_components > m)) {
        throw value_error("pca: n_components is " + text(options.n_components) + ", must be between 1 and " + text(m) + ", the smaller of rows and columns");
    }
    if (m > 4096) throw value_error("pca: the smaller of rows and columns is " + text(m) + ", at most 4096 are supported");
    return m;
}

inline void check_pca_transform(tensor_view<const float, 2> x, index_t d) {
    if (x.extent(1) != d) throw shape_error("pca.transform: x has shape " + shape_string(x) + ", expected [n, " + std::to_string(d) + "]");
}

inline double pca_total(const std::vector<double>& values) {
    double total = 0.0;
    for (const double v : values) total += std::max(v, 0.0);
    return total;
}

/// How many components the options ask for. values: ascending.
inline index_t pca_count(const std::vector<double>& values, const pca_options& options) {
    if (options.variance == 0.0) return options.n_components;
    const auto m = static_cast<index_t>(values.size());
    const double enough = options.variance * pca_total(values);
    double sum = 0.0;
    index_t k = 0;
    for (; k < m && sum < enough; ++k) sum += std::max(values[static_cast<std::size_t>(m - 1 - k)], 0.0);
    return std::max<index_t>(k, 1);
}

/// values: ascending eigenvalues of the products of n centred rows; directions: [k, d], of the largest values, of length 1 or 0.
inline pca_model make_pca_model(const std::vector<double>& values, index_t n, const std::vector<double>& mean, const std::vector<double>& directions, bool whiten) {
    const auto d = static_cast<index_t>(mean.size()), k = static_cast<index_t>(directions.size()) / d;
    const double total = pca_total(values);
    pca_model model{tensor<float, 2>({k, d}), tensor<float, 1>({d}), {}, {}, whiten};
    for (index_t c = 0; c < d; ++c) model.mean(c) = static_cast<float>(mean[static_cast<std::size_t>(c)]);
    for (index_t i = 0; i < k; ++i) {
        const double value = std::max(values[values.size() - 1 - static_cast<std::size_t>(i)], 0.0);
        const double* const direction = directions.data() + i * d;
        const double largest = *std::max_element(direction, direction + d, [](double a, double b) { return std::fabs(a) < std::fabs(b); });
        const double sign = largest < 0.0 ? -1.0 : 1.0;
        for (index_t c = 0; c < d; ++c) model.components(i, c) = static_cast<float>(sign * direction[c]);
        model.explained_variance.push_back(value / static_cast<double>(n - 1));
        model.explained_variance_ratio.push_back(total > 0.0 ? value / total : 0.0);
    }
    return model;
}

/// Rows of length 1, but for those of length 0.
inline void normalise_directions(std::vector<double>& directions, index_t d) {
    for (auto row = directions.begin(); row != directions.end(); row += d) {
        double length = 0.0;
        for (auto v = row; v != row + d; ++v) length += *v * *v;
        for (auto v = row; v != row + d; ++v) *v = length > 0.0 ? *v / std::sqrt(length) : 0.0;
    }
}

}  // namespace detail

#if !defined(__CUDACC__)

inline tensor<float, 2> pca_model::transform(cpu_context& ctx, tensor_view<const float, 2> x) const {
    const index_t n = x.extent(0), d = components.extent(1), k = components.extent(0);
    detail::check_pca_transform(x, d);
    tensor<float, 2> centred({n, d}), y({n, k});
    parallel_for(ctx, n, 64, [&](index_t begin, index_t end) {
        for (index_t r = begin; r < end; ++r) {
            for (index_t c = 0; c < d; ++c) centred(r, c) = x(r, c) - mean(c);
        }
    });
    ops::gemm<float>(ctx, y.view(), centred.view(), components.view(), {.transpose_b = true});
    if (!whiten) return y;
    for (index_t r = 0; r < n; ++r) {
        for (index_t c = 0; c < k; ++c) {
            const double deviation = std::sqrt(explained_variance[static_cast<std::size_t>(c)]);
            y(r, c) = deviation > 0.0 ? static_cast<float>(static_cast<double>(y(r, c)) / deviation) : 0.0f;
        }
    }
    return y;
}

/// The principal components of the rows of x, [n, d], from the eigenvectors of their covariance (d ≤ n) or of their products with each
/// other (n < d), in double. The same bits for any number of threads.
///
/// Cost: 2·n·d·m + 9·m³ FLOP in double and 16·m² + 8·n·d bytes, m = min(n, d).
/// Throws value_error: n < 2, n_components outside [1, min(n, d)], variance outside (0, 1), a value that is not finite (row and column
/// named), m above 4096, where an exact decomposition takes minutes.
inline pca_model pca(cpu_context& ctx, tensor_view<const float, 2> x, pca_options options = {}) {
    const index_t n = x.extent(0), d = x.extent(1), m = detail::check_pca(x, options);
    tensor<double, 2> centred({n, d});
    std::vector<double> mean(static_cast<std::size_t>(d), 0.0);
    for (index_t r = 0; r < n; ++r) {
        for (index_t c = 0; c < d; ++c) {
            if (!std::isfinite(x(r, c))) throw value_error("pca: x row " + std::to_string(r) + ", column " + std::to_string(c) + " is not finite");
            mean[static_cast<std::size_t>(c)] += static_cast<double>(x(r, c));
        }
    }
    for (double& v : mean) v /= static_cast<double>(n);
    for (index_t r = 0; r < n; ++r) {
        for (index_t c = 0; c < d; ++c) centred(r, c) = static_cast<double>(x(r, c)) - mean[static_cast<std::size_t>(c)];
    }
    std::vector<double> products(static_cast<std::size_t>(m * m));
    const tensor_view<double, 2> into(products.data(), {m, m});
    const tensor_view<const double, 2> from = centred.view();
    if (d <= n) ops::gemm<double>(ctx, into, from, from, {.transpose_a = true});
    else ops::gemm<double>(ctx, into, from, from, {.transpose_b = true});
    const auto eigen = detail::symmetric_eigen(m, std::move(products));
    const index_t k = detail::pca_count(eigen.values, options);
    std::vector<double> directions(static_cast<std::size_t>(k * d), 0.0);
    for (index_t i = 0; i < k; ++i) {
        const double* const vector = eigen.vectors.data() + (m - 1 - i) * m;
        double* const direction = directions.data() + i * d;
        if (d <= n) {
            std::copy_n(vector, d, direction);
        } else {  // left singular vector u: the direction is xᵀu / σ
            for (index_t r = 0; r < n; ++r) {
                for (index_t c = 0; c < d; ++c) direction[c] += vector[r] * centred(r, c);
            }
        }
    }
    if (n < d) detail::normalise_directions(directions, d);
    return detail::make_pca_model(eigen.values, n, mean, directions, options.whiten);
}

#endif

/// The same on a GPU: x lies in device memory, the model on the host.
///
/// Means, products and directions are computed on the device, in double as on the CPU; the decomposition of the m × m products is the
/// CPU's own, by one thread of the host. Sums come in another order than the CPU's: values agree to some 1e-12 of the largest one, and so do
/// components whose value stands apart from the others. The same bits on every run.
///
/// Cost: as on the CPU, and at least three waits for the host. Memory: 8·m² bytes and at most 256 MiB of centred rows, or of columns where
/// n < d (one row or column, when that is more).
/// Throws as on the CPU. T is float: a template, so that instar::compiled can hold it.
template <class T = float>
pca_model pca(cuda_context& ctx, in_view<T, 2> x, pca_options options = {});

}  // namespace instar::cluster

#if !defined(INSTAR_COMPILED) && (defined(__CUDACC__) || defined(INSTAR_CUDA_EMULATED))
#include "instar/cluster/cuda/pca.cuh"
#endif

#endif
