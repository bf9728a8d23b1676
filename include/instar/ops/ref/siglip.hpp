#ifndef INSTAR_OPS_REF_SIGLIP_HPP
#define INSTAR_OPS_REF_SIGLIP_HPP

// Reference sigmoid loss: the whole n × m matrix in double.
//
//     ops::ref::siglip<float>(loss, da, db, d_logit_scale, d_logit_bias, a, b, logit_scale, logit_bias, {}, {});

#include <vector>

#include "instar/ops/ref/info_nce.hpp"
#include "instar/ops/siglip.hpp"

namespace instar::ops::ref {

template <class T>
void siglip(out_view<accumulator_t<T>, 1> loss, out_view<T, 2> da, out_view<T, 2> db,
            out_view<accumulator_t<T>, 1> d_logit_scale, out_view<accumulator_t<T>, 1> d_logit_bias, in_view<T, 2> a,
            in_view<T, 2> b, in_view<accumulator_t<T>, 1> logit_scale, in_view<accumulator_t<T>, 1> logit_bias,
            info_nce_targets targets, siglip_options options) {
    const double scale = std::exp(as_double(logit_scale(0))), bias = as_double(logit_bias(0));
    info_nce_matrix x = make_info_nce_matrix<T>(a, b, scale, targets);
    double n_present = 0.0;
    for (index_t i = 0; i < x.n; ++i)
        n_present += targets.row_mask.extent(0) == 0 || targets.row_mask(i) != 0 ? 1.0 : 0.0;
    const double w = options.mean ? (n_present > 0.0 ? options.weight / n_present : 0.0) : options.weight;
    std::vector<double> g(x.z.size());
    double by_scale = 0.0, by_bias = 0.0;
    for (index_t i = 0; i < x.n; ++i) {
        double sum = 0.0;
        for (index_t j = 0; j < x.m; ++j) {
            if (std::isinf(x.logit(i, j))) continue;  // takes no part
            const double t = x.is_partner(i, j) != 0.0 ? 1.0 : -1.0, z = x.logit(i, j) + bias, y = -t * z;
            sum += std::fmax(y, 0.0) + std::log1p(std::exp(-std::fabs(y)));
            const double gij = -t * w / (1.0 + std::exp(-y));
            by_scale += gij * x.logit(i, j);
            by_bias += gij;
            g[static_cast<std::size_t>(i * x.m + j)] = gij;
        }
        loss(i) = from_double<accumulator_t<T>>(w * sum);
    }
    const auto add = [&](const tensor_view<T, 2>& to, index_t row, const tensor_view<const T, 2>& from, auto&& place) {
        for (index_t k = 0; k < to.extent(1); ++k) {
            double sum = 0.0;
            for (index_t other = 0; other < from.extent(0); ++other)
                sum += g[static_cast<std::size_t>(place(other))] * as_double(from(other, k));
            to(row, k) = from_double<T>(as_double(to(row, k)) + scale * sum);
        }
    };
    for (index_t i = 0; i < da.extent(0); ++i) add(da, i, b, [&](index_t j) { return i * x.m + j; });
    for (index_t j = 0; j < db.extent(0); ++j) add(db, j, a, [&](index_t i) { return i * x.m + j; });
    using A = accumulator_t<T>;
    if (d_logit_scale.extent(0) != 0) d_logit_scale(0) = from_double<A>(as_double(d_logit_scale(0)) + by_scale);
    if (d_logit_bias.extent(0) != 0) d_logit_bias(0) = from_double<A>(as_double(d_logit_bias(0)) + by_bias);
}

}  // namespace instar::ops::ref

#endif
