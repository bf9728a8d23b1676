#ifndef INSTAR_DATA_BARCODE_DEDUP_HPP
#define INSTAR_DATA_BARCODE_DEDUP_HPP

// Which records share a barcode. The three published programs answer differently; each answer is here, by name.
//
//     auto rows = data::deduplicate(barcodes, data::dedup::data_split);        // rows that stay, in file order
//     std::string_view key = data::barcode_key("NACGTNN", data::dedup::both_ends);   // "ACGT"

#include <cstdint>
#include <numeric>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "instar/core/element.hpp"
#include "instar/core/error.hpp"

namespace instar::data {

/// What makes two barcodes the same, and which record of it stays.
enum class dedup {
    none,          ///< every record stays
    within_split,  ///< trailing N removed; the first of each split (so a barcode may occur once in each)
    data_split,    ///< BarcodeBERT's data_split.py: trailing N removed, not cut; the first of the whole file
    package,       ///< bioscan-dataset: cut to max_nucleotides, then trailing N removed; the one that a shuffle puts first
    both_ends,     ///< bioscan_split.py's identity: N removed at both ends, not cut; the first of the whole file
};

/// "within_split" …; for messages.
constexpr const char* dedup_name(dedup mode) {
    switch (mode) {
    case dedup::none: return "none";
    case dedup::within_split: return "within_split";
    case dedup::data_split: return "data_split";
    case dedup::package: return "package";
    case dedup::both_ends: return "both_ends";
    }
    return "unknown";
}

constexpr std::string_view right_strip_n(std::string_view barcode) {
    while (!barcode.empty() && barcode.back() == 'N') barcode.remove_suffix(1);
    return barcode;
}
constexpr std::string_view strip_n(std::string_view barcode) {
    barcode = right_strip_n(barcode);
    while (!barcode.empty() && barcode.front() == 'N') barcode.remove_prefix(1);
    return barcode;
}

/// The part of a barcode that two records of the same barcode share. max_nucleotides counts for `package` alone.
constexpr std::string_view barcode_key(std::string_view barcode, dedup mode, std::size_t max_nucleotides = 660) {
    switch (mode) {
    case dedup::none: return barcode;
    case dedup::within_split:
    case dedup::data_split: return right_strip_n(barcode);
    case dedup::package: return right_strip_n(barcode.substr(0, max_nucleotides));
    case dedup::both_ends: return strip_n(barcode);
    }
    return barcode;
}

namespace detail {

/// numpy.random.RandomState(seed).permutation(n): MT19937, a Fisher–Yates shuffle from the end, and bounded numbers by
/// rejection under the smallest mask. DataFrame.sample(frac=1, random_state=seed) puts the rows in this order.
inline std::vector<index_t> numpy_permutation(index_t n, std::uint32_t seed) {
    std::mt19937 bits(seed);
    std::vector<index_t> p(static_cast<std::size_t>(n));
    std::iota(p.begin(), p.end(), index_t{0});
    for (index_t i = n - 1; i >= 1; --i) {
        std::uint64_t mask = static_cast<std::uint64_t>(i);
        for (int s = 1; s < 64; s *= 2) mask |= mask >> s;
        std::uint64_t j = 0;
        do {
            if (i <= 0xffffffff) {
                j = bits() & mask;
            } else {
                const std::uint64_t high = bits();
                j = (high << 32 | bits()) & mask;
            }
        } while (j > static_cast<std::uint64_t>(i));
        std::swap(p[static_cast<std::size_t>(i)], p[static_cast<std::size_t>(j)]);
    }
    return p;
}

}  // namespace detail

/// Rows that stay, ascending. `splits`: an index of each record's split, for within_split alone (else it may be empty).
///
/// Records without a barcode share the empty one, as in pandas, where missing values are equal to each other.
/// Throws value_error when within_split is asked for without splits. Cost: one hash a record.
inline std::vector<index_t> deduplicate(std::span<const std::string_view> barcodes, dedup mode, std::span<const std::int32_t> splits = {},
                                        std::size_t max_nucleotides = 660) {
    const auto n = static_cast<index_t>(barcodes.size());
    std::vector<index_t> order;
    if (mode == dedup::package) {
        order = detail::numpy_permutation(n, 0);
    } else {
        order.resize(barcodes.size());
        std::iota(order.begin(), order.end(), index_t{0});
    }
    if (mode == dedup::none) return order;
    if (mode == dedup::within_split && splits.size() != barcodes.size()) {
        throw value_error("deduplicate: within_split needs the split of each of the " + std::to_string(n) + " records, got " + std::to_string(splits.size()));
    }
    struct key {
        std::string_view text;
        std::int32_t split;
        bool operator==(const key&) const = default;
    };
    struct key_hash {
        std::size_t operator()(const key& k) const { return std::hash<std::string_view>{}(k.text) + 0x9e3779b9u * static_cast<std::size_t>(k.split + 2); }
    };
    std::unordered_set<key, key_hash> seen;
    seen.reserve(barcodes.size());
    std::vector<std::uint8_t> stays(barcodes.size(), 0);
    for (index_t r : order) {
        const auto i = static_cast<std::size_t>(r);
        const std::int32_t split = mode == dedup::within_split ? splits[i] : 0;
        stays[i] = seen.insert({barcode_key(barcodes[i], mode, max_nucleotides), split}).second;
    }
    std::vector<index_t> rows;
    rows.reserve(seen.size());
    for (index_t i = 0; i < n; ++i) {
        if (stays[static_cast<std::size_t>(i)] != 0) rows.push_back(i);
    }
    return rows;
}

}  // namespace instar::data

#endif
