#ifndef INSTAR_EXAMPLES_DNA_BARCODE_SPECIMENS_HPP
#define INSTAR_EXAMPLES_DNA_BARCODE_SPECIMENS_HPP

// The specimens of one metadata file, and the partitions that benchmark 1 uses.
//
//     const specimens all = load_specimens("metadata.csv.gz");                // load_specimens.hpp
//     auto train = take_partition(all, {"train"}, duplicates::drop);
//     label_table species(all, "species", train.rows);

#include <algorithm>
#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "instar/core/element.hpp"
#include "instar/core/error.hpp"

namespace dna_barcode {

using instar::index_t;

inline constexpr const char* k_ranks[] = {"class", "order", "family", "subfamily", "genus", "species", "dna_bin"};
inline constexpr std::size_t k_n_ranks = 7;

inline std::size_t rank_index(std::string_view rank) {
    for (std::size_t r = 0; r < k_n_ranks; ++r) {
        if (rank == k_ranks[r]) return r;
    }
    throw instar::value_error("unknown rank '" + std::string(rank) + "': one of class, order, family, subfamily, genus, species, dna_bin");
}

/// Columns of the metadata that the benchmark reads; barcodes are stripped of trailing N.
struct specimens {
    std::vector<std::string> processid, barcode, split;
    std::vector<std::string> label[k_n_ranks];  // empty = unknown

    std::size_t size() const { return barcode.size(); }
};

/// Rows of a partition, in file order.
struct partition {
    std::vector<index_t> rows;
    std::vector<std::string> barcodes;  // of these rows
};

/// keep: every row. drop: the first row of each barcode within its split, which is how the yardsticks count.
enum class duplicates { keep, drop };

inline partition take_partition(const specimens& all, std::initializer_list<std::string_view> splits, duplicates mode) {
    partition p;
    std::unordered_set<std::string> seen;
    for (std::size_t i = 0; i < all.size(); ++i) {
        if (std::find(splits.begin(), splits.end(), std::string_view(all.split[i])) == splits.end()) continue;
        if (all.barcode[i].empty()) continue;
        if (mode == duplicates::drop && !seen.insert(all.split[i] + '\n' + all.barcode[i]).second) continue;
        p.rows.push_back(static_cast<index_t>(i));
        p.barcodes.push_back(all.barcode[i]);
    }
    return p;
}

/// Names of the classes of one rank, sorted; the text is the stable key, the index is what the network sees.
struct label_table {
    std::size_t rank = 0;
    std::vector<std::string> names;

    label_table() = default;
    label_table(const specimens& all, std::string_view rank_name, const std::vector<index_t>& rows) : rank(rank_index(rank_name)) {
        for (index_t r : rows) {
            const std::string& n = all.label[rank][static_cast<std::size_t>(r)];
            if (!n.empty()) names.push_back(n);
        }
        std::sort(names.begin(), names.end());
        names.erase(std::unique(names.begin(), names.end()), names.end());
    }
    std::int32_t index(std::string_view name) const {
        const auto it = std::lower_bound(names.begin(), names.end(), name);
        return it != names.end() && *it == name ? static_cast<std::int32_t>(it - names.begin()) : -1;
    }
    /// −1 for unlabelled rows and for labels that are not in the table.
    std::vector<std::int32_t> of(const specimens& all, const std::vector<index_t>& rows) const {
        std::vector<std::int32_t> v;
        v.reserve(rows.size());
        for (index_t r : rows) v.push_back(index(all.label[rank][static_cast<std::size_t>(r)]));
        return v;
    }
};

/// Truth for scoring: labels over the union of two sets of rows, so that a class absent from the reference counts as an
/// error and an unlabelled row (−1) does not count at all.
struct joint_labels {
    std::vector<std::int32_t> reference, query;

    joint_labels(const specimens& all, std::string_view rank_name, const std::vector<index_t>& reference_rows, const std::vector<index_t>& query_rows) {
        std::vector<index_t> both = reference_rows;
        both.insert(both.end(), query_rows.begin(), query_rows.end());
        const label_table table(all, rank_name, both);
        reference = table.of(all, reference_rows);
        query = table.of(all, query_rows);
    }
};

}  // namespace dna_barcode

#endif
