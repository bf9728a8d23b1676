#ifndef INSTAR_OPS_REF_LAYER_NORM_HPP
#define INSTAR_OPS_REF_LAYER_NORM_HPP

// Reference layer normalisation: two passes in double, a row at a time.
//
//     ops::ref::layer_norm_forward(y, {mean, rstd}, x, weight, bias, 1e-12);

#include <cmath>
#include <vector>

#include "instar/ops/layer_norm.hpp"
#include "instar/ops/ref/convert.hpp"

namespace instar::ops::ref {

template <class T>
void layer_norm_forward(tensor_view<T, 2> y, std::type_identity_t<layer_norm_saved<T>> saved, in_view<T, 2> x, in_view<T, 1> weight,
                        in_view<T, 1> bias, double eps) {
    const index_t d = x.extent(1);
    for (index_t r = 0; r < x.extent(0); ++r) {
        double mean = 0.0;
        for (index_t j = 0; j < d; ++j) mean += as_double(x(r, j));
        mean /= static_cast<double>(d);
        double var = 0.0;
        for (index_t j = 0; j < d; ++j) var += (as_double(x(r, j)) - mean) * (as_double(x(r, j)) - mean);
        var /= static_cast<double>(d);
        const double rstd = 1.0 / std::sqrt(var + eps);
        saved.mean(r) = from_double<accumulator_t<T>>(mean);
        saved.rstd(r) = from_double<accumulator_t<T>>(rstd);
        for (index_t j = 0; j < d; ++j) {
            y(r, j) = from_double<T>((as_double(x(r, j)) - mean) * rstd * as_double(weight(j)) + as_double(bias(j)));
        }
    }
}

/// With xh = (x − mean) · rstd and g = dy · weight: dx = rstd · (g − mean(g) − xh · mean(g · xh)).
template <class T>
void layer_norm_backward(tensor_view<T, 2> dx, out_view<T, 1> dweight, out_view<T, 1> dbias, in_view<T, 2> dy,
                         std::type_identity_t<layer_norm_saved<T>> saved, in_view<T, 2> x, in_view<T, 1> weight) {
    const index_t d = x.extent(1);
    std::vector<double> dw(static_cast<std::size_t>(d)), db(static_cast<std::size_t>(d));
    for (index_t r = 0; r < x.extent(0); ++r) {
        const double mean = as_double(saved.mean(r)), rstd = as_double(saved.rstd(r));
        double sum_g = 0.0, sum_gx = 0.0;
        for (index_t j = 0; j < d; ++j) {
            const double g = as_double(dy(r, j)) * as_double(weight(j));
            const double xh = (as_double(x(r, j)) - mean) * rstd;
            sum_g += g;
            sum_gx += g * xh;
            dw[static_cast<std::size_t>(j)] += as_double(dy(r, j)) * xh;
            db[static_cast<std::size_t>(j)] += as_double(dy(r, j));
        }
        for (index_t j = 0; j < d; ++j) {
            const double g = as_double(dy(r, j)) * as_double(weight(j));
            const double xh = (as_double(x(r, j)) - mean) * rstd;
            dx(r, j) = from_double<T>(rstd * (g - sum_g / static_cast<double>(d) - xh * sum_gx / static_cast<double>(d)));
        }
    }
    for (index_t j = 0; j < d; ++j) {
        dweight(j) = from_double<T>(as_double(dweight(j)) + dw[static_cast<std::size_t>(j)]);
        dbias(j) = from_double<T>(as_double(dbias(j)) + db[static_cast<std::size_t>(j)]);
    }
}

}  // namespace instar::ops::ref

#endif
