#ifndef INSTAR_DATA_SIMULATE_SPLITS_HPP
#define INSTAR_DATA_SIMULATE_SPLITS_HPP

// Part of data/simulate.hpp: which partition a simulated specimen goes to. The partitions mean what BIOSCAN-5M's mean; the
// published script's exact choices are not repeated here.
//
//     assign_splits(draw, rows);      // fills rows[i].split

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "instar/data/barcode_dedup.hpp"
#include "instar/data/simulate_tree.hpp"

namespace instar::data::detail {

/// What the splits depend on, and the split.
struct split_row {
    std::string_view barcode, genus, species;
    bool provisional = false;  // the species' name is a placeholder
    std::string split = {};
};

/// Barcodes of a species for a partition that wants about `target` of its records and at most `max_barcodes` barcodes; takes
/// them out of `barcodes` in random order.
inline std::vector<std::string_view> take_barcodes(random_draws& draw, std::vector<std::pair<std::string_view, int>>& barcodes, double target, int max_barcodes) {
    std::vector<std::string_view> taken;
    double n = 0.0;
    while (static_cast<int>(taken.size()) < max_barcodes && barcodes.size() > 1 && n < target) {
        const std::size_t i = draw.below(barcodes.size());
        const auto [barcode, size] = barcodes[i];
        // Too large a group is left where it is, unless nothing was taken yet and it is less than half of what there is.
        if (n + size > 1.5 * target + 1.0) {
            const bool any_fits = std::any_of(barcodes.begin(), barcodes.end(), [&](const auto& b) { return n + b.second <= 1.5 * target + 1.0; });
            if (!any_fits) break;
            continue;
        }
        taken.push_back(barcode);
        n += size;
        barcodes.erase(barcodes.begin() + static_cast<std::ptrdiff_t>(i));
    }
    return taken;
}

/// Species of its own name and known → train, with val (about 5 %) and test (from 8 records on, 4 to 25 of them, whole
/// barcodes) taken from it; placeholder species of a known genus with 8 records or more → key_unseen, val_unseen,
/// test_unseen; other placeholders → other_heldout; no species → pretrain. A barcode (N stripped at both ends) never
/// lies in two partitions: records follow the first partition that claims their barcode, test first.
inline void assign_splits(random_draws& draw, std::vector<split_row>& rows) {
    std::map<std::string_view, std::vector<std::size_t>> by_species;
    std::set<std::string_view> known_genera;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        rows[i].split = rows[i].species.empty() ? "pretrain" : rows[i].provisional ? "other_heldout" : "train";
        if (!rows[i].species.empty()) by_species[rows[i].species].push_back(i);
        if (rows[i].split == "train") known_genera.insert(rows[i].genus);
    }
    const char* const evaluation[] = {"test", "val", "test_unseen", "val_unseen", "key_unseen"};  // the first claim wins
    std::map<std::string_view, std::size_t> claims;                                              // barcode → place in `evaluation`
    for (const auto& [species, members] : by_species) {
        const split_row& first = rows[members[0]];
        const auto n = static_cast<double>(members.size());
        std::map<std::string_view, int> sizes;
        for (std::size_t i : members) ++sizes[strip_n(rows[i].barcode)];
        std::vector<std::pair<std::string_view, int>> barcodes(sizes.begin(), sizes.end());
        const auto nb = static_cast<int>(barcodes.size());
        const double flat = n < 8 ? 0.0 : std::min(4.0 + std::floor((n - 8) / 4), 25.0);
        const int few = nb < 3 ? 0 : 1 + (nb - 2) / 3;
        const auto claim_one = [&](std::string_view barcode, std::size_t place) {
            std::size_t& now = claims.try_emplace(barcode, place).first->second;
            now = std::min(now, place);
        };
        const auto claim = [&](std::size_t place, double target, int max_barcodes) {
            for (std::string_view b : take_barcodes(draw, barcodes, target, max_barcodes)) claim_one(b, place);
        };
        if (!first.provisional) {
            claim(0, flat, few);
            claim(1, n < 20 ? (draw.chance(0.05 * n) ? 1.0 : 0.0) : 0.05 * n, std::max(1, nb / 20));
        } else if (n >= 8 && known_genera.contains(first.genus)) {
            claim(2, flat, few);
            claim(3, 0.2 * n, std::max(1, nb / 5));
            for (const auto& [barcode, size] : barcodes) claim_one(barcode, 4);
        }
    }
    for (split_row& r : rows) {
        const auto it = claims.find(strip_n(r.barcode));
        if (it != claims.end()) r.split = evaluation[it->second];
    }
    // What no evaluation claims may still be shared by train, pretrain and other_heldout: train first, as records with a name.
    std::map<std::string_view, std::string_view> home;
    for (const char* split : {"train", "other_heldout"}) {
        for (const split_row& r : rows) {
            if (r.split == split) home.try_emplace(strip_n(r.barcode), split);
        }
    }
    for (split_row& r : rows) {
        if (r.split != "pretrain") continue;
        const auto it = home.find(strip_n(r.barcode));
        if (it != home.end()) r.split = it->second;
    }
}

}  // namespace instar::data::detail

#endif
