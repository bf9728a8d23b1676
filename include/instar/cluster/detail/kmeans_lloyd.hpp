#ifndef INSTAR_CLUSTER_DETAIL_KMEANS_LLOYD_HPP
#define INSTAR_CLUSTER_DETAIL_KMEANS_LLOYD_HPP

// Lloyd's iteration: every point to its nearest centre, every centre to the mean of its points.
//
//     kmeans_lloyd lloyd(points, k, spherical);
//     lloyd.assign(ctx, centers, kmeans_algorithm::automatic);     // lloyd.labels(), in the order of `points`
//     double shift = lloyd.update(ctx, centers);                   // Σ ‖new − old‖²
//
// The nearest centre is the one of largest x·c − ‖c‖²/2: tiles of a matrix product, reduced while they are in the cache. With filtering
// (Kanungo et al. 2002, IEEE PAMI 24), a block of 128 points that lie within R of p is compared with the centres c alone for which
// ‖c − p‖ ≤ min ‖c' − p‖ + 2R: no other can be nearest to any of them.

#include <functional>
#include <numeric>

#include "instar/cluster/detail/kmeans_algorithm.hpp"
#include "instar/cluster/detail/kmeans_points.hpp"
#include "instar/ops/cpu/gemm_serial.hpp"

namespace instar::cluster::detail {

class kmeans_lloyd {
public:
    kmeans_lloyd(const kmeans_points& points, index_t k, bool spherical)
        : points_(points), k_(k), spherical_(spherical), labels_(static_cast<std::size_t>(points.n()), -1), all_(static_cast<std::size_t>(k)), half_norms_(all_.size()) {
        std::iota(all_.begin(), all_.end(), 0);
    }

    const std::vector<std::int32_t>& labels() const { return labels_; }

    /// True when no label changed.
    bool assign(cpu_context& ctx, tensor_view<const float, 2> centers, kmeans_algorithm algorithm) {
        const index_t d = points_.d(), n_blocks = points_.n_blocks();
        double longest = 0.0;
        for (index_t c = 0; c < k_; ++c) {
            double norm = 0.0;
            for (index_t p = 0; p < d; ++p) norm += static_cast<double>(centers(c, p)) * static_cast<double>(centers(c, p));
            half_norms_[static_cast<std::size_t>(c)] = static_cast<float>(-0.5 * norm);
            longest = std::max(longest, norm);
        }
        const bool filter = algorithm == kmeans_algorithm::filtering || (algorithm == kmeans_algorithm::automatic && filtering_pays_ && k_ >= 32 && n_blocks >= 4);
        if (filter) filter_centers(ctx, centers, std::sqrt(longest));
        std::vector<char> changed(static_cast<std::size_t>(n_blocks), 0);
        std::vector<index_t> compared(changed.size(), k_);
        // Without filtering, blocks of a task share every panel of centres that is packed.
        parallel_for(ctx, n_blocks, k_group, [&](index_t begin, index_t end) {
            const index_t width = filter ? k_filtered_chunk : k_plain_chunk, step = filter ? 1 : k_group;
            std::vector<float> scores(static_cast<std::size_t>(step * k_kmeans_block * width)), gathered(filter ? static_cast<std::size_t>(width * d) : 0), norms(static_cast<std::size_t>(width));
            float best[k_group * k_kmeans_block];
            std::int32_t label[k_group * k_kmeans_block];
            for (index_t b = begin; b < end; b += step) {
                const index_t b1 = std::min(end, b + step), first = points_.first(b), n = points_.last(b1 - 1) - first;
                const std::vector<std::int32_t>& names = filter ? near_[static_cast<std::size_t>(b)] : all_;
                const auto n_names = static_cast<index_t>(names.size());
                compared[static_cast<std::size_t>(b)] = n_names;
                std::fill_n(best, n, -std::numeric_limits<float>::infinity());
                std::fill_n(label, n, 0);
                for (index_t j = 0; j < n_names; j += width) {
                    const index_t m = std::min(width, n_names - j);
                    const float* from = centers.data() + j * d;
                    const float* bias = half_norms_.data() + j;
                    if (filter) {
                        for (index_t i = 0; i < m; ++i) {
                            const index_t c = names[static_cast<std::size_t>(j + i)];
                            std::copy_n(centers.data() + c * d, d, gathered.data() + i * d);
                            norms[static_cast<std::size_t>(i)] = half_norms_[static_cast<std::size_t>(c)];
                        }
                        from = gathered.data();
                        bias = norms.data();
                    }
                    ops::cpu::gemm_serial({.m = n, .n = m, .k = d, .a = points_.row(first), .lda = d, .b = from, .ldb = d, .transpose_b = true, .c = scores.data(), .ldc = width, .bias = bias});
                    INSTAR_SIMD_PICK(kmeans_best)(best, label, scores.data(), width, n, m, names.data() + j);
                }
                for (index_t i = 0; i < n; ++i) {
                    std::int32_t& mine = labels_[static_cast<std::size_t>(first + i)];
                    if (mine != label[i]) changed[static_cast<std::size_t>(b)] = 1;
                    mine = label[i];
                }
            }
        });
        if (filter) {
            const double share = static_cast<double>(std::accumulate(compared.begin(), compared.end(), index_t{0})) / (static_cast<double>(n_blocks) * static_cast<double>(k_));
            filtering_pays_ = share < 0.5;
        }
        return std::none_of(changed.begin(), changed.end(), [](char c) { return c != 0; });
    }

    /// Centres to the means of their points; a centre without points first gets the point that lies farthest from its own (scikit-learn's
    /// rule; the farthest of all for the first such centre). Sums in double, in the order of the points.
    double update(cpu_context& ctx, tensor_view<float, 2> centers) {
        const index_t n = points_.n(), d = points_.d();
        count_members();
        relocate(centers);
        std::vector<double> shift(static_cast<std::size_t>(k_), 0.0);
        parallel_for(ctx, k_, 16, [&](index_t begin, index_t end) {
            std::vector<double> sum(static_cast<std::size_t>(d));
            for (index_t c = begin; c < end; ++c) {
                const index_t first = start_[static_cast<std::size_t>(c)], last = c + 1 < k_ ? start_[static_cast<std::size_t>(c) + 1] : n;
                if (first == last) continue;  // fewer distinct points than centres: this one stays
                std::fill(sum.begin(), sum.end(), 0.0);
                for (index_t i = first; i < last; ++i) {
                    const float* row = points_.row(members_[static_cast<std::size_t>(i)]);
                    for (index_t p = 0; p < d; ++p) sum[static_cast<std::size_t>(p)] += static_cast<double>(row[p]);
                }
                double scale = 1.0 / static_cast<double>(last - first);
                if (spherical_) {
                    double length = 0.0;
                    for (const double s : sum) length += s * s;
                    if (!(length > 0.0)) continue;  // opposite points cancel: no direction to move to
                    scale = 1.0 / std::sqrt(length);
                }
                for (index_t p = 0; p < d; ++p) {
                    const float to = static_cast<float>(sum[static_cast<std::size_t>(p)] * scale);
                    const double by = static_cast<double>(to) - static_cast<double>(centers(c, p));
                    shift[static_cast<std::size_t>(c)] += by * by;
                    centers(c, p) = to;
                }
            }
        });
        return std::accumulate(shift.begin(), shift.end(), 0.0);
    }

    /// Σ ‖x − its centre‖², in double from differences.
    double inertia(cpu_context& ctx, tensor_view<const float, 2> centers) const {
        std::vector<double> part(static_cast<std::size_t>(points_.n_blocks()), 0.0);
        parallel_for(ctx, points_.n_blocks(), 4, [&](index_t begin, index_t end) {
            for (index_t b = begin; b < end; ++b) {
                for (index_t i = points_.first(b); i < points_.last(b); ++i) {
                    part[static_cast<std::size_t>(b)] += points_.squared_distance(points_.row(i), centers.data() + labels_[static_cast<std::size_t>(i)] * points_.d());
                }
            }
        });
        return std::accumulate(part.begin(), part.end(), 0.0);
    }

    index_t n_nonempty(cpu_context&) {
        count_members();
        index_t count = 0;
        for (index_t c = 0; c < k_; ++c) count += (c + 1 < k_ ? start_[static_cast<std::size_t>(c) + 1] : points_.n()) > start_[static_cast<std::size_t>(c)];
        return count;
    }

private:
    // Centres in one product, blocks in one product: scores stay within 512 KiB, half of a usual second-level cache.
    static constexpr index_t k_plain_chunk = 256, k_filtered_chunk = 512, k_group = 4;

    void filter_centers(cpu_context& ctx, tensor_view<const float, 2> centers, double longest) {
        const index_t d = points_.d(), n_blocks = points_.n_blocks();
        near_.resize(static_cast<std::size_t>(n_blocks));
        parallel_for(ctx, n_blocks, 8, [&](index_t begin, index_t end) {
            // ‖c − p‖² − ‖p‖² = −2 · (p·c − ‖c‖²/2) for the blocks of this range together.
            std::vector<float> scores(static_cast<std::size_t>((end - begin) * k_));
            ops::cpu::gemm_serial({.m = end - begin, .n = k_, .k = d, .a = points_.block_center(begin), .lda = d, .b = centers.data(), .ldb = d, .transpose_b = true,
                                   .c = scores.data(), .ldc = k_, .bias = half_norms_.data()});
            for (index_t b = begin; b < end; ++b) {
                const float* row = scores.data() + (b - begin) * k_;
                double norm = 0.0;
                for (index_t p = 0; p < d; ++p) norm += static_cast<double>(points_.block_center(b)[p]) * static_cast<double>(points_.block_center(b)[p]);
                const double reach = std::sqrt(norm) + longest, error = 4.0 * static_cast<double>(d + 16) * 0x1.0p-24 * reach * reach;
                const float top = *std::max_element(row, row + k_);
                const double least = std::sqrt(std::max(0.0, norm - 2.0 * static_cast<double>(top)) + error);
                const double limit = least + 2.0 * points_.block_radius(b);
                // ‖c − p‖² ≤ limit² as a condition on the score.
                const double score = 0.5 * (norm - limit * limit * (1.0 + 1e-6) - error);
                auto& list = near_[static_cast<std::size_t>(b)];
                list.clear();
                for (index_t c = 0; c < k_; ++c) {
                    if (static_cast<double>(row[c]) >= score) list.push_back(static_cast<std::int32_t>(c));
                }
            }
        });
    }

    /// members_: points sorted by label, in their order; start_: where each label begins.
    void count_members() {
        start_.assign(static_cast<std::size_t>(k_), 0);
        members_.resize(labels_.size());
        for (const std::int32_t l : labels_) ++start_[static_cast<std::size_t>(l)];
        index_t total = 0;
        for (index_t& s : start_) {
            const index_t count = s;
            s = total;
            total += count;
        }
        std::vector<index_t> next = start_;
        for (std::size_t i = 0; i < labels_.size(); ++i) members_[static_cast<std::size_t>(next[static_cast<std::size_t>(labels_[i])]++)] = static_cast<std::int32_t>(i);
    }

    void relocate(tensor_view<const float, 2> centers) {
        std::vector<std::int32_t> empty;
        for (index_t c = 0; c < k_; ++c) {
            if (start_[static_cast<std::size_t>(c)] == (c + 1 < k_ ? start_[static_cast<std::size_t>(c) + 1] : points_.n())) empty.push_back(static_cast<std::int32_t>(c));
        }
        if (empty.empty()) return;
        struct far_point {
            double distance;
            index_t point;
            bool operator<(const far_point& o) const { return distance > o.distance || (distance == o.distance && point < o.point); }
        };
        std::vector<far_point> all(labels_.size());
        for (std::size_t i = 0; i < labels_.size(); ++i) {
            all[i] = {points_.squared_distance(points_.row(static_cast<index_t>(i)), centers.data() + labels_[i] * points_.d()), static_cast<index_t>(i)};
        }
        const std::size_t n_moves = std::min(empty.size(), all.size());
        std::partial_sort(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(n_moves), all.end());
        bool moved = false;
        for (std::size_t e = 0; e < n_moves && all[e].distance > 0.0; ++e) {
            labels_[static_cast<std::size_t>(all[e].point)] = empty[e];
            moved = true;
        }
        if (moved) count_members();
    }

    const kmeans_points& points_;
    index_t k_;
    bool spherical_, filtering_pays_ = true;
    std::vector<std::int32_t> labels_, all_, members_;
    std::vector<float> half_norms_;
    std::vector<index_t> start_;
    std::vector<std::vector<std::int32_t>> near_;
};

}  // namespace instar::cluster::detail

#endif
