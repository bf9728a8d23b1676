#ifndef INSTAR_CLUSTER_DETAIL_LINKAGE_MATRIX_HPP
#define INSTAR_CLUSTER_DETAIL_LINKAGE_MATRIX_HPP

// A condensed matrix of distances: the upper triangle, row by row, as SciPy's pdist gives it. T is float or double;
// everything is computed in double and rounded when stored.
//
//     linkage_matrix<double> m(ctx, x, linkage_metric::euclidean);
//     m(3, 8), m(8, 3);                                   // the same element; there is no diagonal
//     m.keep(places);                                     // the matrix of these rows alone, in the same memory

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "instar/cluster/detail/linkage_distances.hpp"
#include "instar/core/cpu_context.hpp"
#include "instar/core/parallel_for.hpp"
#include "instar/core/tensor.hpp"

namespace instar::cluster::detail {

template <class T>
class linkage_matrix {
public:
    explicit linkage_matrix(index_t n) : n_(n), memory_(static_cast<std::size_t>(elements(n)) * sizeof(T)), data_(static_cast<T*>(memory_.data())) {}

    /// Distances of the rows of x.
    linkage_matrix(cpu_context& ctx, tensor_view<const float, 2> x, linkage_metric metric) : linkage_matrix(x.extent(0)) {
        const point_metric m(metric);
        const index_t depth = x.extent(1), n_panels = (n_ + 7) / 8;
        const tensor<double, 2> rows = m.rows(ctx, x);
        tensor<double, 1> panels({n_panels * 8 * depth});
        for (index_t j = 0; j < n_; ++j) {
            double* column = panel_column(panels.data(), depth, j);
            for (index_t p = 0; p < depth; ++p) column[p * 8] = rows(j, p);
        }
        // Panels in runs that stay in cache while a few rows pass over them.
        const index_t run = std::clamp<index_t>(32'768 / (64 * depth), 4, 64);
        parallel_for(ctx, n_, 32, [&](index_t begin, index_t end) {
            std::vector<double> out(static_cast<std::size_t>(8 * run));
            for (index_t q = (begin + 1) / 8; q < n_panels; q += run) {
                const index_t n_run = std::min(run, n_panels - q);
                for (index_t i = begin; i < end; ++i) {
                    m.distances(out.data(), depth, rows.data() + i * depth, panels.data() + q * 8 * depth, n_run);
                    for (index_t j = std::max(i + 1, q * 8), last = std::min(n_, (q + n_run) * 8); j < last; ++j) {
                        (*this)(i, j) = static_cast<T>(out[static_cast<std::size_t>(j - q * 8)]);
                    }
                }
            }
        });
    }

    static index_t elements(index_t n) { return n * (n - 1) / 2; }
    static std::size_t bytes(index_t n) { return static_cast<std::size_t>(elements(n)) * sizeof(T); }

    index_t n() const { return n_; }
    T* data() { return data_; }
    /// Elements (i, i + 1), (i, i + 2), …
    T* row(index_t i) { return data_ + (i * n_ - i * (i + 1) / 2); }
    const T* row(index_t i) const { return data_ + (i * n_ - i * (i + 1) / 2); }
    T& operator()(index_t i, index_t j) { return i < j ? row(i)[j - i - 1] : row(j)[i - j - 1]; }
    T operator()(index_t i, index_t j) const { return i < j ? row(i)[j - i - 1] : row(j)[i - j - 1]; }

    /// f(j, distance) for j ≠ i in [0, n), ascending.
    template <class F>
    void for_each_in_row(index_t i, F&& f) const {
        index_t at = i - 1;  // (0, i); one row down it is n − 2 further, then n − 3, …
        constexpr index_t k_ahead = 16;
        for (index_t j = 0; j < i; ++j) {
            __builtin_prefetch(data_ + std::min(at + k_ahead * (n_ - 2 - j) - k_ahead * (k_ahead - 1) / 2, elements(n_) - 1));
            f(j, static_cast<double>(data_[at]));
            at += n_ - 2 - j;
        }
        const T* mine = row(i);
        for (index_t j = i + 1; j < n_; ++j) f(j, static_cast<double>(mine[j - i - 1]));
    }

    /// Keeps the rows and columns `places`, ascending, numbered anew.
    void keep(const std::vector<std::int32_t>& places) {
        T* out = data_;
        for (std::size_t a = 0; a < places.size(); ++a) {
            const T* from = row(places[a]);
            for (std::size_t b = a + 1; b < places.size(); ++b) *out++ = from[places[b] - places[a] - 1];
        }
        n_ = static_cast<index_t>(places.size());
    }

private:
    index_t n_;
    memory_block<> memory_;
    T* data_;
};

}  // namespace instar::cluster::detail

#endif
