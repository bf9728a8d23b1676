#ifndef INSTAR_DATA_BIOSCAN_CLIBD_HPP
#define INSTAR_DATA_BIOSCAN_CLIBD_HPP

// CLIBD's partition of BIOSCAN-1M: a folder of text files, one sampleid a line.
//
//     auto m = data::read_bioscan("BIOSCAN_Insect_Dataset_metadata.tsv");
//     auto rows = data::clibd_rows(m, "CLIBD_partitioning", "train_seen");

#include <algorithm>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "instar/data/bioscan.hpp"

namespace instar::data {

inline constexpr std::string_view k_clibd_splits[] = {"all_keys",  "no_split",  "no_split_and_seen_train", "seen_keys",  "single_species",  "train_seen",
                                                      "val_seen",  "test_seen", "val_unseen",              "test_unseen", "val_unseen_keys", "test_unseen_keys"};

/// BIOSCAN-5M's names for CLIBD's partitions: pretrain → no_split, train → train_seen, val and validation → val_seen,
/// test → test_seen, key_unseen → test_unseen_keys.
inline std::string_view canonical_clibd_split(std::string_view split) {
    if (split == "pretrain") return "no_split";
    if (split == "train") return "train_seen";
    if (split == "val" || split == "validation") return "val_seen";
    if (split == "test") return "test_seen";
    if (split == "key_unseen") return "test_unseen_keys";
    return split;
}

/// Rows whose sampleid a list names, in the list's order. Throws parse_error for an id that the table lacks (with the line),
/// value_error when the table's column sampleid was not read.
inline std::vector<index_t> rows_of_list(const bioscan_metadata& m, io::input_file list) {
    const auto ids = m.text("sampleid").views();
    std::unordered_map<std::string_view, index_t> row_of;
    row_of.reserve(ids.size());
    for (std::size_t i = 0; i < ids.size(); ++i) row_of.emplace(ids[i], static_cast<index_t>(i));
    csv_reader in(std::move(list), {.header = false});
    std::vector<index_t> rows;
    while (in.next()) {
        const auto it = row_of.find(in[0]);
        if (it == row_of.end()) throw in.error_here("sampleid '" + std::string(in[0]) + "' is not in " + m.path());
        rows.push_back(it->second);
    }
    return rows;
}

/// Rows of a partition: of one file in the file's order; of several joined by '+' in the table's order, each once.
/// Throws value_error for a name that CLIBD does not have.
inline std::vector<index_t> clibd_rows(const bioscan_metadata& m, const std::string& folder, std::string_view splits) {
    std::vector<index_t> rows;
    int n_files = 0;
    for (std::size_t begin = 0; begin <= splits.size(); ++n_files) {
        const std::size_t end = std::min(splits.find('+', begin), splits.size());
        const std::string_view name = canonical_clibd_split(splits.substr(begin, end - begin));
        begin = end + 1;
        if (std::find(std::begin(k_clibd_splits), std::end(k_clibd_splits), name) == std::end(k_clibd_splits)) {
            throw value_error("clibd_rows: unknown split '" + std::string(name) + "'; CLIBD has: " + join_names(k_clibd_splits));
        }
        const std::vector<index_t> part = rows_of_list(m, io::input_file(folder + "/" + std::string(name) + ".txt"));
        rows.insert(rows.end(), part.begin(), part.end());
    }
    if (n_files > 1) {
        std::sort(rows.begin(), rows.end());
        rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
    }
    return rows;
}

}  // namespace instar::data

#endif
