#ifndef INSTAR_DATA_BIOSCAN_FORMAT_HPP
#define INSTAR_DATA_BIOSCAN_FORMAT_HPP

// What the metadata files of BIOSCAN-5M, BIOSCAN-1M and Canadian Invertebrates look like: columns, splits, image folders.
//
//     data::bioscan_chunk("pretrain", "AACTA1809-20");            // "5e", say: first digits of the id's MD5
//     data::split_names(data::bioscan_format::bioscan_5m);         // pretrain, train, …
//     data::canonical_column("nucraw");                            // "dna_barcode"

#include <algorithm>
#include <array>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "instar/core/error.hpp"
#include "instar/data/md5.hpp"

namespace instar::data {

enum class bioscan_format {
    automatic,              ///< by the header
    bioscan_5m,             ///< comma separated, 23 columns
    bioscan_1m,             ///< tab separated, `nucraw`, "not_classified"
    canadian_invertebrates  ///< `sequence_len` beside `dna_barcode`, or the older layout with `nucleotides` and `genus_name`
};

constexpr const char* format_name(bioscan_format format) {
    switch (format) {
    case bioscan_format::automatic: return "automatic";
    case bioscan_format::bioscan_5m: return "BIOSCAN-5M";
    case bioscan_format::bioscan_1m: return "BIOSCAN-1M";
    case bioscan_format::canadian_invertebrates: return "Canadian Invertebrates";
    }
    return "unknown";
}

/// How a column is kept.
enum class column_kind { text, category, real, integer };

/// The 23 columns of BIOSCAN-5M's metadata, in the file's order.
inline constexpr std::array<std::string_view, 23> k_bioscan_5m_columns = {
    "processid", "sampleid", "taxon", "phylum", "class", "order", "family", "subfamily", "genus", "species", "dna_bin", "dna_barcode",
    "country", "province_state", "coord-lat", "coord-lon", "image_measurement_value", "area_fraction", "scale_factor", "inferred_ranks",
    "split", "index_bioscan_1M_insect", "chunk"};

/// Ranks from coarse to fine, as far as any of the data sets has them; dna_bin last.
inline constexpr std::array<std::string_view, 10> k_ranks = {"phylum", "class", "order", "family", "subfamily",
                                                             "tribe",  "genus", "species", "subspecies", "dna_bin"};

/// One name for what the data sets call differently: uri and bin_uri → dna_bin, nucraw and nucleotides → dna_barcode,
/// genus_name → genus (any rank). Any other name stays.
inline std::string canonical_column(std::string_view name) {
    if (name == "uri" || name == "bin_uri") return "dna_bin";
    if (name == "nucraw" || name == "nucleotides") return "dna_barcode";
    if (name.ends_with("_name")) {
        const std::string_view rank = name.substr(0, name.size() - 5);
        if (std::find(k_ranks.begin(), k_ranks.end(), rank) != k_ranks.end()) return std::string(rank);
    }
    return std::string(name);
}

/// By the canonical name; an unknown column is a text.
inline column_kind kind_of_column(std::string_view name) {
    constexpr std::string_view categories[] = {"taxon", "name", "country", "province_state", "split", "chunk", "large_diptera_family",
                                               "medium_diptera_family", "small_diptera_family", "large_insect_order", "medium_insect_order",
                                               "small_insect_order", "copyright_license", "copyright_holder", "copyright_institution",
                                               "copyright_contact", "photographer", "author"};
    constexpr std::string_view reals[] = {"coord-lat", "coord-lon", "image_measurement_value", "area_fraction", "scale_factor"};
    constexpr std::string_view integers[] = {"inferred_ranks", "index_bioscan_1M_insect", "chunk_number", "sequence_len"};
    const auto in = [&](auto& list) { return std::find(std::begin(list), std::end(list), name) != std::end(list); };
    if (in(k_ranks) || in(categories)) return column_kind::category;
    if (in(reals)) return column_kind::real;
    if (in(integers)) return column_kind::integer;
    return column_kind::text;
}

/// The partitions a file of this format may name.
inline std::span<const std::string_view> split_names(bioscan_format format) {
    static constexpr std::string_view bioscan_5m[] = {"pretrain", "train", "val", "test", "key_unseen", "val_unseen", "test_unseen", "other_heldout"};
    static constexpr std::string_view bioscan_1m[] = {"train", "validation", "test", "no_split"};
    static constexpr std::string_view canadian[] = {"pretrain", "train", "val", "test", "test_unseen"};
    switch (format) {
    case bioscan_format::bioscan_1m: return bioscan_1m;
    case bioscan_format::canadian_invertebrates: return canadian;
    default: return bioscan_5m;
    }
}

/// Other spellings of a partition: validation ↔ val, test_seen → test, and for BIOSCAN-1M pretrain → no_split.
inline std::string_view canonical_split(std::string_view split, bioscan_format format) {
    if (format == bioscan_format::bioscan_1m) {
        if (split == "val") return "validation";
        if (split == "pretrain") return "no_split";
        return split;
    }
    if (split == "validation") return "val";
    if (split == "test_seen") return "test";
    return split;
}

/// Unions with a name. Of bioscan-dataset: seen = train + val + test, unseen = key_unseen + val_unseen + test_unseen. Of
/// BarcodeBERT's data_split.py: pre_training = pretrain + other_heldout, and supervised_train, supervised_val,
/// supervised_test. (That program's file unseen.csv is the split test_unseen: ask for it by that name.)
inline std::vector<std::string_view> split_union(std::string_view name, bioscan_format format) {
    if (format == bioscan_format::bioscan_1m) return {};
    const bool canadian = format == bioscan_format::canadian_invertebrates;
    if (name == "seen") return {"train", "val", "test"};
    if (name == "unseen") return canadian ? std::vector<std::string_view>{"test_unseen"} : std::vector<std::string_view>{"key_unseen", "val_unseen", "test_unseen"};
    if (name == "pre_training") return canadian ? std::vector<std::string_view>{"pretrain"} : std::vector<std::string_view>{"pretrain", "other_heldout"};
    if (name == "supervised_train") return {"train"};
    if (name == "supervised_val") return {"val"};
    if (name == "supervised_test") return {"test"};
    return {};
}

/// "a, b, c"
template <class Names>
std::string join_names(const Names& names) {
    std::string text;
    for (const auto& n : names) text += (text.empty() ? "" : ", ") + std::string(n);
    return text;
}

/// Sub-folder of a BIOSCAN-5M image: two hexadecimal digits of md5(processid) in pretrain, one in train and other_heldout,
/// none elsewhere.
inline std::string bioscan_chunk(std::string_view split, std::string_view processid) {
    if (split == "pretrain") return md5_hex(processid).substr(0, 2);
    if (split == "train" || split == "other_heldout") return md5_hex(processid).substr(0, 1);
    return {};
}

/// "bioscan5m/images/cropped_256/train/a/ABC-1.jpg"; an empty chunk makes no folder.
inline std::string bioscan_5m_image_path(std::string_view package, std::string_view split, std::string_view chunk, std::string_view processid) {
    std::string path = "bioscan5m/images/" + std::string(package) + "/" + std::string(split) + "/";
    if (!chunk.empty()) path += std::string(chunk) + "/";
    return path + std::string(processid) + ".jpg";
}

/// "bioscan1m/images/cropped_256/part18/5351601.jpg"
inline std::string bioscan_1m_image_path(std::string_view package, std::int64_t chunk_number, std::string_view image_file) {
    return "bioscan1m/images/" + std::string(package) + "/part" + std::to_string(chunk_number) + "/" + std::string(image_file);
}

namespace detail {

inline void check_image_package(std::string_view package) {
    constexpr std::string_view known[] = {"original_full", "cropped", "original_256", "cropped_256"};
    if (std::find(std::begin(known), std::end(known), package) == std::end(known)) {
        throw value_error("image_path: unknown package '" + std::string(package) + "'; known: " + join_names(known));
    }
}

/// Rows that pandas' C parser reads at a time from a file of that many columns, when it unites categories chunk by chunk.
constexpr std::size_t pandas_chunk_rows(std::size_t n_columns) {
    const std::size_t heuristic = (std::size_t{1} << 20) / std::max<std::size_t>(n_columns, 1);
    std::size_t rows = 1;
    while (rows * 2 < heuristic) rows *= 2;
    return rows;
}

}  // namespace detail
}  // namespace instar::data

#endif
