#ifndef INSTAR_OPS_REF_ATTENTION_HPP
#define INSTAR_OPS_REF_ATTENTION_HPP

// Reference attention: a query at a time, scores of one row in a vector, everything in double.
//
//     ops::ref::attention_forward(o, {lse}, q, k, v, key_mask, {.scale = 0.125});
//     ops::ref::attention_backward(dq, dk, dv, d_o, o, {lse}, q, k, v, key_mask, {.scale = 0.125});

#include <cmath>
#include <limits>
#include <vector>

#include "instar/ops/attention.hpp"
#include "instar/ops/ref/dropout.hpp"

namespace instar::ops::ref {

namespace detail {

inline bool key_kept(const tensor_view<const std::uint8_t, 2>& key_mask, index_t b, index_t j) {
    return key_mask.size() == 0 || key_mask(b, j) != 0;
}

/// Σ_c x(b, i, h, c) · y(b, j, h, c).
template <class T>
double dot_rows(const tensor_view<const T, 4>& x, const tensor_view<const T, 4>& y, index_t b, index_t i, index_t j,
                index_t h) {
    double sum = 0.0;
    for (index_t c = 0; c < x.extent(3); ++c) sum += as_double(x(b, i, h, c)) * as_double(y(b, j, h, c));
    return sum;
}

}  // namespace detail

/// o_i = Σ_j dropout(softmax_j(scale · q_i · k_j)) · v_j over the keys that the mask keeps; lse_i = log Σ_j exp(s_ij).
template <class T>
void attention_forward(tensor_view<T, 4> o, std::type_identity_t<attention_saved<T>> saved, in_view<T, 4> q,
                       in_view<T, 4> k, in_view<T, 4> v, tensor_view<const std::uint8_t, 2> key_mask,
                       attention_options options) {
    constexpr double k_infinity = std::numeric_limits<double>::infinity();
    const index_t n_batch = o.extent(0), seq_len = o.extent(1), n_heads = o.extent(2), d_head = o.extent(3);
    std::vector<double> p(static_cast<std::size_t>(seq_len));
    for (index_t b = 0; b < n_batch; ++b) {
        for (index_t h = 0; h < n_heads; ++h) {
            for (index_t i = 0; i < seq_len; ++i) {
                double max = -k_infinity;
                for (index_t j = 0; j < seq_len; ++j) {
                    double& s = p[static_cast<std::size_t>(j)];
                    s = detail::key_kept(key_mask, b, j) ? options.scale * detail::dot_rows<T>(q, k, b, i, j, h)
                                                         : -k_infinity;
                    max = std::fmax(max, s);
                }
                double sum = 0.0;
                // Every key masked: exp(−∞ + ∞) would be NaN; the row is defined as zero.
                if (max > -k_infinity) {
                    for (double& s : p) sum += s = std::exp(s - max);
                }
                saved.lse(b, h, i) = static_cast<accumulator_t<T>>(sum > 0.0 ? max + std::log(sum) : -k_infinity);
                std::vector<double> out(static_cast<std::size_t>(d_head));
                for (index_t j = 0; j < seq_len; ++j) {
                    if (!detail::key_kept(key_mask, b, j)) continue;
                    const double factor =
                        dropout_factor(options.dropout, ((b * n_heads + h) * seq_len + i) * seq_len + j);
                    const double weight = p[static_cast<std::size_t>(j)] / sum * factor;
                    for (index_t c = 0; c < d_head; ++c)
                        out[static_cast<std::size_t>(c)] += weight * as_double(v(b, j, h, c));
                }
                for (index_t c = 0; c < d_head; ++c) o(b, i, h, c) = from_double<T>(out[static_cast<std::size_t>(c)]);
            }
        }
    }
}

/// With p_ij = exp(s_ij − lse_i), f_ij = dropout's factor, D_i = d_o_i · o_i and ds_ij = p_ij (f_ij d_o_i · v_j − D_i):
/// dv_j = Σ_i f_ij p_ij d_o_i;   dq_i = scale Σ_j ds_ij k_j;   dk_j = scale Σ_i ds_ij q_i.
template <class T>
void attention_backward(tensor_view<T, 4> dq, out_view<T, 4> dk, out_view<T, 4> dv, in_view<T, 4> d_o, in_view<T, 4> o,
                        std::type_identity_t<attention_saved<T>> saved, in_view<T, 4> q, in_view<T, 4> k,
                        in_view<T, 4> v, tensor_view<const std::uint8_t, 2> key_mask, attention_options options) {
    const index_t n_batch = dq.extent(0), seq_len = dq.extent(1), n_heads = dq.extent(2), d_head = dq.extent(3);
    const auto n = static_cast<std::size_t>(seq_len * d_head);
    for (index_t b = 0; b < n_batch; ++b) {
        for (index_t h = 0; h < n_heads; ++h) {
            std::vector<double> sum_dq(n), sum_dk(n), sum_dv(n);
            for (index_t i = 0; i < seq_len; ++i) {
                const double row_dot = detail::dot_rows<T>(d_o, o, b, i, i, h);
                for (index_t j = 0; j < seq_len; ++j) {
                    if (!detail::key_kept(key_mask, b, j)) continue;
                    const double s = options.scale * detail::dot_rows<T>(q, k, b, i, j, h);
                    const double p = std::exp(s - static_cast<double>(saved.lse(b, h, i)));
                    const double factor =
                        dropout_factor(options.dropout, ((b * n_heads + h) * seq_len + i) * seq_len + j);
                    const double ds = p * (factor * detail::dot_rows<T>(d_o, v, b, i, j, h) - row_dot);
                    for (index_t c = 0; c < d_head; ++c) {
                        sum_dv[static_cast<std::size_t>(j * d_head + c)] += factor * p * as_double(d_o(b, i, h, c));
                        sum_dq[static_cast<std::size_t>(i * d_head + c)] +=
                            options.scale * ds * as_double(k(b, j, h, c));
                        sum_dk[static_cast<std::size_t>(j * d_head + c)] +=
                            options.scale * ds * as_double(q(b, i, h, c));
                    }
                }
            }
            for (index_t i = 0; i < seq_len; ++i) {
                for (index_t c = 0; c < d_head; ++c) {
                    const auto at = static_cast<std::size_t>(i * d_head + c);
                    dq(b, i, h, c) = from_double<T>(sum_dq[at]);
                    dk(b, i, h, c) = from_double<T>(sum_dk[at]);
                    dv(b, i, h, c) = from_double<T>(sum_dv[at]);
                }
            }
        }
    }
}

}  // namespace instar::ops::ref

#endif
