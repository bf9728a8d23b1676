#ifndef INSTAR_CLUSTER_CUDA_KNN_CUH
#define INSTAR_CLUSTER_CUDA_KNN_CUH

// Exact nearest neighbours on a GPU. A block takes 128 queries through the references, 128 at a time: a tile of products in float,
// compared at once with what the queries still let in; the few that pass are compared in double (nearest_lists.cuh). No matrix of
// distances exists, in part or in whole: writing one element and reading it again costs the time of some hundred multiply-adds.
//
// Why not cuBLASLt and a second kernel: see docs/kernels/clustering.md. What the products prove is in detail/knn_bounds.hpp; here the
// numbers are those of detail/knn_rounding.hpp.

#include "instar/cluster/cuda/nearest_lists.cuh"
#include "instar/cluster/cuda/rows.cuh"
#include "instar/cluster/knn.hpp"

namespace instar::cluster {

namespace cuda {

/// What the kernels know. Pointers are to device memory.
template <class T>
struct knn_problem {
    tensor_view<const T, 2> queries, references;
    padded_rows query_rows, reference_rows;         ///< x' of each; queries not doubled
    const double *query_factor, *reference_factor;  ///< of each row
    const double *offset, *slope, *size;  ///< of each query: key = offset + slope · distance, from terms of this size
    const float* error;                   ///< of each query
    const float *base, *norm;             ///< of each reference, in whole tiles
    detail::knn_rounding rounding;
    knn_metric metric;
    bool exclude_self;
};

/// Σ over the row by a warp, the same bits in all lanes: squared distance, or minus the inner product, as the CPU's knn_space.
template <class T>
__device__ double knn_distance(const knn_problem<T>& p, index_t q, index_t r) {
    const T *const a = p.queries.data() + q * p.queries.stride(0), *const b =
                                                                       p.references.data() + r * p.references.stride(0);
    const bool cosine = p.metric == knn_metric::cosine;
    const double factor_a = cosine ? p.query_factor[q] : 1.0, factor_b = cosine ? p.reference_factor[r] : 1.0;
    double sum = 0.0;
    for (index_t c = lane_id(); c < p.queries.extent(1); c += k_warp_size) {
        const double x = static_cast<double>(to_float(a[c])), y = static_cast<double>(to_float(b[c]));
        if (p.metric == knn_metric::inner_product) {
            sum -= x * y;
        } else {
            // Both products are rounded: fused with the difference, rows that coincide would not be at 0.
            const double by = __dmul_rn(x, factor_a) - __dmul_rn(y, factor_b);
            sum += by * by;
        }
    }
    return warp_sum(sum);
}

/// base and norm of each reference; past the last one, what no threshold lets in.
template <class A>
__global__ void knn_references_kernel(A* base, A* norm, const double* squares, index_t n,
                                      detail::knn_rounding rounding) {
    const index_t r = grid_thread();
    if (r >= whole_tiles(n)) return;
    base[r] = r < n ? rounding.base(squares[r]) : INFINITY;
    norm[r] = r < n ? rounding.norm(squares[r]) : 0.0f;
}

/// error, offset, slope and size of each query, from its Σ x'².
template <class T>
__global__ void knn_queries_kernel(float* error, double* offset, double* slope, double* size, const double* squares,
                                   tensor_view<const T, 2> x, const double* factor, const double* shift, double scale,
                                   knn_metric metric, detail::knn_rounding rounding) {
    const index_t q = own_row();
    if (q >= x.extent(0)) return;
    if (rounding.normed) {
        if (lane_id() != 0) return;
        error[q] = rounding.error(4.0 * squares[q]);  // products are with 2·x'
        offset[q] = -squares[q];
        slope[q] = metric == knn_metric::euclidean ? scale * scale : 1.0;
        size[q] = squares[q];
        return;
    }
    double sum = 0.0, sizes = 0.0;  // references lack their mean: what it would have added
    for (index_t c = lane_id(); c < x.extent(1); c += k_warp_size) {
        const double term = static_cast<double>(to_float(x.data()[q * x.stride(0) + c])) * factor[q] * shift[c];
        sum += term;
        sizes += fabs(term);
    }
    sum = warp_sum(sum);
    sizes = warp_sum(sizes);
    if (lane_id() != 0) return;
    error[q] = rounding.error(squares[q]);
    offset[q] = sum;
    slope[q] = factor[q] * scale;
    size[q] = sizes + 4.0;  // ‖q‖·‖r‖, both about 1 and the latter less than 4
}

/// What a query lets in when its k-th distance is this.
template <class T>
__device__ __forceinline__ entry_limit knn_limit(const knn_problem<T>& p, index_t q, double kth) {
    // Nothing is nearer than 0, and references come in order: later ones lose every tie.
    if (p.rounding.normed && kth == 0.0) return {-INFINITY};
    const double reach = p.slope[q] * kth;
    return {p.rounding.beyond(p.offset[q] + reach, p.size[q] + fabs(reach))};
}

/// Queries first_query + 128 · block_x … against the first n_first references of slice block_y, all in double.
template <class T>
__global__ void __launch_bounds__(k_tile_threads)
    knn_start_kernel(knn_problem<T> p, nearest_lists lists, index_t first_query, index_t tiles_per_slice, int n_first) {
    shared_memory memory;
    const index_t first_row = block_x() * k_tile_edge, first = first_query + first_row;
    warp_lists nearest(memory, lists, block_y(), first_row, p.queries.extent(0) - first_query, false);
    const index_t begin = block_y() * tiles_per_slice * k_tile_edge, left = p.references.extent(0) - begin;
    nearest.take_all(static_cast<int>(begin), left < n_first ? static_cast<int>(left) : n_first,
                     [&](int r) { return p.exclude_self ? first + r : -1; });
    nearest.settle(
        0, [&](int r, std::int32_t name) { return knn_distance(p, first + r, name); },
        [&](int r, double kth) { return knn_limit(p, first + r, kth); });
    nearest.finish();
}

/// The same queries against all other references of slice block_y.
template <class T>
__global__ void __launch_bounds__(k_tile_threads, 2)
    knn_search_kernel(knn_problem<T> p, nearest_lists lists, index_t first_query, index_t tiles_per_slice,
                      int n_first) {
    shared_memory memory;
    const product_stages stages(memory);
    const index_t first_row = block_x() * k_tile_edge, first = first_query + first_row, n = p.references.extent(0);
    warp_lists nearest(memory, lists, block_y(), first_row, p.queries.extent(0) - first_query, n_first > 0);
    const auto distance = [&](int r, std::int32_t name) { return knn_distance(p, first + r, name); };
    const auto limit_at = [&](int r, double kth) { return knn_limit(p, first + r, kth); };
    const float twice = p.rounding.normed ? 2.0f : 1.0f;
    const index_t begin = block_y() * tiles_per_slice * k_tile_edge,
                  end = begin + tiles_per_slice * k_tile_edge < n ? begin + tiles_per_slice * k_tile_edge : n;
    for (index_t r0 = begin; r0 < end; r0 += k_tile_edge) {
        product_tile sums;
        multiply_rows(sums, p.query_rows, first, p.reference_rows, r0, stages);
        float base[k_tile_each], norm[k_tile_each];
        INSTAR_UNROLL
        for (int j = 0; j < k_tile_each; ++j) {
            const index_t at = r0 + tile_column(j);
            base[j] = at < begin + n_first ? INFINITY : p.base[at];
            norm[j] = p.norm[at];
        }
        INSTAR_UNROLL
        for (int i = 0; i < k_tile_each; ++i) {
            const index_t q = first + tile_row(i);
            const float limit = nearest.limit(tile_row(i)).below, error = q < p.queries.extent(0) ? p.error[q] : 0.0f;
            unsigned hits = 0;
            INSTAR_UNROLL
            for (int j = 0; j < k_tile_each; ++j) {
                const float low = (base[j] - twice * sums[i][j]) - error * norm[j];
                const bool self = p.exclude_self && r0 + tile_column(j) == q;
                hits |= low < limit && !self ? 1u << j : 0u;
            }
            nearest.take(i, hits, [&](int j) { return static_cast<std::int32_t>(r0 + tile_column(j)); });
        }
        nearest.settle(k_pending - k_tile_edge, distance, limit_at);
    }
    nearest.settle(0, distance, limit_at);
    nearest.finish();
}

/// The lists of all slices as the caller gets them; rows first_query … of the result.
template <class A>
__global__ void knn_results_kernel(tensor_view<std::int32_t, 2> index, tensor_view<A, 2> distance, nearest_lists lists,
                                   index_t first_query, knn_metric metric) {
    const index_t row = own_row(), q = first_query + row;
    if (row >= lists.n_rows || q >= index.extent(0)) return;
    for_each_nearest(lists, row, [&](index_t rank, double d, std::int32_t name) {
        index(q, rank) = name;
        distance(q, rank) = static_cast<A>(metric == knn_metric::cosine      ? 0.5 * d
                                           : metric == knn_metric::euclidean ? sqrt(d)
                                                                             : d);
    });
}

/// n_slices and list_bytes: as search_cut has them.
template <class T>
knn_result knn_search(cuda_context& ctx, const tensor_view<const T, 2>& queries,
                      const tensor_view<const T, 2>& references, const knn_options& options, index_t n_slices = 0,
                      index_t list_bytes = index_t{256} << 20) {
    const char* const op = "knn";
    const index_t n_queries = queries.extent(0), n_references = references.extent(0), d = queries.extent(1),
                  k = options.k;
    const bool same = detail::same_rows(queries, references), normed = detail::has_norm(options.metric);
    const bool cosine = options.metric == knn_metric::cosine;
    const std::vector<double> query_squares = row_squares(ctx, op, queries);
    check_finite_rows(ctx, op, "queries row", queries, query_squares);
    if (cosine) check_no_zero_row(op, "queries row", query_squares, "its cosine undefined");
    std::vector<double> others;
    if (!same) {
        others = row_squares(ctx, op, references);
        check_finite_rows(ctx, op, "references row", references, others);
        if (cosine) check_no_zero_row(op, "references row", others, "its cosine undefined");
    }
    const std::vector<double>& reference_squares = same ? query_squares : others;
    knn_result result{tensor<std::int32_t, 2>({n_queries, k}), tensor<float, 2>({n_queries, k})};
    if (n_queries == 0) return result;

    // The middle of at most 1,024 or so of the references, of length 1 for cosine.
    std::vector<double> unit(cosine ? reference_squares.size() : 0);
    for (std::size_t i = 0; i < unit.size(); ++i) unit[i] = 1.0 / std::sqrt(reference_squares[i]);
    const index_t step = std::max<index_t>(1, n_references / 1024);
    const uploaded<double> unit_factor(ctx, op, unit);
    std::vector<double> mean =
        column_sums(ctx, op, references, step, unit.empty() ? nullptr : unit_factor.data(), nullptr, 1);
    for (double& m : mean) m /= static_cast<double>(ceil_div(n_references, step));
    const detail::knn_scaling scaling(options.metric, mean, query_squares, reference_squares);
    const uploaded<double> query_factor(ctx, op, scaling.query_factor),
        reference_factor(ctx, op, scaling.reference_factor), shift(ctx, op, scaling.shift);

    // Centred copies. One serves both sides where both are centred alike.
    const bool shared = same && normed;
    const detail::knn_rounding rounding(d, normed);
    const scratch<float> reference_memory(ctx, padded_rows::size(n_references, d), op),
        query_memory(ctx, shared ? 0 : padded_rows::size(n_queries, d), op);
    const scratch<double> squares(ctx, std::max(n_queries, n_references), op), numbers(ctx, 3 * n_queries, op);
    const scratch<float> sides(ctx, 2 * whole_tiles(n_references), op), error(ctx, n_queries, op);
    const padded_rows reference_rows(reference_memory.data(), n_references, d),
        query_rows(shared ? reference_memory.data() : query_memory.data(), n_queries, d);
    const double* const query_shift = normed ? shift.data() : nullptr;
    if (!shared) center_rows(ctx, op, query_rows, squares.data(), queries, query_factor.data(), query_shift);
    double *const offset = numbers.data(), *const slope = offset + n_queries, *const size = slope + n_queries;
    const auto set_queries = [&] {
        launch(ctx, op, knn_queries_kernel<T>, grid_of_rows(n_queries), {k_row_threads}, 0, error.data(), offset, slope,
               size, squares.data(), queries, query_factor.data(), shift.data(), scaling.scale, options.metric,
               rounding);
    };
    if (!shared) set_queries();
    center_rows(ctx, op, reference_rows, squares.data(), references, reference_factor.data(), shift.data());
    if (shared) set_queries();
    float *const base = sides.data(), *const norm = base + whole_tiles(n_references);
    launch(ctx, op, knn_references_kernel<float>, {blocks_for(whole_tiles(n_references), 256)}, {256}, 0, base, norm,
           squares.data(), n_references, rounding);
    const knn_problem<T> problem{queries,
                                 references,
                                 query_rows,
                                 reference_rows,
                                 query_factor.data(),
                                 reference_factor.data(),
                                 offset,
                                 slope,
                                 size,
                                 error.data(),
                                 base,
                                 norm,
                                 rounding,
                                 options.metric,
                                 options.exclude_self};

    // Few queries share the device by slices of the references, each with lists of its own.
    const search_cut cut(ctx, n_queries, n_references, k, n_slices, list_bytes);
    const nearest_list_memory memory(ctx, op, cut.rows_at_once, cut.n_slices, k);
    const scratch<std::int32_t> index(ctx, n_queries * k, op);
    const scratch<float> distance(ctx, n_queries * k, op);
    const tensor_view<std::int32_t, 2> index_view(index.data(), {n_queries, k});
    const tensor_view<float, 2> distance_view(distance.data(), {n_queries, k});
    for (index_t q = 0; q < n_queries; q += cut.rows_at_once) {
        const index_t rows = std::min(cut.rows_at_once, n_queries - q);
        const extent3 grid{blocks_for(rows, k_tile_edge), static_cast<unsigned>(cut.n_slices)};
        if (cut.n_first > 0)
            launch(ctx, op, knn_start_kernel<T>, grid, {k_tile_threads}, warp_lists::k_bytes, problem, memory.lists(),
                   q, cut.tiles_per_slice, cut.n_first);
        launch(ctx, op, knn_search_kernel<T>, grid, {k_tile_threads}, product_stages::k_bytes + warp_lists::k_bytes,
               problem, memory.lists(), q, cut.tiles_per_slice, cut.n_first);
        launch(ctx, op, knn_results_kernel<float>, grid_of_rows(rows), {k_row_threads}, 0, index_view, distance_view,
               memory.lists(), q, options.metric);
    }
    ctx.download(result.index.view(), tensor_view<const std::int32_t, 2>(index_view));
    ctx.download(result.distance.view(), tensor_view<const float, 2>(distance_view));
    return result;
}

}  // namespace cuda

template <class T>
knn_result knn(cuda_context& ctx, in_view<T, 2> queries, in_view<T, 2> references, knn_options options) {
    detail::check_knn(queries, references, options);
    return cuda::knn_search<T>(ctx, queries, references, options);
}

}  // namespace instar::cluster

#endif
