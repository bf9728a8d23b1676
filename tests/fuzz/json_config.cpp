// Any text is either JSON, which survives being written and read again, or a parse_error; and any JSON is either a model's
// configuration or a parse_error.
#include <cstdlib>
#include <string_view>

#include "instar/io/json.hpp"

using namespace instar;

namespace {

template <class T>
void get(const io::json_view& view, const std::string& key) {
    try {
        (void)view.get_or<T>(key, T{});
    } catch (const parse_error&) {
    }
}

/// Every getter on every value, whatever it is.
void visit(const io::json_view& view) {
    if (view.value().is_object()) {
        for (const auto& [key, unused] : view.value().items()) {
            get<bool>(view, key);
            get<std::int32_t>(view, key);
            get<std::uint64_t>(view, key);
            get<double>(view, key);
            get<std::string>(view, key);
            get<std::vector<index_t>>(view, key);
            get<std::vector<std::string>>(view, key);
            visit(view.child(key));
        }
    } else if (view.value().is_array()) {
        for (std::size_t i = 0; i < view.size(); ++i) visit(view[i]);
    } else {
        try {
            (void)view.get<int>("hidden_size");
            std::abort();
        } catch (const parse_error&) {
        }
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    try {
        const io::json value = io::parse_json(text, "config.json");
        if (io::parse_json(io::json_text(value), "again") != value) std::abort();
        visit(io::json_view(value, "config.json"));
    } catch (const parse_error&) {
    }
    return 0;
}
