#ifndef INSTAR_CORE_RESAMPLE_HPP
#define INSTAR_CORE_RESAMPLE_HPP

// Weights for resizing along one axis, antialiased as Pillow and PyTorch do it: images (data/image_resize.hpp) and a vision transformer's grid
// of positions (nn/vit_io.hpp) are both made of them.
//
//     const detail::resize_weights w(480, 256, resample::bilinear);
//     for (index_t t = 0; t < w.count[i]; ++t) y[i] += w.weight[i * w.width + t] * x[w.first[i] + t];

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "instar/core/element.hpp"

namespace instar {

enum class resample {
    bilinear,  ///< a triangle
    bicubic    ///< Keys' cubic with a = −1/2
};

namespace detail {

/// For each output pixel: the first source pixel, and the weights of it and its neighbours. They add up to 1.
struct resize_weights {
    index_t width = 0;  // weights kept for each output pixel
    std::vector<index_t> first, count;
    std::vector<double> weight;  // [n_out, width]

    resize_weights(index_t n_in, index_t n_out, resample filter) {
        const double scale = static_cast<double>(n_in) / static_cast<double>(n_out), spread = std::max(scale, 1.0);
        const double support = (filter == resample::bilinear ? 1.0 : 2.0) * spread;
        width = static_cast<index_t>(std::ceil(support)) * 2 + 1;
        first.resize(static_cast<std::size_t>(n_out));
        count.resize(first.size());
        weight.assign(first.size() * static_cast<std::size_t>(width), 0.0);
        for (index_t i = 0; i < n_out; ++i) {
            const double center = (static_cast<double>(i) + 0.5) * scale;
            const index_t begin = std::max<index_t>(0, static_cast<index_t>(center - support + 0.5)), end = std::min(n_in, static_cast<index_t>(center + support + 0.5));
            double* const w = &weight[static_cast<std::size_t>(i * width)];
            double sum = 0.0;
            for (index_t x = begin; x < end; ++x) sum += w[x - begin] = value((static_cast<double>(x) - center + 0.5) * (1.0 / spread), filter);
            for (index_t x = begin; x < end; ++x) w[x - begin] /= sum;
            first[static_cast<std::size_t>(i)] = begin;
            count[static_cast<std::size_t>(i)] = end - begin;
        }
    }
    static double value(double x, resample filter) {
        x = std::fabs(x);
        if (filter == resample::bilinear) return x < 1.0 ? 1.0 - x : 0.0;
        constexpr double a = -0.5;
        if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
        return x < 2.0 ? (((x - 5.0) * x + 8.0) * x - 4.0) * a : 0.0;
    }
    /// In units of 2⁻²², rounded away from zero at one half.
    std::vector<std::int32_t> fixed() const {
        std::vector<std::int32_t> k;
        k.reserve(weight.size());
        for (const double w : weight) k.push_back(static_cast<std::int32_t>(w * 4194304.0 + (w < 0.0 ? -0.5 : 0.5)));
        return k;
    }
};

}  // namespace detail

}  // namespace instar

#endif
