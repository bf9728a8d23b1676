#ifndef INSTAR_CLUSTER_DETAIL_SYMMETRIC_EIGEN_HPP
#define INSTAR_CLUSTER_DETAIL_SYMMETRIC_EIGEN_HPP

// All eigenvalues and eigenvectors of a symmetric matrix of doubles, n up to a few thousand.
//
//     auto e = symmetric_eigen(n, matrix);      // matrix: n·n doubles, row-major, the lower half is read
//     e.values[i];                              // ascending
//     e.vectors[i * n + p];                     // vector i, of length 1, as a row
//
// Householder's reduction to a tridiagonal matrix, then QL with implicit shifts (Bowdler, Martin, Reinsch, Wilkinson 1968, Numerische
// Mathematik 11; Golub, Van Loan, section 8.3). One thread: the same bits always. About 9·n³ FLOP.

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "instar/core/error.hpp"
#include "instar/core/tensor_view.hpp"

namespace instar::cluster::detail {

struct eigen_result {
    std::vector<double> values, vectors;
};

inline eigen_result symmetric_eigen(index_t n, std::vector<double> a) {
    const auto at = [n](index_t r, index_t c) { return static_cast<std::size_t>(r * n + c); };
    const auto u = [](index_t i) { return static_cast<std::size_t>(i); };
    std::vector<double> diagonal(u(n), 0.0), off(u(n), 0.0), reflector_scale(u(n), 0.0), p(u(n), 0.0);
    // Reduction: step k reflects the part of column k below the diagonal onto its first element. Row k keeps the reflector.
    for (index_t k = 0; k + 1 < n; ++k) {
        std::vector<double> v(u(n), 0.0);
        double norm = 0.0;
        for (index_t i = k + 1; i < n; ++i) {
            v[u(i)] = a[at(i, k)];
            norm += v[u(i)] * v[u(i)];
        }
        norm = std::sqrt(norm);
        off[u(k)] = 0.0;
        if (norm > 0.0) {
            const double alpha = v[u(k + 1)] > 0.0 ? -norm : norm;
            v[u(k + 1)] -= alpha;
            const double squares = std::inner_product(v.begin() + k + 1, v.end(), v.begin() + k + 1, 0.0);
            off[u(k)] = alpha;
            if (squares > 0.0) {
                // A ← H A H with H = I − 2 v vᵀ / vᵀv:  w = 2 A v / vᵀv,  A ← A − v wᵀ − w vᵀ + …, on the lower half.
                const double scale = 2.0 / squares;
                std::fill(p.begin() + k + 1, p.end(), 0.0);
                for (index_t i = k + 1; i < n; ++i) {
                    const double* row = a.data() + at(i, 0);
                    double sum = 0.0;
                    const double vi = v[u(i)];
                    for (index_t j = k + 1; j < i; ++j) {
                        sum += row[j] * v[u(j)];
                        p[u(j)] += row[j] * vi;
                    }
                    p[u(i)] += sum + row[i] * vi;
                }
                double dot = 0.0;
                for (index_t i = k + 1; i < n; ++i) {
                    p[u(i)] *= scale;
                    dot += p[u(i)] * v[u(i)];
                }
                const double half = 0.5 * scale * dot;
                for (index_t i = k + 1; i < n; ++i) p[u(i)] -= half * v[u(i)];
                for (index_t i = k + 1; i < n; ++i) {
                    double* row = a.data() + at(i, 0);
                    const double vi = v[u(i)], pi = p[u(i)];
                    for (index_t j = k + 1; j <= i; ++j) row[j] -= vi * p[u(j)] + pi * v[u(j)];
                }
                reflector_scale[u(k)] = scale;
            }
        }
        for (index_t i = k + 1; i < n; ++i) a[at(k, i)] = v[u(i)];  // the upper half is free
    }
    for (index_t i = 0; i < n; ++i) diagonal[u(i)] = a[at(i, i)];
    // Rows of q: the transformation so far, built backwards; row i becomes eigenvector i.
    std::vector<double> q(u(n * n), 0.0);
    for (index_t i = 0; i < n; ++i) q[at(i, i)] = 1.0;
    for (index_t k = n - 2; k >= 0; --k) {
        if (reflector_scale[u(k)] == 0.0) continue;
        const double* v = a.data() + at(k, 0);
        // q holds H_{k+1} … as rows = columns of the product; q ← q · H_k on columns > k, for rows > k.
        for (index_t r = k + 1; r < n; ++r) {
            double* row = q.data() + at(r, 0);
            double dot = 0.0;
            for (index_t c = k + 1; c < n; ++c) dot += row[c] * v[c];
            dot *= reflector_scale[u(k)];
            for (index_t c = k + 1; c < n; ++c) row[c] -= dot * v[c];
        }
    }
    // QL on the tridiagonal matrix (diagonal, off): rotations act on pairs of rows of q.
    for (index_t l = 0; l < n; ++l) {
        for (int sweep = 0;; ++sweep) {
            index_t m = l;
            for (; m + 1 < n; ++m) {
                const double size = std::fabs(diagonal[u(m)]) + std::fabs(diagonal[u(m + 1)]);
                if (std::fabs(off[u(m)]) <= std::numeric_limits<double>::epsilon() * size) break;
            }
            if (m == l) break;
            if (sweep == 100) throw error("symmetric_eigen: eigenvalue " + std::to_string(l) + " of " + std::to_string(n) + " does not converge");
            double g = (diagonal[u(l + 1)] - diagonal[u(l)]) / (2.0 * off[u(l)]), r = std::hypot(g, 1.0);
            g = diagonal[u(m)] - diagonal[u(l)] + off[u(l)] / (g + std::copysign(r, g));
            double s = 1.0, c = 1.0, shift = 0.0;
            bool early = false;
            for (index_t i = m - 1; i >= l; --i) {
                double f = s * off[u(i)];
                const double b = c * off[u(i)];
                r = std::hypot(f, g);
                off[u(i + 1)] = r;
                if (r == 0.0) {
                    diagonal[u(i + 1)] -= shift;
                    off[u(m)] = 0.0;
                    early = true;
                    break;
                }
                s = f / r;
                c = g / r;
                g = diagonal[u(i + 1)] - shift;
                r = (diagonal[u(i)] - g) * s + 2.0 * c * b;
                shift = s * r;
                diagonal[u(i + 1)] = g + shift;
                g = c * r - b;
                double *const low = q.data() + at(i, 0), *const high = q.data() + at(i + 1, 0);
                for (index_t k = 0; k < n; ++k) {
                    f = high[k];
                    high[k] = s * low[k] + c * f;
                    low[k] = c * low[k] - s * f;
                }
            }
            if (early) continue;
            diagonal[u(l)] -= shift;
            off[u(l)] = g;
            off[u(m)] = 0.0;
        }
    }
    std::vector<index_t> order(u(n));
    std::iota(order.begin(), order.end(), index_t{0});
    std::sort(order.begin(), order.end(), [&](index_t i, index_t j) { return diagonal[u(i)] < diagonal[u(j)] || (diagonal[u(i)] == diagonal[u(j)] && i < j); });
    eigen_result result{std::vector<double>(u(n)), std::vector<double>(u(n * n))};
    for (index_t i = 0; i < n; ++i) {
        result.values[u(i)] = diagonal[u(order[u(i)])];
        std::copy_n(q.data() + at(order[u(i)], 0), n, result.vectors.data() + at(i, 0));
    }
    return result;
}

}  // namespace instar::cluster::detail

#endif
