#ifndef INSTAR_DATA_ANCHOR_HPP
#define INSTAR_DATA_ANCHOR_HPP

// Where in the gene does a barcode start? A gapless profile, learned from the barcodes themselves, tells.
//
//     auto anchor = data::barcode_anchor::learn(ctx, train_barcodes);     // no labels
//     int shift = anchor.shift(barcode);                                  // its first base lies at this column
//     std::string placed = anchor.place(barcode);                         // 'N's in front, or the first bases cut
//
// Non-overlapping k-mers feel the reading frame: two copies of one barcode, one of them missing its first base, share
// hardly a token. COI barcodes have next to no insertions or deletions, so one shift a barcode brings all of them into
// the same frame, and position t of every sequence means the same place of the gene.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "instar/core/parallel_for.hpp"
#include "instar/core/tensor.hpp"
#include "instar/ops/cpu/simd/rows.hpp"

namespace instar::data {

struct anchor_options {
    int n_columns = 660;        ///< length of the profile, in bases
    int max_shift = 420;        ///< barcodes may start this far behind the first column …
    int max_lead = 120;         ///< … or this far before it
    int n_rounds = 6;           ///< expectation–maximisation rounds
    int max_barcodes = 4000;    ///< learn from at most this many, evenly spaced in the input
    int min_overlap = 100;      ///< bases that must fall on the profile
};

/// Position-specific scoring of where a barcode starts.
///
/// The profile holds log(p(base | column) / p(base)); a barcode's shift is the one that maximises the sum over its bases,
/// ties to the smallest. It is learned by rounds of "place all barcodes, count bases a column", starting from the barcode
/// whose length is the median. Deterministic; the same bits for any number of threads.
/// Cost of a shift: n_columns · (max_shift + max_lead) additions, tens of microseconds.
class barcode_anchor {
public:
    barcode_anchor() = default;

    /// Throws value_error without barcodes of at least min_overlap unambiguous bases.
    static barcode_anchor learn(cpu_context& ctx, std::span<const std::string_view> barcodes, anchor_options options = {}) {
        if (options.n_columns < 1 || options.max_shift < 0 || options.max_lead < 0 || options.n_rounds < 1 || options.min_overlap < 1) {
            throw value_error("barcode_anchor: every option must be positive");
        }
        std::vector<std::string_view> sample;
        for (std::string_view b : barcodes) {
            if (static_cast<int>(b.size()) >= options.min_overlap) sample.push_back(b);
        }
        if (sample.empty()) {
            throw value_error("barcode_anchor: none of " + std::to_string(barcodes.size()) + " barcodes has " + std::to_string(options.min_overlap) + " bases");
        }
        const std::size_t wanted = static_cast<std::size_t>(std::max(1, options.max_barcodes));
        if (sample.size() > wanted) {
            std::vector<std::string_view> thinned(wanted);
            for (std::size_t i = 0; i < wanted; ++i) thinned[i] = sample[i * sample.size() / wanted];
            sample = std::move(thinned);
        }
        // A barcode of median length as the first guess: neither a fragment nor one with foreign ends.
        std::vector<std::pair<std::size_t, std::size_t>> by_length(sample.size());
        for (std::size_t i = 0; i < sample.size(); ++i) by_length[i] = {sample[i].size(), i};
        std::nth_element(by_length.begin(), by_length.begin() + static_cast<std::ptrdiff_t>(by_length.size() / 2), by_length.end());
        const std::vector<std::string_view> seed{sample[by_length[by_length.size() / 2].second]};

        barcode_anchor anchor;
        anchor.options_ = options;
        std::vector<int> shifts(1, 0);
        anchor.fit(seed, shifts, 0.5);
        for (int round = 0; round < options.n_rounds; ++round) {
            shifts.assign(sample.size(), 0);
            parallel_for(ctx, static_cast<index_t>(sample.size()), 16, [&](index_t begin, index_t end) {
                for (index_t i = begin; i < end; ++i) shifts[static_cast<std::size_t>(i)] = anchor.shift(sample[static_cast<std::size_t>(i)]);
            });
            anchor.fit(sample, shifts, 1.0);
        }
        return anchor;
    }

    /// Column of the barcode's first base, in [−max_lead, max_shift].
    int shift(std::string_view barcode) const {
        const int n_shifts = options_.max_shift + options_.max_lead + 1;
        std::vector<float> score(static_cast<std::size_t>(n_shifts), 0.0f);
        const auto add = INSTAR_SIMD_PICK(add_range);
        // Row b of the padded profile is read from column i − max_lead on: contiguous in the shift, so it vectorises.
        const index_t usable = std::min<index_t>(static_cast<index_t>(barcode.size()), options_.n_columns + options_.max_lead);
        for (index_t i = 0; i < usable; ++i) {
            const int b = base_of(barcode[static_cast<std::size_t>(i)]);
            if (b < 0) continue;
            add(score.data(), score.data(), padded_.data() + b * padded_columns() + i, n_shifts);
        }
        int best = -1;
        for (int k = 0; k < n_shifts; ++k) {
            const int s = k - options_.max_lead;
            const index_t overlap = std::min<index_t>(options_.n_columns, s + static_cast<index_t>(barcode.size())) - std::max(0, s);
            if (overlap < options_.min_overlap) continue;
            if (best < 0 || score[static_cast<std::size_t>(k)] > score[static_cast<std::size_t>(best)]) best = k;
        }
        return best < 0 ? 0 : best - options_.max_lead;
    }

    /// The barcode in the profile's columns: shift 'N's in front, or the first −shift bases cut.
    std::string place(std::string_view barcode) const { return place(barcode, shift(barcode)); }
    static std::string place(std::string_view barcode, int shift) {
        if (shift < 0) return std::string(barcode.substr(std::min(barcode.size(), static_cast<std::size_t>(-shift))));
        std::string s(static_cast<std::size_t>(shift), 'N');
        s += barcode;
        return s;
    }

    const anchor_options& options() const noexcept { return options_; }
    bool empty() const noexcept { return padded_.empty(); }

    /// log-odds, [4, n_columns] in the order ACGT: what a file keeps.
    tensor<float, 2> profile() const {
        tensor<float, 2> p({4, options_.n_columns});
        for (int b = 0; b < 4; ++b) std::memcpy(&p(b, 0), padded_.data() + b * padded_columns() + lead(), static_cast<std::size_t>(options_.n_columns) * sizeof(float));
        return p;
    }
    static barcode_anchor from_profile(tensor_view<const float, 2> profile, anchor_options options = {}) {
        if (profile.extent(0) != 4 || profile.extent(1) < 1) throw shape_error("barcode_anchor: profile has shape " + shape_string(profile) + ", expected [4, n_columns]");
        barcode_anchor anchor;
        anchor.options_ = options;
        anchor.options_.n_columns = static_cast<int>(profile.extent(1));
        anchor.padded_.assign(static_cast<std::size_t>(4 * anchor.padded_columns()), 0.0f);
        for (int b = 0; b < 4; ++b) {
            for (index_t c = 0; c < profile.extent(1); ++c) anchor.padded_[static_cast<std::size_t>(b * anchor.padded_columns() + anchor.lead() + c)] = profile(b, c);
        }
        return anchor;
    }

private:
    static int base_of(char c) {
        switch (c) {
            case 'A': case 'a': return 0;
            case 'C': case 'c': return 1;
            case 'G': case 'g': return 2;
            case 'T': case 't': return 3;
            default: return -1;
        }
    }
    index_t lead() const { return options_.max_lead; }
    index_t padded_columns() const { return 2 * index_t{options_.max_lead} + options_.n_columns + options_.max_shift + 1; }

    void fit(const std::vector<std::string_view>& barcodes, const std::vector<int>& shifts, double pseudo_count) {
        const index_t n = options_.n_columns;
        std::vector<std::array<double, 4>> counts(static_cast<std::size_t>(n), {0, 0, 0, 0});
        std::array<double, 4> total{pseudo_count, pseudo_count, pseudo_count, pseudo_count};
        for (std::size_t r = 0; r < barcodes.size(); ++r) {
            for (std::size_t i = 0; i < barcodes[r].size(); ++i) {
                const int b = base_of(barcodes[r][i]);
                const index_t column = static_cast<index_t>(i) + shifts[r];
                if (b < 0 || column < 0 || column >= n) continue;
                counts[static_cast<std::size_t>(column)][static_cast<std::size_t>(b)] += 1;
                total[static_cast<std::size_t>(b)] += 1;
            }
        }
        const double all = total[0] + total[1] + total[2] + total[3];
        padded_.assign(static_cast<std::size_t>(4 * padded_columns()), 0.0f);
        for (index_t c = 0; c < n; ++c) {
            const auto& k = counts[static_cast<std::size_t>(c)];
            const double sum = k[0] + k[1] + k[2] + k[3];
            for (std::size_t b = 0; b < 4; ++b) {
                // Towards the background by four pseudo-observations: a column that few barcodes cover says little.
                const double background = total[b] / all;
                const double p = (k[b] + 4.0 * pseudo_count * background) / (sum + 4.0 * pseudo_count);
                padded_[static_cast<std::size_t>(static_cast<index_t>(b) * padded_columns() + lead() + c)] = static_cast<float>(std::log(p / background));
            }
        }
    }

    anchor_options options_;
    std::vector<float> padded_;  // [4, padded_columns], zero outside the profile
};

}  // namespace instar::data

#endif
