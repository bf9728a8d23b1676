#ifndef INSTAR_OPS_REF_INFO_NCE_HPP
#define INSTAR_OPS_REF_INFO_NCE_HPP

// Reference InfoNCE: the whole n × m matrix of logits in double.
//
//     ops::ref::info_nce_forward<float>(saved, a, b, logit_scale, {});

#include <cmath>
#include <limits>
#include <vector>

#include "instar/ops/info_nce.hpp"
#include "instar/ops/ref/convert.hpp"

namespace instar::ops::ref {

/// Logits and targets, rows by columns. A logit is −∞ where either sample takes no part.
struct info_nce_matrix {
    index_t n, m;
    std::vector<double> z, target;

    double& logit(index_t i, index_t j) { return z[static_cast<std::size_t>(i * m + j)]; }
    double& is_partner(index_t i, index_t j) { return target[static_cast<std::size_t>(i * m + j)]; }
};

template <class T>
info_nce_matrix make_info_nce_matrix(const tensor_view<const T, 2>& a, const tensor_view<const T, 2>& b, double scale,
                                     const info_nce_targets& t) {
    info_nce_matrix x{a.extent(0), b.extent(0), {}, {}};
    x.z.assign(static_cast<std::size_t>(x.n * x.m), -std::numeric_limits<double>::infinity());
    x.target.assign(x.z.size(), 0.0);
    const bool labelled = t.row_labels.extent(0) != 0;
    for (index_t i = 0; i < x.n; ++i) {
        for (index_t j = 0; j < x.m; ++j) {
            if ((t.row_mask.extent(0) != 0 && t.row_mask(i) == 0) ||
                (t.column_mask.extent(0) != 0 && t.column_mask(j) == 0))
                continue;
            double dot = 0.0;
            for (index_t k = 0; k < a.extent(1); ++k) dot += as_double(a(i, k)) * as_double(b(j, k));
            x.logit(i, j) = scale * dot;
            const bool partners =
                labelled ? t.row_labels(i) >= 0 && t.row_labels(i) == t.column_labels(j) : j == i + t.diagonal;
            x.is_partner(i, j) = partners ? 1.0 : 0.0;
        }
    }
    return x;
}

template <class T>
void info_nce_forward(std::type_identity_t<info_nce_saved<accumulator_t<T>>> saved, in_view<T, 2> a, in_view<T, 2> b,
                      in_view<accumulator_t<T>, 1> logit_scale, info_nce_targets targets) {
    info_nce_matrix x = make_info_nce_matrix<T>(a, b, std::exp(as_double(logit_scale(0))), targets);
    const auto write = [&](const info_nce_side<accumulator_t<T>>& side, index_t i, index_t n_others, auto&& place) {
        double max = -std::numeric_limits<double>::infinity(), sum = 0.0, positive = 0.0, count = 0.0;
        for (index_t k = 0; k < n_others; ++k) max = std::fmax(max, x.z[place(k)]);
        for (index_t k = 0; k < n_others; ++k) {
            if (!std::isinf(x.z[place(k)])) sum += std::exp(x.z[place(k)] - max);
            if (x.target[place(k)] == 0.0) continue;
            positive += x.z[place(k)];
            count += 1.0;
        }
        side.max(i) = from_double<accumulator_t<T>>(max);
        side.sum(i) = from_double<accumulator_t<T>>(sum);
        side.positive(i) = from_double<accumulator_t<T>>(positive);
        side.count(i) = from_double<accumulator_t<T>>(count);
    };
    for (index_t i = 0; i < x.n; ++i)
        write(saved.row, i, x.m, [&](index_t k) { return static_cast<std::size_t>(i * x.m + k); });
    for (index_t j = 0; j < saved.column.size(); ++j)
        write(saved.column, j, x.n, [&](index_t k) { return static_cast<std::size_t>(k * x.m + j); });
}

/// A direction's weight: divided by its anchors when `mean`.
template <class A>
double info_nce_weight(const info_nce_side<A>& side, double weight, bool mean) {
    double n_anchors = 0.0;
    for (index_t i = 0; i < side.size(); ++i) n_anchors += side.count(i) > A(0) ? 1.0 : 0.0;
    return mean ? (n_anchors > 0.0 ? weight / n_anchors : 0.0) : weight;
}

template <class T>
void info_nce_loss(out_view<accumulator_t<T>, 1> row_loss, out_view<accumulator_t<T>, 1> column_loss,
                   std::type_identity_t<info_nce_saved<accumulator_t<T>>> saved, info_nce_options options) {
    using A = accumulator_t<T>;
    const auto write = [&](const tensor_view<A, 1>& loss, const info_nce_side<A>& side, double weight) {
        const double w = info_nce_weight(side, weight, options.mean);
        for (index_t i = 0; i < loss.extent(0); ++i) {
            const double count = as_double(side.count(i));
            const double each =
                count * (as_double(side.max(i)) + std::log(as_double(side.sum(i)))) - as_double(side.positive(i));
            loss(i) = count == 0.0 ? A(0) : from_double<A>(w * each / (options.normalize_targets ? count : 1.0));
        }
    };
    write(row_loss, saved.row, options.row_weight);
    write(column_loss, saved.column, options.column_weight);
}

template <class T>
void info_nce_backward(tensor_view<T, 2> da, out_view<T, 2> db, out_view<accumulator_t<T>, 1> d_logit_scale,
                       std::type_identity_t<info_nce_saved<accumulator_t<T>>> saved, in_view<T, 2> a, in_view<T, 2> b,
                       in_view<accumulator_t<T>, 1> logit_scale, info_nce_targets targets, info_nce_options options) {
    const double scale = std::exp(as_double(logit_scale(0)));
    info_nce_matrix x = make_info_nce_matrix<T>(a, b, scale, targets);
    std::vector<double> g(x.z.size());
    double moment = 0.0;
    const auto add = [&](const info_nce_side<accumulator_t<T>>& side, index_t i, index_t n_others, double w,
                         auto&& place) {
        const double count = as_double(side.count(i));
        if (count == 0.0) return;
        const double each =
            options.normalize_targets ? w / count : w;  // of each partner; all of them together: each · count
        for (index_t k = 0; k < n_others; ++k) {
            const std::size_t at = place(k);
            g[at] +=
                each * (count * std::exp(x.z[at] - as_double(side.max(i))) / as_double(side.sum(i)) - x.target[at]);
        }
    };
    const double row_weight = info_nce_weight(saved.row, options.row_weight, options.mean);
    const double column_weight = info_nce_weight(saved.column, options.column_weight, options.mean);
    for (index_t i = 0; i < x.n; ++i)
        add(saved.row, i, x.m, row_weight, [&](index_t k) { return static_cast<std::size_t>(i * x.m + k); });
    for (index_t j = 0; j < saved.column.size(); ++j) {
        add(saved.column, j, x.n, column_weight, [&](index_t k) { return static_cast<std::size_t>(k * x.m + j); });
    }
    for (index_t i = 0; i < x.n; ++i) {
        for (index_t j = 0; j < x.m; ++j) {
            const double gij = g[static_cast<std::size_t>(i * x.m + j)];
            if (gij != 0.0) moment += gij * x.logit(i, j);
        }
        for (index_t k = 0; k < da.extent(1); ++k) {
            double sum = 0.0;
            for (index_t j = 0; j < x.m; ++j) sum += g[static_cast<std::size_t>(i * x.m + j)] * as_double(b(j, k));
            da(i, k) = from_double<T>(as_double(da(i, k)) + scale * sum);
        }
    }
    for (index_t j = 0; j < db.extent(0); ++j) {
        for (index_t k = 0; k < a.extent(1); ++k) {
            double sum = 0.0;
            for (index_t i = 0; i < x.n; ++i) sum += g[static_cast<std::size_t>(i * x.m + j)] * as_double(a(i, k));
            db(j, k) = from_double<T>(as_double(db(j, k)) + scale * sum);
        }
    }
    if (d_logit_scale.extent(0) != 0)
        d_logit_scale(0) = from_double<accumulator_t<T>>(as_double(d_logit_scale(0)) + moment);
}

}  // namespace instar::ops::ref

#endif
