#ifndef INSTAR_DATA_BIOSCAN_HPP
#define INSTAR_DATA_BIOSCAN_HPP

// The metadata of BIOSCAN-5M, BIOSCAN-1M and Canadian Invertebrates as one typed table; plain or gz, any columns.
//
//     auto m = data::read_bioscan("metadata.csv.gz", {.columns = {"processid", "dna_barcode", "genus", "species", "split"}});
//     std::vector<index_t> train = m.rows_of("train", data::dedup::within_split);
//     m.label("species", row);            // "Apis mellifera", "" where unknown
//     m.label_index("species", row);      // its index in m.labels("species"), −1 where unknown
//     m.barcode(row);                     // std::string_view, valid as long as m
//     m.barcodes();                       // all of them: std::span<const std::string_view>
//     m.image_path(row);                  // "bioscan5m/images/cropped_256/train/a/ABC-1.jpg"
//
// Columns have one name whatever the data set calls them (data/bioscan_format.hpp): dna_barcode, dna_bin, genus, split …
// In loops over many rows take the column once: `const auto& species = m.category("species"); species.code(row)`.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "instar/data/barcode_dedup.hpp"
#include "instar/data/bioscan_format.hpp"
#include "instar/data/column.hpp"
#include "instar/data/csv.hpp"

namespace instar::data {

/// How labels are numbered.
enum class label_order {
    reference,  ///< as bioscan-dataset does: BIOSCAN-1M sorted; the others by pandas' chunks, see read_bioscan
    sorted,     ///< by text, in the order of code points
    first_seen  ///< in the order of the file
};

struct bioscan_options {
    std::vector<std::string> columns = {};               ///< empty = all; the data set's own names ("nucraw") are understood too
    bioscan_format format = bioscan_format::automatic;   ///< anything else must agree with the header
    int max_nucleotides = 0;                             ///< cut barcodes to this many letters; 0 = as they are (the package: 660)
    dedup deduplicate = dedup::none;                     ///< drop repeated barcodes while reading
    label_order labels = label_order::reference;
    std::string partition = "large_diptera_family";      ///< BIOSCAN-1M: the column that `split` is taken from
    bool fix_ups = true;                                 ///< BIOSCAN-1M: repair and fill tribe, genus and subfamily as the package does
};

/// The table. Movable; rows are numbered from 0 in file order. Texts are "" and labels −1 where missing, reals NaN,
/// integers −1. Throws value_error for a column that was not read and a row or split that is not there.
class bioscan_metadata {
public:
    index_t size() const noexcept { return n_rows_; }
    bioscan_format format() const noexcept { return format_; }
    const std::string& path() const noexcept { return path_; }

    std::vector<std::string> columns() const {
        std::vector<std::string> names;
        for (const stored& c : columns_) names.push_back(c.name);
        return names;
    }
    bool has(std::string_view column) const { return find(column) != nullptr; }
    column_kind kind(std::string_view column) const { return get(column).kind; }

    const text_column& text(std::string_view column) const { return get(column, column_kind::text).text; }
    const category_column& category(std::string_view column) const { return get(column, column_kind::category).category; }
    std::span<const double> real(std::string_view column) const { return get(column, column_kind::real).real; }
    std::span<const std::int64_t> integer(std::string_view column) const { return get(column, column_kind::integer).integer; }

    std::string_view processid(index_t row) const { return text("processid")[at(row)]; }
    std::string_view barcode(index_t row) const { return text("dna_barcode")[at(row)]; }
    std::span<const std::string_view> barcodes() const { return text("dna_barcode").views(); }
    std::string_view split(index_t row) const { return split_column()[at(row)]; }
    std::string_view label(std::string_view rank, index_t row) const { return category(rank)[at(row)]; }
    std::int32_t label_index(std::string_view rank, index_t row) const { return category(rank).code(at(row)); }
    const label_map& labels(std::string_view rank) const { return category(rank).labels(); }

    /// Rows of a partition in file order: a split ("train"), another name of one ("validation"), a union with a name ("seen",
    /// "unseen", "pre_training", "all"; data/bioscan_format.hpp) or several joined ("pretrain+other_heldout").
    /// `mode` drops repeated barcodes: over the whole table before the split is looked at, or inside each split.
    std::vector<index_t> rows_of(std::string_view splits, dedup mode = dedup::none) const {
        std::vector<index_t> rows = unique_rows(mode);
        if (splits == "all") return rows;
        const category_column& column = split_column();
        std::vector<std::uint8_t> wanted(static_cast<std::size_t>(column.labels().size()), 0);
        for (std::string_view name : expand(splits)) {
            const std::int32_t i = column.labels().index(name);
            if (i >= 0) wanted[static_cast<std::size_t>(i)] = 1;
        }
        std::erase_if(rows, [&](index_t r) {
            const std::int32_t s = column.code(static_cast<std::size_t>(r));
            return s < 0 || wanted[static_cast<std::size_t>(s)] == 0;
        });
        return rows;
    }
    /// Rows that stay when repeated barcodes go, ascending.
    std::vector<index_t> unique_rows(dedup mode) const {
        if (mode == dedup::none) {
            std::vector<index_t> rows(static_cast<std::size_t>(n_rows_));
            std::iota(rows.begin(), rows.end(), index_t{0});
            return rows;
        }
        if (truncated_ && mode != dedup::package) {
            throw value_error(path_ + ": deduplicating by " + dedup_name(mode) + " needs whole barcodes, but they were cut to " +
                              std::to_string(max_nucleotides_) + " on reading");
        }
        const std::span<const std::int32_t> splits = mode == dedup::within_split ? split_column().codes() : std::span<const std::int32_t>{};
        return data::deduplicate(barcodes(), mode, splits, static_cast<std::size_t>(max_nucleotides_ > 0 ? max_nucleotides_ : 660));
    }

    /// Barcodes of some rows, as views.
    std::vector<std::string_view> barcodes_of(std::span<const index_t> rows) const {
        const text_column& column = text("dna_barcode");
        std::vector<std::string_view> views;
        views.reserve(rows.size());
        for (index_t r : rows) views.push_back(column[at(r)]);
        return views;
    }

    /// Sub-folder of a BIOSCAN-5M image: the file's `chunk` where it was read, the MD5 rule otherwise.
    std::string chunk(index_t row) const {
        if (has("chunk")) return std::string(category("chunk")[at(row)]);
        return bioscan_chunk(split(row), processid(row));
    }
    /// Where an image lies below the data's root. Packages: original_full, cropped, original_256, cropped_256.
    std::string image_path(index_t row, std::string_view package = "cropped_256") const {
        detail::check_image_package(package);
        switch (format_) {
        case bioscan_format::bioscan_5m: return bioscan_5m_image_path(package, split(row), chunk(row), processid(row));
        case bioscan_format::bioscan_1m: return bioscan_1m_image_path(package, integer("chunk_number")[at(row)], text("image_file")[at(row)]);
        default: throw value_error(path_ + ": " + format_name(format_) + " has no images");
        }
    }

private:
    friend class bioscan_loader;

    struct stored {
        std::string name;           // canonical
        column_kind kind = column_kind::text;
        text_column text = {};
        category_column category = {};
        std::vector<double> real = {};
        std::vector<std::int64_t> integer = {};
    };

    const stored* find(std::string_view name) const {
        for (const stored& c : columns_) {
            if (c.name == name) return &c;
        }
        const std::string canonical = canonical_column(name);
        for (const stored& c : columns_) {
            if (c.name == canonical) return &c;
        }
        return nullptr;
    }
    const stored& get(std::string_view name) const {
        const stored* c = find(name);
        if (c == nullptr) throw value_error(path_ + ": column '" + std::string(name) + "' was not read; there are: " + join_names(columns()));
        return *c;
    }
    const stored& get(std::string_view name, column_kind kind) const {
        const stored& c = get(name);
        if (c.kind != kind) {
            constexpr const char* words[] = {"text", "category", "real", "integer"};
            throw value_error(path_ + ": column '" + c.name + "' is kept as " + words[static_cast<int>(c.kind)] + ", not as " + words[static_cast<int>(kind)]);
        }
        return c;
    }
    std::size_t at(index_t row) const {
        if (row < 0 || row >= n_rows_) throw value_error(path_ + ": row " + std::to_string(row) + " is outside [0, " + std::to_string(n_rows_) + ")");
        return static_cast<std::size_t>(row);
    }
    const category_column& split_column() const {
        if (!has("split")) throw value_error(path_ + ": column 'split' was not read or is not in the file, so its rows belong to no split");
        return category("split");
    }
    std::vector<std::string_view> expand(std::string_view splits) const {
        std::vector<std::string_view> names;
        const auto known = split_names(format_);
        for (std::size_t begin = 0; begin <= splits.size();) {
            const std::size_t end = std::min(splits.find('+', begin), splits.size());
            const std::string_view part = splits.substr(begin, end - begin);
            begin = end + 1;
            const auto parts = split_union(part, format_);
            if (!parts.empty()) {
                names.insert(names.end(), parts.begin(), parts.end());
                continue;
            }
            const std::string_view name = canonical_split(part, format_);
            if (std::find(known.begin(), known.end(), name) == known.end()) {
                throw value_error(path_ + ": unknown split '" + std::string(part) + "'; " + format_name(format_) + " has: " + join_names(known) +
                                  (format_ == bioscan_format::bioscan_1m ? "" : ", seen, unseen, pre_training") + ", all");
            }
            names.push_back(name);
        }
        return names;
    }

    std::string path_;
    bioscan_format format_ = bioscan_format::bioscan_5m;
    std::vector<stored> columns_;
    index_t n_rows_ = 0;
    int max_nucleotides_ = 0;
    bool truncated_ = false;  // a barcode was really cut
};

}  // namespace instar::data

#include "instar/data/bioscan_reader.hpp"

#endif
