#ifndef INSTAR_CLUSTER_DETAIL_NEAREST_ROWS_ORDER_HPP
#define INSTAR_CLUSTER_DETAIL_NEAREST_ROWS_ORDER_HPP

// An order of points in which runs of `block` lie close together: halved at the median of the widest axis until small enough.
// This is a k-d tree's order; blocks then have small radii, and searches skip those that are far.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "instar/core/tensor_view.hpp"

namespace instar::cluster::detail {

class compact_order {
public:
    /// Rearranges `slots`, rows of `points`. The rows may be strided.
    compact_order(tensor_view<const double, 2> points, std::vector<std::int32_t>& slots, index_t block)
        : points_(points), slots_(slots), block_(block), sum_(static_cast<std::size_t>(points.extent(1))), squares_(sum_.size()) {
        halve(0, static_cast<index_t>(slots.size()));
    }

private:
    const double* row(index_t i) const { return points_.data() + slots_[static_cast<std::size_t>(i)] * points_.stride(0); }

    void halve(index_t begin, index_t end) {
        if (end - begin <= block_) return;
        const index_t axis = widest_axis(begin, end);
        const index_t middle = begin + ((end - begin) / 2 + block_ - 1) / block_ * block_;
        std::nth_element(slots_.begin() + begin, slots_.begin() + middle, slots_.begin() + end, [&](std::int32_t a, std::int32_t b) {
            const double x = points_(a, axis), y = points_(b, axis);
            return x < y || (x == y && a < b);
        });
        halve(begin, middle);
        halve(middle, end);
    }

    /// The coordinate of largest variance, told by a sample.
    index_t widest_axis(index_t begin, index_t end) {
        const index_t step = std::max<index_t>(1, (end - begin) / 1024);
        std::fill(sum_.begin(), sum_.end(), 0.0);
        std::fill(squares_.begin(), squares_.end(), 0.0);
        double n = 0.0;
        const double* about = row(begin);
        for (index_t i = begin; i < end; i += step, n += 1.0) {
            const double* x = row(i);
            for (std::size_t c = 0; c < sum_.size(); ++c) {
                const double d = x[c] - about[c];
                sum_[c] += d;
                squares_[c] += d * d;
            }
        }
        std::size_t axis = 0;
        for (std::size_t c = 1; c < sum_.size(); ++c) {
            if (squares_[c] - sum_[c] * sum_[c] / n > squares_[axis] - sum_[axis] * sum_[axis] / n) axis = c;
        }
        return static_cast<index_t>(axis);
    }

    tensor_view<const double, 2> points_;
    std::vector<std::int32_t>& slots_;
    index_t block_;
    std::vector<double> sum_, squares_;
};

}  // namespace instar::cluster::detail

#endif
