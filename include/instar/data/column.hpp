#ifndef INSTAR_DATA_COLUMN_HPP
#define INSTAR_DATA_COLUMN_HPP

// Columns of a table in memory: texts, and texts that repeat.
//
//     data::text_column barcodes;                    // stable views, 16 bytes a row beside the text
//     barcodes.push_back("ACGT");
//     tokenizer.encode(ctx, barcodes.views());       // std::span<const std::string_view>
//
//     data::label_map species;                       // text <-> index
//     std::int32_t i = species.insert("Apis mellifera");
//     species.index("Bombus");                       // -1: not there
//     species.name(i);
//
//     data::category_column genus;                   // one index a row and a label_map
//     genus.push_back("Apis"); genus.code(0); genus[0];

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "instar/core/element.hpp"
#include "instar/core/error.hpp"
#include "instar/core/memory.hpp"

namespace instar::data {

/// Texts, appended only. A view stays valid as long as the column lives, moved or not. Empty = missing.
class text_column {
public:
    text_column() = default;
    text_column(text_column&&) noexcept = default;
    text_column& operator=(text_column&&) noexcept = default;

    std::string_view push_back(std::string_view text) {
        rows_.push_back(keep(text));
        return rows_.back();
    }
    /// Replaces a row's text; the old text's bytes stay allocated.
    void set(std::size_t row, std::string_view text) { rows_[row] = keep(text); }
    void reserve(std::size_t n) { rows_.reserve(n); }
    /// Keeps the given rows, ascending; the text of the others stays allocated.
    void select(std::span<const index_t> rows) {
        for (std::size_t i = 0; i < rows.size(); ++i) rows_[i] = rows_[static_cast<std::size_t>(rows[i])];
        rows_.resize(rows.size());
    }

    std::size_t size() const noexcept { return rows_.size(); }
    std::string_view operator[](std::size_t row) const { return rows_[row]; }
    std::span<const std::string_view> views() const noexcept { return rows_; }

private:
    static constexpr std::size_t k_first_block = std::size_t{1} << 16;

    std::string_view keep(std::string_view text) {
        if (text.empty()) return {};
        if (text.size() > room_) {
            // Blocks grow to 32 MiB: short columns stay small, long ones live in huge pages, which halves the time to read them.
            const std::size_t n = std::max(text.size(), k_first_block << std::min<std::size_t>(blocks_.size(), 9));
            blocks_.emplace_back(n);
            next_ = static_cast<char*>(blocks_.back().data());
            room_ = n;
        }
        std::memcpy(next_, text.data(), text.size());
        const std::string_view kept(next_, text.size());
        next_ += text.size();
        room_ -= text.size();
        return kept;
    }

    std::vector<std::string_view> rows_;
    std::vector<memory_block<host_memory>> blocks_;
    char* next_ = nullptr;
    std::size_t room_ = 0;
};

/// Names and their indices 0 … size − 1. The text is the stable key: store names(), not indices, with a model.
class label_map {
public:
    label_map() = default;
    explicit label_map(std::span<const std::string> names) {
        for (const std::string& n : names) insert(n);
    }
    explicit label_map(std::span<const std::string_view> names) {
        for (std::string_view n : names) insert(n);
    }

    std::int32_t size() const noexcept { return static_cast<std::int32_t>(names_.size()); }
    /// Name of an index; "" for −1. Throws value_error for any other index outside [0, size).
    std::string_view name(std::int32_t index) const {
        if (index == -1) return {};
        if (index < 0 || index >= size()) {
            throw value_error("label_map: index " + std::to_string(index) + " is outside [0, " + std::to_string(size()) + ")");
        }
        return names_[static_cast<std::size_t>(index)];
    }
    std::span<const std::string_view> names() const noexcept { return names_.views(); }
    bool contains(std::string_view name) const { return index(name) >= 0; }

    /// Index of a name; −1 for the empty name (missing) and for one that is not there.
    std::int32_t index(std::string_view name) const {
        if (name.empty() || slots_.empty()) return -1;
        return slots_[slot_of(name, hash(name))].index;
    }
    /// Index of a name; −1 for the empty name. Throws value_error for one that is not there.
    std::int32_t at(std::string_view name) const {
        const std::int32_t i = index(name);
        if (i < 0 && !name.empty()) throw value_error("label_map: no label '" + std::string(name) + "' among the " + std::to_string(size()) + " known ones");
        return i;
    }
    /// Index of a name, added at the end when it is new; −1 for the empty name.
    std::int32_t insert(std::string_view name) {
        if (name.empty()) return -1;
        if (slots_.empty()) grow();
        const std::uint64_t h = hash(name);
        slot* s = &slots_[slot_of(name, h)];
        if (s->index >= 0) return s->index;
        if (names_.size() >= 0x7fffffffu) throw value_error("label_map: more than 2^31 − 1 labels");
        if (2 * (names_.size() + 1) > slots_.size()) {
            grow();
            s = &slots_[slot_of(name, h)];
        }
        *s = {static_cast<std::uint32_t>(h >> 32), size()};
        names_.push_back(name);
        return s->index;
    }

    label_map clone() const { return label_map(names()); }

private:
    static std::uint64_t hash(std::string_view s) {
        // Eight bytes a step, mixed by multiplication and folding.
        std::uint64_t h = 0x9e3779b97f4a7c15u ^ s.size();
        std::size_t i = 0;
        std::uint64_t w = 0;
        for (; i + 8 <= s.size(); i += 8) {
            std::memcpy(&w, s.data() + i, 8);
            h = (h ^ w) * 0xd6e8feb86659fd93u;
            h ^= h >> 32;
        }
        if (i < s.size()) {
            w = 0;
            std::memcpy(&w, s.data() + i, s.size() - i);
            h = (h ^ w) * 0xd6e8feb86659fd93u;
            h ^= h >> 32;
        }
        h *= 0xd6e8feb86659fd93u;
        return h ^ (h >> 32);
    }
    struct slot {
        std::uint32_t tag = 0;     // upper half of the hash: most strangers are told apart without a look at their text
        std::int32_t index = -1;   // −1 = free
    };
    /// The slot that holds the name, or the free one where it would go.
    std::size_t slot_of(std::string_view name, std::uint64_t h) const {
        const std::size_t mask = slots_.size() - 1;
        const auto tag = static_cast<std::uint32_t>(h >> 32);
        std::size_t s = static_cast<std::size_t>(h) & mask;
        while (slots_[s].index >= 0 && (slots_[s].tag != tag || names_[static_cast<std::size_t>(slots_[s].index)] != name)) s = (s + 1) & mask;
        return s;
    }
    void grow() {
        slots_.assign(std::max<std::size_t>(64, 2 * slots_.size()), slot{});
        for (std::int32_t i = 0; i < size(); ++i) {
            const std::string_view n = names_[static_cast<std::size_t>(i)];
            const std::uint64_t h = hash(n);
            slots_[slot_of(n, h)] = {static_cast<std::uint32_t>(h >> 32), i};
        }
    }

    text_column names_;
    std::vector<slot> slots_;  // open addressing, at most half full
};

/// A column of labels: an index a row, −1 where missing.
class category_column {
public:
    void push_back(std::string_view text) {
        if (text.empty()) codes_.push_back(-1);
        // Neighbouring rows often share a label: then no hash.
        else if (!codes_.empty() && codes_.back() >= 0 && labels_.names()[static_cast<std::size_t>(codes_.back())] == text) codes_.push_back(codes_.back());
        else codes_.push_back(labels_.insert(text));
    }
    void set(std::size_t row, std::string_view text) { codes_[row] = labels_.insert(text); }
    void reserve(std::size_t n) { codes_.reserve(n); }

    std::size_t size() const noexcept { return codes_.size(); }
    std::int32_t code(std::size_t row) const { return codes_[row]; }
    std::string_view operator[](std::size_t row) const { return labels_.name(codes_[row]); }
    std::span<const std::int32_t> codes() const noexcept { return codes_; }
    const label_map& labels() const noexcept { return labels_; }

    /// Renumbers: the label that is now order[i] gets index i. Labels that are not in `order` must be unused.
    void renumber(std::span<const std::int32_t> order) {
        std::vector<std::int32_t> to(static_cast<std::size_t>(labels_.size()), -1);
        label_map renamed;
        for (std::int32_t old : order) to[static_cast<std::size_t>(old)] = renamed.insert(labels_.name(old));
        for (std::int32_t& c : codes_) c = c < 0 ? -1 : to[static_cast<std::size_t>(c)];
        labels_ = std::move(renamed);
    }
    /// Renumbers by text, in the order of bytes (that is, of Unicode code points); unused labels go.
    void sort_labels() {
        std::vector<std::uint8_t> used(static_cast<std::size_t>(labels_.size()), 0);
        for (std::int32_t c : codes_) {
            if (c >= 0) used[static_cast<std::size_t>(c)] = 1;
        }
        std::vector<std::int32_t> order;
        for (std::int32_t i = 0; i < labels_.size(); ++i) {
            if (used[static_cast<std::size_t>(i)] != 0) order.push_back(i);
        }
        std::sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) { return labels_.name(a) < labels_.name(b); });
        renumber(order);
    }
    /// Keeps the given rows, in the given order.
    void select(std::span<const index_t> rows) {
        std::vector<std::int32_t> kept;
        kept.reserve(rows.size());
        for (index_t r : rows) kept.push_back(codes_[static_cast<std::size_t>(r)]);
        codes_ = std::move(kept);
    }

private:
    std::vector<std::int32_t> codes_;
    label_map labels_;
};

}  // namespace instar::data

#endif
