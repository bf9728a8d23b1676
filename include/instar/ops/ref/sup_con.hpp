#ifndef INSTAR_OPS_REF_SUP_CON_HPP
#define INSTAR_OPS_REF_SUP_CON_HPP

// Reference supervised contrastive loss: the whole n × n matrix in double.
//
//     ops::ref::sup_con(loss, dz, z, labels, {.temperature = 0.1});

#include <cmath>
#include <limits>
#include <vector>

#include "instar/ops/ref/convert.hpp"
#include "instar/ops/sup_con.hpp"

namespace instar::ops::ref {

/// With p_ij = exp s_ij / Σ_{a ≠ i} exp s_ia and G_ij = ∂loss_i/∂s_ij = p_ij − [j ∈ P(i)]/|P(i)| (0 for j = i):
/// dz_i += Σ_j (G_ij + G_ji) z_j / temperature.
template <class T>
void sup_con(out_view<accumulator_t<T>, 1> loss, tensor_view<T, 2> dz, in_view<T, 2> z, tensor_view<const std::int32_t, 1> labels,
             sup_con_options options) {
    const index_t n = z.extent(0), d = z.extent(1);
    const auto at = [n](index_t i, index_t j) { return static_cast<std::size_t>(i * n + j); };
    std::vector<double> g(static_cast<std::size_t>(n * n));
    for (index_t i = 0; i < n; ++i) {
        index_t n_positives = 0;
        double max = -std::numeric_limits<double>::infinity();
        std::vector<double> s(static_cast<std::size_t>(n));
        for (index_t j = 0; j < n; ++j) {
            double dot = 0.0;
            for (index_t k = 0; k < d; ++k) dot += as_double(z(i, k)) * as_double(z(j, k));
            s[static_cast<std::size_t>(j)] = dot / options.temperature;
            if (j == i) continue;
            max = std::fmax(max, s[static_cast<std::size_t>(j)]);
            n_positives += labels(i) >= 0 && labels(j) == labels(i);
        }
        loss(i) = 0;
        if (n_positives == 0) continue;
        double sum = 0.0;
        for (index_t j = 0; j < n; ++j) {
            if (j != i) sum += std::exp(s[static_cast<std::size_t>(j)] - max);
        }
        const double lse = max + std::log(sum);
        double value = 0.0;
        for (index_t j = 0; j < n; ++j) {
            if (j == i) continue;
            const bool positive = labels(j) == labels(i);
            if (positive) value += lse - s[static_cast<std::size_t>(j)];
            const double target = positive ? 1.0 / static_cast<double>(n_positives) : 0.0;
            g[at(i, j)] = (std::exp(s[static_cast<std::size_t>(j)] - lse) - target) / options.denominator;
        }
        loss(i) = from_double<accumulator_t<T>>(value / static_cast<double>(n_positives) / options.denominator);
    }
    for (index_t i = 0; i < n; ++i) {
        for (index_t k = 0; k < d; ++k) {
            double sum = 0.0;
            for (index_t j = 0; j < n; ++j) sum += (g[at(i, j)] + g[at(j, i)]) * as_double(z(j, k));
            dz(i, k) = from_double<T>(as_double(dz(i, k)) + sum / options.temperature);
        }
    }
}

}  // namespace instar::ops::ref

#endif
