#ifndef INSTAR_IO_JSON_HPP
#define INSTAR_IO_JSON_HPP

// JSON files with errors that name the file, the line and the column, or the file and the key. The one header that includes
// nlohmann_json (three seconds of compile time): loaders of model folders and tokenizers include it, kernels never do.
//
//     io::json config = io::read_json("model/config.json");
//     io::json_view view(config, "model/config.json");
//     auto d_model = view.get<index_t>("hidden_size");             // missing or of another type: parse_error, names the key
//     auto eps     = view.get_or<double>("layer_norm_eps", 1e-12); // the default when missing or null
//     auto vocab   = view.child("model").child("vocab");
//     io::write_json("out/results.json", {{"task", "probe"}, {"seconds", 1.5}});
//
// Stricter than RFC 8259 asks: a key that comes twice in one object is an error, and so is nesting deeper than 256.

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_set>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "instar/core/element.hpp"
#include "instar/core/error.hpp"
#include "instar/io/atomic_file.hpp"
#include "instar/io/file.hpp"

namespace instar::io {

/// Objects keep their keys sorted, so the same content gives the same bytes.
using json = nlohmann::json;

namespace detail {

inline constexpr int k_json_depth = 256;

/// "a string", "an integer", …: what stands in the file, for messages.
inline const char* json_kind(const json& v) {
    switch (v.type()) {
    case json::value_t::null: return "null";
    case json::value_t::object: return "an object";
    case json::value_t::array: return "an array";
    case json::value_t::string: return "a string";
    case json::value_t::boolean: return "a boolean";
    case json::value_t::number_integer:
    case json::value_t::number_unsigned: return "an integer";
    case json::value_t::number_float: return "a number";
    default: return "no value";
    }
}

/// Line and column (1-based, in bytes) of a byte of the text.
inline std::pair<std::int64_t, std::int64_t> line_and_column(std::string_view text, std::size_t at) {
    std::int64_t line = 1, column = 1;
    for (std::size_t i = 0; i < at && i < text.size(); ++i) {
        if (text[i] == '\n') {
            ++line;
            column = 1;
        } else {
            ++column;
        }
    }
    return {line, column};
}

/// The library's own words without its "[json.exception.parse_error.101] parse error at line 1, column 2: " in front.
inline std::string json_message(std::string_view what) {
    const std::size_t bracket = what.find("] ");
    if (bracket != std::string_view::npos) what.remove_prefix(bracket + 2);
    if (what.starts_with("parse error")) {
        const std::size_t colon = what.find(": ");
        if (colon != std::string_view::npos) what.remove_prefix(colon + 2);
    }
    return std::string(what);
}

}  // namespace detail

/// Parses a text. `place` is what errors call it, a file name as a rule.
/// Throws parse_error with line and column for a syntax error, invalid UTF-8 or a number out of range; with the key for a
/// duplicate. A byte order mark is skipped.
inline json parse_json(std::string_view text, const std::string& place) {
    // The parser takes a NUL byte for the end of the text and would accept anything behind it.
    if (const std::size_t nul = text.find('\0'); nul != std::string_view::npos) {
        const auto [line, column] = detail::line_and_column(text, nul);
        throw parse_error(place, line, column, "a NUL byte");
    }
    std::vector<std::unordered_set<std::string>> keys;
    const auto watch = [&](int depth, json::parse_event_t event, json& value) {
        if (event == json::parse_event_t::object_start || event == json::parse_event_t::array_start) {
            if (depth >= detail::k_json_depth) {
                throw parse_error(place, "nested deeper than " + std::to_string(detail::k_json_depth) + " levels");
            }
            if (event == json::parse_event_t::object_start) keys.emplace_back();
        } else if (event == json::parse_event_t::object_end) {
            keys.pop_back();
        } else if (event == json::parse_event_t::key) {
            if (!keys.back().insert(value.get_ref<const std::string&>()).second) {
                throw parse_error(place, "the key \"" + value.get_ref<const std::string&>() + "\" comes twice in one object");
            }
        }
        return true;
    };
    try {
        return json::parse(text.begin(), text.end(), watch);
    } catch (const json::parse_error& e) {
        const auto [line, column] = detail::line_and_column(text, e.byte > 0 ? e.byte - 1 : 0);
        throw parse_error(place, line, column, text.empty() ? "the file is empty" : detail::json_message(e.what()));
    } catch (const json::exception& e) {
        throw parse_error(place, detail::json_message(e.what()));
    }
}

/// Reads and parses a file. Throws io_error (cannot be read) or what parse_json throws.
inline json read_json(const std::string& path) { return parse_json(read_text(path), path); }

/// The text of a value, indented; a NaN or an infinity becomes null. Throws value_error for strings that are not UTF-8.
inline std::string json_text(const json& value, int indent = 2) {
    try {
        return value.dump(indent) + "\n";
    } catch (const json::exception& e) {
        throw value_error("json_text: " + detail::json_message(e.what()));
    }
}

/// Writes a value, replacing the file atomically (io/atomic_file.hpp).
inline void write_json(const std::string& path, const json& value, int indent = 2) {
    try {
        write_file(path, json_text(value, indent));
    } catch (const value_error& e) {
        throw value_error(path + ": " + e.what());
    }
}

/// A value with the file and the path of keys that lead to it. Owns nothing: the json and the strings must outlive it.
class json_view {
public:
    json_view(const json& value, std::string file) : value_(&value), file_(std::move(file)) {}
    json_view(json&&, std::string) = delete;

    const json& value() const noexcept { return *value_; }
    const std::string& file() const noexcept { return file_; }

    /// Whether the object has this key, with a value other than null.
    bool has(const std::string& key) const {
        if (!value_->is_object()) fail(where_, "an object");
        const auto it = value_->find(key);
        return it != value_->end() && !it->is_null();
    }
    /// The value of a key. T: bool, an integer, float, double, std::string, or std::vector of those. An integer is never
    /// taken from 1.5, nor a number from "1"; one that T cannot hold is an error.
    template <class T>
    T get(const std::string& key) const {
        return child(key).template as<T>();
    }
    template <class T>
    T get_or(const std::string& key, T fallback) const {
        return has(key) ? get<T>(key) : fallback;
    }
    json_view child(const std::string& key) const {
        if (!value_->is_object()) fail(where_, "an object");
        const auto it = value_->find(key);
        if (it == value_->end()) throw parse_error(file_, "the key \"" + join(key) + "\" is missing");
        return json_view(*it, file_, join(key));
    }
    json_view operator[](std::size_t i) const {
        if (!value_->is_array()) fail(where_, "an array");
        const std::string place = where_ + "[" + std::to_string(i) + "]";
        if (i >= value_->size()) {
            throw parse_error(file_, "\"" + place + "\" is beyond the end of an array of " + std::to_string(value_->size()));
        }
        return json_view((*value_)[i], file_, place);
    }
    /// Elements of an array or an object.
    std::size_t size() const {
        if (!value_->is_array() && !value_->is_object()) fail(where_, "an array or an object");
        return value_->size();
    }

    template <class T>
    T as() const {
        if constexpr (std::is_same_v<T, bool>) {
            if (!value_->is_boolean()) fail(where_, "a boolean");
            return value_->get<bool>();
        } else if constexpr (std::is_integral_v<T>) {
            if (value_->is_number_unsigned()) {
                const auto v = value_->get<std::uint64_t>();
                if (std::in_range<T>(v)) return static_cast<T>(v);
            } else if (value_->is_number_integer()) {
                const auto v = value_->get<std::int64_t>();
                if (std::in_range<T>(v)) return static_cast<T>(v);
            } else {
                fail(where_, "an integer");
            }
            throw parse_error(file_, quoted(where_) + " is " + value_->dump() + ", out of the range of " + std::to_string(8 * sizeof(T)) +
                                         " bits" + (std::is_signed_v<T> ? "" : " without a sign"));
        } else if constexpr (std::is_floating_point_v<T>) {
            if (!value_->is_number()) fail(where_, "a number");
            return static_cast<T>(value_->get<double>());
        } else if constexpr (std::is_same_v<T, std::string>) {
            if (!value_->is_string()) fail(where_, "a string");
            return value_->get<std::string>();
        } else {
            static_assert(std::is_same_v<T, std::vector<typename T::value_type>>, "bool, integer, floating point, string, vector");
            if (!value_->is_array()) fail(where_, "an array");
            T result;
            result.reserve(value_->size());
            for (std::size_t i = 0; i < value_->size(); ++i) result.push_back((*this)[i].template as<typename T::value_type>());
            return result;
        }
    }

private:
    json_view(const json& value, std::string file, std::string where)
        : value_(&value), file_(std::move(file)), where_(std::move(where)) {}
    std::string join(const std::string& key) const { return where_.empty() ? key : where_ + "." + key; }
    static std::string quoted(const std::string& where) { return where.empty() ? "the value" : "\"" + where + "\""; }
    [[noreturn]] void fail(const std::string& where, const char* expected) const {
        throw parse_error(file_, quoted(where) + " is " + detail::json_kind(*value_) + ", expected " + expected);
    }

    const json* value_;
    std::string file_;
    std::string where_;  // "model.vocab[3]"
};

}  // namespace instar::io

#endif
