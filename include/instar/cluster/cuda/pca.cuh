#ifndef INSTAR_CLUSTER_CUDA_PCA_CUH
#define INSTAR_CLUSTER_CUDA_PCA_CUH

// Principal components on a GPU: centred copies of a part of x at a time, in double, and their products by cuBLASLt. What is small, the
// decomposition, is the host's.

#include <algorithm>
#include <cmath>
#include <vector>

#include "instar/cluster/cuda/rows.cuh"
#include "instar/cluster/pca.hpp"
#include "instar/cuda/matmul.hpp"

namespace instar::cluster {

namespace cuda {

inline constexpr index_t k_centred_bytes = index_t{256} << 20;  ///< of a centred copy

/// to = x − mean, both rounded to To.
template <class To, class T>
__global__ void centred_copy_kernel(tensor_view<To, 2> to, tensor_view<const T, 2> x, const To* mean) {
    const index_t i = grid_thread();
    if (i >= to.size()) return;
    const index_t r = i / to.extent(1), c = i % to.extent(1);
    to.data()[i] = static_cast<To>(to_float(x.data()[r * x.stride(0) + c])) - mean[c];
}

/// y /= deviation of its column, in double; 0 where that is 0.
template <class T>
__global__ void whiten_kernel(tensor_view<T, 2> y, const double* deviation) {
    const index_t i = grid_thread();
    if (i >= y.size()) return;
    const index_t c = i % y.extent(1);
    T& v = y.data()[i / y.extent(1) * y.stride(0) + c];
    v = deviation[c] > 0.0 ? static_cast<T>(static_cast<double>(v) / deviation[c]) : T{};
}

/// Calls f(part, first) with centred copies of x in To: rows first … or, when `by_rows` is not set, columns first ….
template <class To, class T, class F>
void for_each_centred(cuda_context& ctx, const char* op, const tensor_view<const T, 2>& x, const To* mean, bool by_rows,
                      index_t bytes, F&& f) {
    const index_t length = x.extent(by_rows ? 0 : 1), width = x.extent(by_rows ? 1 : 0);
    if (length == 0 || width == 0) return;
    const index_t step = std::clamp<index_t>(bytes / (width * static_cast<index_t>(sizeof(To))), 1, length);
    const scratch<To> memory(ctx, step * width, op);
    for (index_t first = 0; first < length; first += step) {
        const index_t here = std::min(step, length - first);
        const tensor_view<To, 2> part(memory.data(), {by_rows ? here : width, by_rows ? width : here});
        const tensor_view<const T, 2> from(x.data() + (by_rows ? first * x.stride(0) : first),
                                           {part.extent(0), part.extent(1)}, {x.stride(0), 1});
        launch(ctx, op, centred_copy_kernel<To, T>, {blocks_for(part.size(), 256)}, {256}, 0, part, from,
               mean + (by_rows ? 0 : first));
        f(tensor_view<const To, 2>(part), first);
    }
}

/// bytes: of a centred copy.
template <class T>
pca_model principal_components(cuda_context& ctx, const tensor_view<const T, 2>& x, const pca_options& options,
                               index_t bytes = k_centred_bytes) {
    const char* const op = "pca";
    const index_t n = x.extent(0), d = x.extent(1), m = detail::check_pca(x, options);
    instar::detail::check_unit_stride(op, "x", x);
    check_finite_rows(ctx, op, "x row", x, row_squares(ctx, op, x));
    std::vector<double> mean = column_sums(ctx, op, x, 1, nullptr, nullptr, 1);
    for (double& v : mean) v /= static_cast<double>(n);
    const uploaded<double> middle(ctx, op, mean);
    const bool by_rows = d <= n;

    const scratch<double> memory(ctx, m * m, op);
    const tensor_view<double, 2> products(memory.data(), {m, m});
    for_each_centred(ctx, op, x, middle.data(), by_rows, bytes, [&](tensor_view<const double, 2> part, index_t first) {
        run_matmul(ctx, op, row_major_product<double>(products, part, part, by_rows, !by_rows, first > 0));
    });
    const auto eigen = detail::symmetric_eigen(m, downloaded<double>(ctx, products.data(), m * m));
    const index_t k = detail::pca_count(eigen.values, options);
    // The vectors of the largest values, by falling value.
    std::vector<double> vectors;
    for (index_t i = m - 1; i >= m - k; --i)
        vectors.insert(vectors.end(), eigen.vectors.begin() + i * m, eigen.vectors.begin() + (i + 1) * m);
    if (by_rows) return detail::make_pca_model(eigen.values, n, mean, vectors, options.whiten);

    // Left singular vectors u: the directions are xᵀu / σ.
    const uploaded<double> left(ctx, op, vectors);
    const scratch<double> found(ctx, k * d, op);
    for_each_centred(ctx, op, x, middle.data(), false, bytes, [&](tensor_view<const double, 2> part, index_t first) {
        const tensor_view<double, 2> to(found.data() + first, {k, part.extent(1)}, {d, 1});
        const tensor_view<const double, 2> u(left.data(), {k, n});
        run_matmul(ctx, op, row_major_product<double>(to, u, part, false, false));
    });
    std::vector<double> directions = downloaded<double>(ctx, found.data(), k * d);
    detail::normalise_directions(directions, d);
    return detail::make_pca_model(eigen.values, n, mean, directions, options.whiten);
}

/// bytes: of a centred copy.
template <class T>
void project_rows(cuda_context& ctx, const pca_model& model, const tensor_view<T, 2>& y,
                  const tensor_view<const T, 2>& x, index_t bytes = k_centred_bytes) {
    const char* const op = "pca.transform";
    const index_t n = x.extent(0), d = model.components.extent(1), k = model.components.extent(0);
    detail::check_pca_transform(x, d);
    instar::detail::check_shape(op, "y", y, {n, k});
    instar::detail::check_unit_stride(op, "y", y);
    instar::detail::check_unit_stride(op, "x", x);
    std::vector<double> deviations;
    for (const double v : model.explained_variance) deviations.push_back(std::sqrt(v));
    const uploaded<T> mean(ctx, op, {model.mean.data(), static_cast<std::size_t>(d)}),
        components(ctx, op, {model.components.data(), static_cast<std::size_t>(k * d)});
    const uploaded<double> deviation(ctx, op, deviations);
    const tensor_view<const T, 2> axes(components.data(), {k, d});
    for_each_centred(ctx, op, x, mean.data(), true, bytes, [&](tensor_view<const T, 2> part, index_t first) {
        const tensor_view<T, 2> to(y.data() + first * y.stride(0), {part.extent(0), k}, {y.stride(0), 1});
        run_matmul(ctx, op, row_major_product<T>(to, part, axes, false, true));
        if (model.whiten)
            launch(ctx, op, whiten_kernel<T>, {blocks_for(to.size(), 256)}, {256}, 0, to, deviation.data());
    });
}

}  // namespace cuda

template <class T>
pca_model pca(cuda_context& ctx, in_view<T, 2> x, pca_options options) {
    return cuda::principal_components<T>(ctx, x, options);
}

template <class T>
void pca_model::transform(cuda_context& ctx, out_view<T, 2> y, in_view<T, 2> x) const {
    cuda::project_rows<T>(ctx, *this, y, x);
}

template <class T>
tensor<T, 2> pca_model::transform(cuda_context& ctx, in_view<T, 2> x) const {
    detail::check_pca_transform(x, components.extent(1));
    tensor<T, 2> y({x.extent(0), components.extent(0)});
    const cuda::scratch<T> there(ctx, y.size(), "pca.transform");
    const tensor_view<T, 2> y_there(there.data(), {y.extent(0), y.extent(1)});
    cuda::project_rows<T>(ctx, *this, y_there, x);
    ctx.download(y.view(), tensor_view<const T, 2>(y_there));
    return y;
}

}  // namespace instar::cluster

#endif
