#ifndef INSTAR_CLUSTER_DETAIL_KNN_CANDIDATES_HPP
#define INSTAR_CLUSTER_DETAIL_KNN_CANDIDATES_HPP

// The candidates of each query of cluster/knn.hpp, while products come in.
//
//     knn_candidates lists(space, k, 0, n_queries, true);
//     knn_batch batch(k);                             // each thread's own
//     lists.threshold(i);                             // what `low` must be below
//     batch.n = kernels.scan(…, batch.columns, batch.lows);
//     lists.add(i, batch);                            // after filling in highs and references
//     lists.finish(i, found);                         // appends (distance, reference) of what is left
//
// A list holds references whose key lies between low and high. When it overflows, the k-th smallest `high` becomes the threshold
// and what lies above is dropped. When that frees too little (near duplicates, which products cannot tell apart), the candidates'
// distances are computed in double and the k best kept; from then on the list does so whenever it overflows. So a list never
// grows, and never loses one of the k nearest.

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "instar/cluster/detail/knn_bounds.hpp"
#include "instar/core/tensor.hpp"

namespace instar::cluster::detail {

/// (distance, reference): what decides.
using knn_exact = std::pair<double, std::int32_t>;

/// Candidates of one query from one comparison, with room for the query's list.
struct knn_batch {
    static constexpr index_t k_most = 256 + 16;  // columns of a comparison, and what a kernel may write past them
    index_t n = 0;
    std::vector<float> lows, highs;
    std::vector<std::int32_t> columns, references, order;

    explicit knn_batch(index_t k);
};

class knn_candidates {
public:
    static constexpr index_t k_padding = 256;

    /// Room of a list, and its bytes.
    static index_t capacity(index_t k) { return k + k / 2 + 64; }
    static index_t list_bytes(index_t k) { return capacity(k) * 12; }

    /// For queries [first, first + n). `in_order`: every list is given its references by increasing index.
    knn_candidates(const knn_space& space, index_t k, index_t first, index_t n, bool in_order)
        : space_(space),
          k_(k),
          capacity_(capacity(k)),
          first_(first),
          in_order_(in_order),
          lows_({n, capacity_}),
          highs_({n, capacity_}),
          references_({n, capacity_}),
          counts_(static_cast<std::size_t>(n), 0),
          thresholds_(static_cast<std::size_t>(n + k_padding), -std::numeric_limits<float>::infinity()),
          squared_norms_(static_cast<std::size_t>(n), 0.0),
          best_(static_cast<std::size_t>(n)) {
        std::fill_n(thresholds_.begin(), n, std::numeric_limits<float>::infinity());
    }

    /// ‖x'‖² of a query, to be set before anything is added.
    void set_squared_norm(index_t i, double squares) { squared_norms_[static_cast<std::size_t>(i)] = squares; }
    float threshold(index_t i) const { return thresholds_[static_cast<std::size_t>(i)]; }
    /// Of all lists; k_padding more follow, which nothing is below.
    const float* thresholds() const { return thresholds_.data(); }

    /// Takes the batch's lows, highs and references; the batch is scratch afterwards.
    void add(index_t i, knn_batch& batch) {
        index_t& n = counts_[static_cast<std::size_t>(i)];
        if (n + batch.n > capacity_) return overflow(i, batch);
        copy_out(i, batch);
    }
    /// The same for one candidate.
    void add(index_t i, float low, float high, std::int32_t reference, knn_batch& batch) {
        index_t& n = counts_[static_cast<std::size_t>(i)];
        if (n < capacity_) {
            lows_(i, n) = low;
            highs_(i, n) = high;
            references_(i, n++) = reference;
            return;
        }
        batch.n = 1;
        batch.lows[0] = low;
        batch.highs[0] = high;
        batch.references[0] = reference;
        overflow(i, batch);
    }

    /// Appends what list i holds to `out`, distances and all, without candidates that cannot be among the k nearest. The list is
    /// spent afterwards.
    void finish(index_t i, std::vector<knn_exact>& out, knn_batch& batch) {
        const auto& best = best_[static_cast<std::size_t>(i)];
        batch.n = 0;
        copy_in(i, batch);
        if (best.empty()) drop_far(i, batch);
        out.insert(out.end(), best.begin(), best.end());
        batch.n = space_.kernels().keep(batch.lows.data(), batch.highs.data(), batch.references.data(), batch.n,
                                        threshold(i));
        for (index_t e = 0; e < batch.n; ++e) {
            const std::int32_t r = batch.references[static_cast<std::size_t>(e)];
            if (e + 1 < batch.n) space_.prefetch(batch.references[static_cast<std::size_t>(e + 1)]);
            out.emplace_back(space_.distance(first_ + i, r), r);
        }
    }

private:
    /// Appends list i to the batch.
    void copy_in(index_t i, knn_batch& batch) {
        index_t& n = counts_[static_cast<std::size_t>(i)];
        std::copy_n(lows_.data() + i * capacity_, n, batch.lows.begin() + batch.n);
        std::copy_n(highs_.data() + i * capacity_, n, batch.highs.begin() + batch.n);
        std::copy_n(references_.data() + i * capacity_, n, batch.references.begin() + batch.n);
        batch.n += n;
        n = 0;
    }
    /// Appends the batch to list i, which has room.
    void copy_out(index_t i, const knn_batch& batch) {
        index_t& n = counts_[static_cast<std::size_t>(i)];
        std::copy_n(batch.lows.begin(), batch.n, lows_.data() + i * capacity_ + n);
        std::copy_n(batch.highs.begin(), batch.n, highs_.data() + i * capacity_ + n);
        std::copy_n(batch.references.begin(), batch.n, references_.data() + i * capacity_ + n);
        n += batch.n;
    }

    void overflow(index_t i, knn_batch& batch) {
        copy_in(i, batch);
        if (best_[static_cast<std::size_t>(i)].empty()) {
            drop_far(i, batch);
            if (batch.n <= (k_ + capacity_) / 2) return copy_out(i, batch);
        }
        resolve(i, batch);
    }

    /// The k-th smallest upper bound, or a little more, becomes the threshold, and what is not below it goes.
    void drop_far(index_t i, knn_batch& batch) {
        if (batch.n <= k_) return;
        float& limit = thresholds_[static_cast<std::size_t>(i)];
        const float bound = space_.kernels().kth_bound(batch.highs.data(), batch.n, k_, batch.order.data());
        limit = std::min(limit, std::nextafter(bound, std::numeric_limits<float>::infinity()));
        batch.n = space_.kernels().keep(batch.lows.data(), batch.highs.data(), batch.references.data(), batch.n, limit);
    }

    /// Computes distances and keeps the k smallest.
    void resolve(index_t i, const knn_batch& batch) {
        auto& best = best_[static_cast<std::size_t>(i)];
        float& limit = thresholds_[static_cast<std::size_t>(i)];
        for (std::size_t e = 0; e < static_cast<std::size_t>(batch.n); ++e) {
            const std::int32_t r = batch.references[e];
            if (batch.lows[e] >= limit) continue;
            // Nothing is nearer than 0: with k of them only a smaller index counts.
            if (zeros(best) && r > best.back().second) continue;
            const knn_exact exact{space_.distance(first_ + i, r), r};
            if (static_cast<index_t>(best.size()) == k_) {
                if (exact > best.back()) continue;
                best.pop_back();
            }
            best.insert(std::upper_bound(best.begin(), best.end(), exact), exact);
        }
        if (static_cast<index_t>(best.size()) < k_) return;
        limit = std::min(limit,
                         space_.key_beyond(first_ + i, best.back().first, squared_norms_[static_cast<std::size_t>(i)]));
        if (in_order_ && zeros(best)) limit = -std::numeric_limits<float>::infinity();
    }
    bool zeros(const std::vector<knn_exact>& best) const {
        return space_.has_norm() && static_cast<index_t>(best.size()) == k_ && best.back().first == 0.0;
    }

    const knn_space& space_;
    index_t k_, capacity_, first_;
    bool in_order_;
    tensor<float, 2> lows_, highs_;
    tensor<std::int32_t, 2> references_;
    std::vector<index_t> counts_;
    std::vector<float> thresholds_;
    std::vector<double> squared_norms_;
    std::vector<std::vector<knn_exact>> best_;
};

inline knn_batch::knn_batch(index_t k) {
    const auto most = static_cast<std::size_t>(k_most + knn_candidates::capacity(k));
    for (auto* v : {&lows, &highs}) v->resize(most);
    for (auto* v : {&columns, &references, &order}) v->resize(most);
}

}  // namespace instar::cluster::detail

#endif
