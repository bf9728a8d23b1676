#ifndef INSTAR_DATA_BIOSCAN_READER_HPP
#define INSTAR_DATA_BIOSCAN_READER_HPP

// From a file to data::bioscan_metadata. Included by data/bioscan.hpp, which shows how it is used.
//
//     auto m = data::read_bioscan(path, options);
//     auto t = data::read_bioscan(io::input_file::from_memory("a test", text));

#include <optional>

#include "instar/data/bioscan.hpp"

namespace instar::data {

/// Reads one file; see read_bioscan.
class bioscan_loader {
public:
    bioscan_loader(io::input_file in, bioscan_options options) : options_(std::move(options)), name_(in.name()) {
        if (options_.max_nucleotides < 0) throw value_error("read_bioscan: max_nucleotides must not be negative");
        // Every field is found anyway, to count them; only those that are stored cost more.
        reader_.emplace(std::move(in), csv_options{.na_strings = true});
        recognise();
        choose_columns();
    }

    bioscan_metadata load() {
        bioscan_metadata m;
        m.path_ = name_;
        m.format_ = format_;
        m.max_nucleotides_ = options_.max_nucleotides;
        for (const target& t : targets_) {
            m.columns_.emplace_back();
            m.columns_.back().name = t.name;
            m.columns_.back().kind = t.kind;
        }
        chunk_ends_.assign(targets_.size(), {});
        const std::size_t chunk_rows = detail::pandas_chunk_rows(reader_->header().size());
        csv_reader& in = *reader_;
        while (in.next()) {
            if (fixes_) fix_ranks();
            for (std::size_t t = 0; t < targets_.size(); ++t) store(m.columns_[t], targets_[t]);
            ++m.n_rows_;
            if (static_cast<std::size_t>(m.n_rows_) % chunk_rows == 0) end_chunk(m);
        }
        end_chunk(m);
        m.truncated_ = truncated_;
        // The order of the package: labels of the whole file (BIOSCAN-1M: of what is left), after dropping repeated barcodes.
        const bool reference = options_.labels == label_order::reference;
        const bool late = reference && format_ == bioscan_format::bioscan_1m;
        if (!late) number_labels(m);
        if (options_.deduplicate != dedup::none) keep_rows(m, m.unique_rows(options_.deduplicate));
        if (late) number_labels(m);
        return m;
    }

private:
    struct target {
        std::string name;        // canonical
        column_kind kind;
        std::size_t field;       // of the reader
        bool not_classified = false;
        int fixed = -1;          // index into fixed_, where the text comes from fix_ranks
        bool is_split = false, is_barcode = false;
    };
    enum fixed_rank { k_tribe, k_genus, k_subfamily, k_n_fixed };

    void recognise() {
        const csv_reader& in = *reader_;
        if (in.has("nucraw") || (in.has("uri") && in.has("image_file"))) format_ = bioscan_format::bioscan_1m;
        else if (in.has("nucleotides") || (in.has("sequence_len") && !in.has("subfamily") && !in.has("chunk"))) format_ = bioscan_format::canadian_invertebrates;
        else if (in.has("processid") || in.has("dna_barcode")) format_ = bioscan_format::bioscan_5m;
        else {
            throw parse_error(name_, "is no metadata of BIOSCAN-5M, BIOSCAN-1M or Canadian Invertebrates: it has none of the columns processid, "
                                     "dna_barcode, nucraw, nucleotides; its columns are: " + join_names(in.header()));
        }
        if (options_.format != bioscan_format::automatic && options_.format != format_) {
            throw parse_error(name_, std::string("was to be ") + format_name(options_.format) + ", but its header is that of " + format_name(format_));
        }
    }

    void choose_columns() {
        const std::vector<std::string>& header = reader_->header();
        std::vector<std::string> canonical;
        for (const std::string& h : header) {
            std::string c = canonical_column(h);
            // A file with both `order` and `order_name` keeps the second under its own name.
            const bool taken = std::find(canonical.begin(), canonical.end(), c) != canonical.end() ||
                               (c != h && std::find(header.begin(), header.end(), c) != header.end());
            canonical.push_back(taken ? h : c);
        }
        const auto position = [&](std::string_view name) -> std::size_t {
            const auto as_is = std::find(canonical.begin(), canonical.end(), name);
            if (as_is != canonical.end()) return static_cast<std::size_t>(as_is - canonical.begin());
            const auto own = std::find(header.begin(), header.end(), name);
            if (own != header.end()) return static_cast<std::size_t>(own - header.begin());
            const auto other = std::find(canonical.begin(), canonical.end(), canonical_column(name));
            return static_cast<std::size_t>(other - canonical.begin());
        };
        const bool split_from_partition = format_ == bioscan_format::bioscan_1m && position("split") == header.size();
        std::vector<std::string> wanted = options_.columns;
        if (wanted.empty()) {
            wanted = canonical;
            if (split_from_partition && position(options_.partition) != header.size()) wanted.push_back("split");
        }
        const bool wants_fixed = std::any_of(wanted.begin(), wanted.end(), [](const std::string& w) { return w == "tribe" || w == "genus" || w == "subfamily"; });
        fixes_ = format_ == bioscan_format::bioscan_1m && options_.fix_ups && wants_fixed;
        for (const std::string& w : wanted) {
            const bool derived_split = w == "split" && split_from_partition;
            const std::size_t p = position(derived_split ? options_.partition : w);
            if (p == header.size()) {
                throw parse_error(name_, "has no column '" + (derived_split ? options_.partition : w) + "'" + (derived_split ? " to take the split from" : "") +
                                             "; its columns are: " + join_names(header));
            }
            const std::string name = derived_split ? "split" : canonical[p];
            if (std::any_of(targets_.begin(), targets_.end(), [&](const target& t) { return t.name == name; })) {
                throw value_error("read_bioscan: column '" + name + "' is asked for twice");
            }
            target t{.name = name, .kind = kind_of_column(name), .field = p};
            t.is_split = name == "split";
            t.is_barcode = name == "dna_barcode";
            t.not_classified = format_ == bioscan_format::bioscan_1m && name != "subspecies" && std::find(k_ranks.begin(), k_ranks.end(), name) != k_ranks.end();
            if (fixes_) t.fixed = name == "tribe" ? k_tribe : name == "genus" ? k_genus : name == "subfamily" ? k_subfamily : -1;
            targets_.push_back(std::move(t));
        }
        if (fixes_) {
            constexpr const char* ranks[5] = {"family", "subfamily", "tribe", "genus", "species"};
            for (int i = 0; i < 5; ++i) {
                rank_field_[i] = position(ranks[i]);
                if (rank_field_[i] == header.size()) {
                    throw parse_error(name_, std::string("has no column '") + ranks[i] + "', which filling in tribe, genus and subfamily needs (fix_ups)");
                }
            }
        }
    }

    std::string_view label(std::size_t field, bool not_classified) const {
        if (reader_->missing(field)) return {};
        const std::string_view s = (*reader_)[field];
        return not_classified && s == "not_classified" ? std::string_view{} : s;
    }

    /// BIOSCAN-1M's repairs, in the package's order. Each of them looks at one row only.
    void fix_ranks() {
        const std::string_view family = label(rank_field_[0], true), species = label(rank_field_[4], true);
        std::string &tribe = fixed_[k_tribe], &genus = fixed_[k_genus], &subfamily = fixed_[k_subfamily];
        subfamily = label(rank_field_[1], true);
        tribe = label(rank_field_[2], true);
        genus = label(rank_field_[3], true);
        if (genus == "Asteia") tribe = "Asteiini";
        if (genus == "Nemorilla") tribe = "Winthemiini";
        if (genus == "Philaenus") tribe = "Philaenini";
        if (genus.empty()) genus = species.substr(0, species.find(' '));
        if (tribe.empty() && !genus.empty()) {
            if (!subfamily.empty()) tribe = "unassigned " + subfamily;
            else if (!family.empty()) tribe = "unassigned " + std::string(family);
        }
        if (subfamily.empty() && !tribe.empty() && !family.empty()) subfamily = "unassigned " + std::string(family);
    }

    void store(bioscan_metadata::stored& column, const target& t) {
        csv_reader& in = *reader_;
        switch (t.kind) {
        case column_kind::real: column.real.push_back(in.real(t.field)); return;
        case column_kind::integer: column.integer.push_back(in.integer(t.field)); return;
        case column_kind::text: {
            std::string_view s = label(t.field, false);
            if (t.is_barcode && options_.max_nucleotides > 0 && s.size() > static_cast<std::size_t>(options_.max_nucleotides)) {
                s = s.substr(0, static_cast<std::size_t>(options_.max_nucleotides));
                truncated_ = true;
            }
            column.text.push_back(s);
            return;
        }
        case column_kind::category: {
            std::string_view s = t.fixed >= 0 ? std::string_view(fixed_[t.fixed]) : label(t.field, t.not_classified);
            if (t.is_split && !s.empty()) {
                s = canonical_split(s, format_);
                const auto known = split_names(format_);
                if (std::find(known.begin(), known.end(), s) == known.end()) {
                    throw in.error_here("unknown split '" + std::string(s.substr(0, 60)) + "'; " + format_name(format_) + " has: " + join_names(known));
                }
            }
            column.category.push_back(s);
            return;
        }
        }
    }

    void end_chunk(const bioscan_metadata& m) {
        for (std::size_t t = 0; t < targets_.size(); ++t) {
            if (targets_[t].kind == column_kind::category) chunk_ends_[t].push_back(m.columns_[t].category.labels().size());
        }
    }

    void number_labels(bioscan_metadata& m) const {
        if (options_.labels == label_order::first_seen) return;
        const bool by_chunks = options_.labels == label_order::reference && format_ != bioscan_format::bioscan_1m;
        for (std::size_t t = 0; t < targets_.size(); ++t) {
            if (targets_[t].kind != column_kind::category) continue;
            category_column& c = m.columns_[t].category;
            if (!by_chunks) {
                c.sort_labels();
                continue;
            }
            // Labels are numbered as they came: those that are new in a chunk are neighbours.
            std::vector<std::int32_t> order(static_cast<std::size_t>(c.labels().size()));
            std::iota(order.begin(), order.end(), 0);
            std::int32_t begin = 0;
            for (std::int32_t end : chunk_ends_[t]) {
                std::sort(order.begin() + begin, order.begin() + end, [&](std::int32_t a, std::int32_t b) { return c.labels().name(a) < c.labels().name(b); });
                begin = end;
            }
            c.renumber(order);
        }
    }

    static void keep_rows(bioscan_metadata& m, const std::vector<index_t>& rows) {
        for (auto& c : m.columns_) {
            switch (c.kind) {
            case column_kind::text: c.text.select(rows); break;
            case column_kind::category: c.category.select(rows); break;
            case column_kind::real: select(c.real, rows); break;
            case column_kind::integer: select(c.integer, rows); break;
            }
        }
        m.n_rows_ = static_cast<index_t>(rows.size());
    }
    template <class T>
    static void select(std::vector<T>& values, const std::vector<index_t>& rows) {
        // Rows ascend, so a value is never overwritten before it is moved.
        for (std::size_t i = 0; i < rows.size(); ++i) values[i] = values[static_cast<std::size_t>(rows[i])];
        values.resize(rows.size());
    }

    bioscan_options options_;
    std::string name_;
    std::optional<csv_reader> reader_;
    bioscan_format format_ = bioscan_format::bioscan_5m;
    std::vector<target> targets_;
    std::size_t rank_field_[5] = {};
    std::string fixed_[k_n_fixed];
    std::vector<std::vector<std::int32_t>> chunk_ends_;  // number of labels at the end of each chunk of rows
    bool fixes_ = false;
    bool truncated_ = false;
};

/// Reads a metadata file, plain or gz; comma, tab or semicolon by its header.
///
/// Missing are: the empty field, pandas' default NA texts ("NA", "null", …), and for BIOSCAN-1M's ranks "not_classified".
/// The order of bioscan-dataset's operations is kept: read, cut barcodes, drop repeated ones (over the whole file), then
/// everything by split. Labels are numbered over the whole file; label_order::reference gives the package's indices: for
/// BIOSCAN-5M and Canadian Invertebrates, labels that first appear in the same chunk of rows are sorted, and chunks follow
/// each other (chunk = largest power of two below 2²⁰ / columns: 32,768 rows of 23 columns); for BIOSCAN-1M all are sorted
/// after the repairs. Store label texts with a model, never indices alone.
///
/// Throws io_error (file, gz), parse_error (format, as csv_reader; no such column, with the list of those there are; a split
/// name that the data set does not have, with the list and the line; a header of another data set than asked for) and
/// value_error (a column asked for twice).
/// Cost: one pass, about 1.5 GB/s of plain text with all columns; memory: the columns that are read.
inline bioscan_metadata read_bioscan(io::input_file in, bioscan_options options = {}) {
    return bioscan_loader(std::move(in), std::move(options)).load();
}
inline bioscan_metadata read_bioscan(const std::string& path, bioscan_options options = {}) {
    return read_bioscan(io::input_file(path), std::move(options));
}

}  // namespace instar::data

#endif
