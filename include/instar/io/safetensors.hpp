#ifndef INSTAR_IO_SAFETENSORS_HPP
#define INSTAR_IO_SAFETENSORS_HPP

// Reading .safetensors, the file format of Hugging Face models (own code; https://huggingface.co/docs/safetensors).
//
//     io::safetensors_file f("model.safetensors");
//     for (const auto& t : f.tensors()) use(t.name, t.type, t.shape);
//     std::vector<float> w = f.read<float>("classifier.weight");          // BF16, F16, F64 are converted
//     f.read_into("classifier.bias", bias.view());                         // the shape must be the view's
//
// The file: 8 bytes = the header's length, little-endian; a JSON object name → {dtype, shape, data_offsets}; the data.
// Opening checks all of it: lengths, types, shape × element size = bytes, no overlap, no gap, nothing behind the last tensor,
// no name twice. A bad file gives a parse_error that names the file and the tensor, and is never read out of range.
// Writing: io/safetensors_writer.hpp, included here.

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "instar/core/tensor.hpp"
#include "instar/io/file.hpp"
#include "instar/io/json.hpp"
#include "instar/io/safetensors_writer.hpp"

namespace instar::io {

namespace detail {

struct safetensors_header {
    std::vector<tensor_info> tensors;  // sorted by name
    safetensors_metadata metadata;
};

/// Tensors in the order of their data must follow each other without gap or overlap, and fill the file.
inline void check_offsets(const std::string& path, const std::vector<tensor_info>& tensors, std::uint64_t n_bytes) {
    std::vector<const tensor_info*> order;
    for (const tensor_info& t : tensors) order.push_back(&t);
    std::sort(order.begin(), order.end(), [](const tensor_info* a, const tensor_info* b) {
        return std::pair(a->begin, a->end) < std::pair(b->begin, b->end);
    });
    const tensor_info* before = nullptr;
    std::uint64_t at = 0;
    for (const tensor_info* t : order) {
        if (t->begin != at) {
            std::string neighbour = before == nullptr ? "the header" : "tensor '" + before->name + "'";
            throw parse_error(path, "tensor '" + t->name + "' begins at byte " + std::to_string(t->begin) + " of the data, expected " +
                                        std::to_string(at) + ": " + (t->begin < at ? "it overlaps " : "a gap after ") + neighbour);
        }
        at = t->end;
        before = t;
    }
    if (at != n_bytes) {
        throw parse_error(path, std::to_string(n_bytes - at) + " bytes behind the last tensor belong to none");
    }
}

/// Parses and checks the JSON of a header; n_bytes = size of the data behind it.
inline safetensors_header parse_safetensors_header(const std::string& path, std::string_view text, std::uint64_t n_bytes) {
    if (text.empty() || text[0] != '{') throw parse_error(path, "the header does not begin with '{': not a safetensors file");
    const json root = parse_json(text, path + " (header)");
    safetensors_header header;
    for (const auto& [name, value] : root.items()) {
        const json_view view(value, path + ": tensor '" + name + "'");
        if (name == "__metadata__") {
            if (!value.is_object()) throw parse_error(path, "__metadata__ is not an object");
            for (const auto& [key, text_value] : value.items()) header.metadata[key] = json_view(text_value, path + ": __metadata__ '" + key + "'").as<std::string>();
            continue;
        }
        tensor_info t;
        t.name = name;
        const auto fail = [&](const std::string& what) { throw parse_error(path, "tensor '" + name + "': " + what); };
        const auto type = view.get<std::string>("dtype");
        const auto* row = std::find_if(std::begin(k_dtypes), std::end(k_dtypes), [&](const dtype_row& r) { return r.name == type; });
        if (row == std::end(k_dtypes)) fail("unknown dtype \"" + type + "\"");
        t.type = row->type;
        t.shape = view.get<std::vector<index_t>>("shape");
        const auto offsets = view.get<std::vector<std::uint64_t>>("data_offsets");
        if (offsets.size() != 2) fail("data_offsets has " + std::to_string(offsets.size()) + " elements, expected 2");
        t.begin = offsets[0];
        t.end = offsets[1];
        if (t.begin > t.end) fail("data_offsets [" + std::to_string(t.begin) + ", " + std::to_string(t.end) + "] end before they begin");
        if (t.end > n_bytes) {
            fail("data_offsets end at byte " + std::to_string(t.end) + ", the file holds " + std::to_string(n_bytes) + " bytes of data");
        }
        const index_t n = t.size();
        if (n < 0) fail("impossible shape " + shape_string(t.shape));
        // Divided, not multiplied: n may be large enough for the product to wrap around.
        const std::uint64_t bytes = t.end - t.begin, size = row->size;
        if (bytes % size != 0 || bytes / size != static_cast<std::uint64_t>(n)) {
            fail("shape " + shape_string(t.shape) + " of " + type + " takes " + std::to_string(n) + " × " + std::to_string(size) +
                 " bytes, data_offsets span " + std::to_string(bytes));
        }
        header.tensors.push_back(std::move(t));
    }
    std::sort(header.tensors.begin(), header.tensors.end(), [](const tensor_info& a, const tensor_info& b) { return a.name < b.name; });
    check_offsets(path, header.tensors, n_bytes);
    return header;
}

}  // namespace detail

/// An open .safetensors file. Reading is const and may happen from several threads.
class safetensors_file {
public:
    /// Throws io_error (cannot be read) or parse_error (not a valid file).
    explicit safetensors_file(std::string path) : file_(std::move(path)) {
        const std::string& name = file_.path();
        if (file_.size() < 8) {
            throw parse_error(name, "truncated: " + std::to_string(file_.size()) + " bytes, the header's length alone takes 8");
        }
        std::uint64_t length = 0;
        file_.read_at(0, &length, 8);
        if (length > safetensors_writer::k_max_header) {
            throw parse_error(name, "the header claims " + std::to_string(length) + " bytes, at most " +
                                        std::to_string(safetensors_writer::k_max_header) + " are allowed: not a safetensors file");
        }
        if (length > file_.size() - 8) {
            throw parse_error(name, "truncated: the header claims " + std::to_string(length) + " bytes, " + std::to_string(file_.size() - 8) +
                                        " follow");
        }
        std::string text(static_cast<std::size_t>(length), '\0');
        file_.read_at(8, text.data(), text.size());
        data_begin_ = 8 + length;
        header_ = detail::parse_safetensors_header(name, text, file_.size() - data_begin_);
    }

    const std::string& path() const noexcept { return file_.path(); }
    const safetensors_metadata& metadata() const noexcept { return header_.metadata; }
    /// Sorted by name.
    const std::vector<tensor_info>& tensors() const noexcept { return header_.tensors; }
    std::vector<std::string> names() const {
        std::vector<std::string> result;
        for (const tensor_info& t : header_.tensors) result.push_back(t.name);
        return result;
    }
    bool contains(std::string_view name) const noexcept { return find(name) != nullptr; }
    /// Throws parse_error when there is no such tensor.
    const tensor_info& info(std::string_view name) const {
        const tensor_info* t = find(name);
        if (t == nullptr) throw parse_error(path(), "there is no tensor '" + std::string(name) + "'");
        return *t;
    }

    /// All elements of a tensor, row-major. Throws parse_error when its type does not convert to T (io/dtype.hpp) or a value
    /// does not fit.
    template <class T>
    std::vector<T> read(std::string_view name) const {
        static_assert(!std::is_same_v<T, bool>, "std::vector<bool> has no memory to read into: read<std::uint8_t>");
        const tensor_info& t = info(name);
        check_type<T>(t);
        std::vector<T> values(static_cast<std::size_t>(t.size()));
        read_elements(t, 0, t.size(), values.data());
        return values;
    }
    /// Throws shape_error when the tensor's shape is not the view's. The view may have strides.
    template <class T, int Rank>
    void read_into(std::string_view name, const tensor_view<T, Rank>& view) const {
        const tensor_info& t = info(name);
        check_shape(t, std::vector<index_t>(view.extents_, view.extents_ + Rank));
        check_type<T>(t);
        index_t at = 0;
        read_strided(t, at, view);
    }
    template <class T, int Rank, class Memory = host_memory>
    void read_into(std::string_view name, tensor<T, Rank, Memory>& to) const {
        read_into(name, to.view());
    }
    /// Into memory described at run time. `to.name` is not looked at: `name` is the file's.
    void read_into(std::string_view name, const named_tensor& to) const {
        const tensor_info& t = info(name);
        check_shape(t, to.shape);
        with_element_type(to.type, [&](auto* type) {
            using T = std::remove_pointer_t<decltype(type)>;
            check_type<T>(t);
            read_elements(t, 0, t.size(), static_cast<T*>(to.data));
        });
    }
    /// Elements [first, first + n) of a tensor, counted row-major: rows of a matrix too large for memory.
    template <class T>
    void read_range(std::string_view name, index_t first, index_t n, T* to) const {
        const tensor_info& t = info(name);
        check_type<T>(t);
        if (first < 0 || n < 0 || first > t.size() - n) {
            throw shape_error(path() + ": tensor '" + t.name + "' has " + std::to_string(t.size()) + " elements, " + std::to_string(n) +
                              " from " + std::to_string(first) + " on asked for");
        }
        read_elements(t, first, n, to);
    }
    /// The bytes of a tensor as they stand in the file, from `first` on; for checksums and copies.
    void read_bytes(const tensor_info& t, std::uint64_t first, void* to, std::size_t n) const {
        if (t.end > file_.size() - data_begin_ || first > t.end - t.begin || n > t.end - t.begin - first) {
            throw shape_error(path() + ": bytes beyond the end of tensor '" + t.name + "' asked for");
        }
        file_.read_at(data_begin_ + t.begin + first, to, n);
    }

private:
    const tensor_info* find(std::string_view name) const noexcept {
        const auto it = std::lower_bound(header_.tensors.begin(), header_.tensors.end(), name,
                                         [](const tensor_info& t, std::string_view n) { return t.name < n; });
        return it != header_.tensors.end() && it->name == name ? &*it : nullptr;
    }
    void check_shape(const tensor_info& t, const std::vector<index_t>& shape) const {
        if (t.shape != shape) {
            throw shape_error(path() + ": tensor '" + t.name + "' has shape " + shape_string(t.shape) + ", expected " + shape_string(shape));
        }
    }
    template <class T>
    void check_type(const tensor_info& t) const {
        if (!convertible<T>(t.type)) {
            throw parse_error(path(), "tensor '" + t.name + "' has type " + std::string(dtype_name(t.type)) + ", which does not read as " +
                                          element_name<T>());
        }
    }
    template <class T, int Rank>
    void read_strided(const tensor_info& t, index_t& at, const tensor_view<T, Rank>& view) const {
        if (view.contiguous()) {
            read_elements(t, at, view.size(), view.data());
            at += view.size();
        } else if constexpr (Rank == 1) {
            for (index_t i = 0; i < view.extent(0); ++i) read_elements(t, at++, 1, &view[i]);
        } else {
            for (index_t i = 0; i < view.extent(0); ++i) read_strided(t, at, view[i]);
        }
    }
    template <class T>
    void read_elements(const tensor_info& t, index_t first, index_t n, T* to) const {
        const std::size_t size = dtype_size(t.type);
        std::uint64_t at = data_begin_ + t.begin + static_cast<std::uint64_t>(first) * size;
        if (t.type == dtype_of<T>() && !std::is_same_v<T, bool>) {
            file_.read_at(at, to, static_cast<std::size_t>(n) * size);
            return;
        }
        std::vector<std::uint64_t> buffer(std::min<std::size_t>(static_cast<std::size_t>(n), 32768));  // aligned for any element
        for (std::size_t done = 0; done < static_cast<std::size_t>(n);) {
            const std::size_t m = std::min(buffer.size(), static_cast<std::size_t>(n) - done);
            file_.read_at(at, buffer.data(), m * size);
            const index_t bad = convert_elements(to + done, t.type, buffer.data(), m);
            if (bad >= 0) {
                throw parse_error(path(), "tensor '" + t.name + "': element " + std::to_string(first + static_cast<index_t>(done) + bad) +
                                              " does not fit " + element_name<T>());
            }
            done += m;
            at += m * size;
        }
    }

    file_reader file_;
    std::uint64_t data_begin_ = 0;
    detail::safetensors_header header_;
};

}  // namespace instar::io

#endif
