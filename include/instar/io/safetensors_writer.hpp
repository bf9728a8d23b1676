#ifndef INSTAR_IO_SAFETENSORS_WRITER_HPP
#define INSTAR_IO_SAFETENSORS_WRITER_HPP

// Writing .safetensors: all at once, or piece by piece for tensors that do not fit into memory. Atomic either way: until
// commit() the old file stays as it is (io/atomic_file.hpp).
//
//     std::vector<io::named_const_tensor> tensors{{"classifier.weight", {256, 768}, w}, {"classifier.bias", {256}, b}};
//     io::write_safetensors("model.safetensors", tensors, {{"format", "pt"}});
//
//     io::safetensors_writer out("embeddings.safetensors", {{"embeddings", io::dtype::f32, {n, 768}}});
//     for (…) out.append(batch.data(), batch_size * 768);                  // in the order of out.tensors()
//     out.commit();                                                        // an error unless everything has been appended
//
// Layout as the reference writer's: tensors ordered by falling element size, then by name, without gaps; so every tensor is
// aligned to its element. The header is padded so that the data begins at a multiple of 64 bytes.

#include <algorithm>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "instar/io/atomic_file.hpp"
#include "instar/io/dtype.hpp"
#include "instar/io/json_text.hpp"

namespace instar::io {

/// One tensor of a .safetensors file. Offsets are in bytes from the end of the header.
struct tensor_info {
    std::string name;
    dtype type = dtype::f32;
    std::vector<index_t> shape;
    std::uint64_t begin = 0;
    std::uint64_t end = 0;

    index_t size() const { return element_count(shape); }
};

/// Free text that a .safetensors file carries; {"format": "pt"} marks a PyTorch model.
using safetensors_metadata = std::map<std::string, std::string>;

/// Writes tensors in the order of the file. Memory: 64 KiB, and the header.
class safetensors_writer {
public:
    /// Offsets in `tensors` are ignored. Throws value_error (a name twice, or not UTF-8; a negative extent) or io_error.
    safetensors_writer(const std::string& path, std::vector<tensor_info> tensors, const safetensors_metadata& metadata = {})
        : tensors_(place(path, std::move(tensors))), file_(path) {
        std::string header(8, '\0');
        header += '{';
        if (!metadata.empty()) {
            header += "\"__metadata__\":{";
            for (const auto& [key, value] : metadata) {
                if (!is_utf8(key) || !is_utf8(value)) throw value_error(path + ": the metadata \"" + key + "\" is not UTF-8");
                append_pair(header, key);
                append_json_string(header, value);
                header += ',';
            }
            header.back() = '}';
            header += ',';
        }
        for (const tensor_info& t : tensors_) {
            append_pair(header, t.name);
            header += "{\"dtype\":\"" + std::string(dtype_name(t.type)) + "\",\"shape\":[";
            for (std::size_t d = 0; d < t.shape.size(); ++d) header += (d ? "," : "") + std::to_string(t.shape[d]);
            header += "],\"data_offsets\":[" + std::to_string(t.begin) + "," + std::to_string(t.end) + "]},";
        }
        if (header.back() == ',') header.back() = '}';
        else header += '}';
        header.resize((header.size() + 63) / 64 * 64, ' ');
        const std::uint64_t length = header.size() - 8;
        if (length > k_max_header) throw value_error(path + ": the header would take " + std::to_string(length) + " bytes");
        std::memcpy(header.data(), &length, 8);
        file_.write(header);
    }

    /// The tensors in the order in which their data must come.
    const std::vector<tensor_info>& tensors() const noexcept { return tensors_; }

    /// The next n elements of the current tensor; after its last one the next tensor begins. Floating point is converted to
    /// the tensor's type, everything else must have it. Elements may not run over a tensor's end.
    template <class T>
    void append(const T* data, std::size_t n) {
        while (n > 0 && current_ < tensors_.size() && written_ == tensors_[current_].end) ++current_;
        if (n == 0) return;
        if (current_ == tensors_.size()) throw value_error(file_.path() + ": all tensors are written, " + std::to_string(n) + " elements more");
        const tensor_info& t = tensors_[current_];
        const std::size_t size = dtype_size(t.type);
        if (n > (t.end - written_) / size) {
            throw shape_error(file_.path() + ": tensor '" + t.name + "' of shape " + shape_string(t.shape) + " has " +
                              std::to_string((t.end - written_) / size) + " elements left, " + std::to_string(n) + " appended");
        }
        if (t.type == dtype_of<T>()) {
            file_.write(data, n * size);
        } else if constexpr (detail::is_float_element<T>) {
            append_converted(data, n, t);
        } else {
            throw value_error(file_.path() + ": tensor '" + t.name + "' has type " + std::string(dtype_name(t.type)) + ", " +
                              element_name<T>() + " appended");
        }
        written_ += n * size;
    }

    /// Throws shape_error when data is missing; else makes the file visible.
    void commit() {
        if (!tensors_.empty() && written_ != tensors_.back().end) {
            while (current_ < tensors_.size() && written_ >= tensors_[current_].end) ++current_;
            throw shape_error(file_.path() + ": tensor '" + tensors_[current_].name + "' is not complete: " +
                              std::to_string(tensors_.back().end - written_) + " bytes of the file are missing");
        }
        file_.commit();
    }

    static constexpr std::uint64_t k_max_header = 100'000'000;  // what the reference reader accepts

private:
    static std::vector<tensor_info> place(const std::string& path, std::vector<tensor_info> tensors) {
        std::sort(tensors.begin(), tensors.end(), [](const tensor_info& a, const tensor_info& b) {
            const std::size_t x = dtype_size(a.type), y = dtype_size(b.type);
            return x != y ? x > y : a.name < b.name;
        });
        std::vector<std::string_view> names;
        std::uint64_t at = 0;
        for (tensor_info& t : tensors) {
            if (!is_utf8(t.name) || t.name == "__metadata__") throw value_error(path + ": \"" + t.name + "\" cannot name a tensor");
            const index_t n = t.size();
            if (n < 0 || static_cast<std::uint64_t>(n) > (std::uint64_t{1} << 62) / dtype_size(t.type) - at / dtype_size(t.type)) {
                throw value_error(path + ": tensor '" + t.name + "' has the impossible shape " + shape_string(t.shape));
            }
            t.begin = at;
            t.end = at += static_cast<std::uint64_t>(n) * dtype_size(t.type);
            names.push_back(t.name);
        }
        std::sort(names.begin(), names.end());
        const auto twice = std::adjacent_find(names.begin(), names.end());
        if (twice != names.end()) throw value_error(path + ": tensor '" + std::string(*twice) + "' is given twice");
        return tensors;
    }
    static void append_pair(std::string& header, const std::string& key) {
        append_json_string(header, key);
        header += ':';
    }
    template <class T>
    void append_converted(const T* data, std::size_t n, const tensor_info& t) {
        std::vector<std::uint64_t> buffer(4096);
        for (std::size_t i = 0; i < n; i += buffer.size()) {
            const std::size_t m = std::min(buffer.size(), n - i);
            if (t.type == dtype::f16) {
                auto* to = reinterpret_cast<std::uint16_t*>(buffer.data());
                for (std::size_t j = 0; j < m; ++j) to[j] = detail::float_to_half(static_cast<float>(data[i + j]));
            } else {
                with_element_type(t.type, [&](auto* type) {
                    using To = std::remove_pointer_t<decltype(type)>;
                    if constexpr (detail::is_float_element<To>) {
                        (void)convert_elements(reinterpret_cast<To*>(buffer.data()), dtype_of<T>(), data + i, m);
                    } else {
                        throw value_error(file_.path() + ": tensor '" + t.name + "' has type " + std::string(dtype_name(t.type)) + ", " +
                                          element_name<T>() + " appended");
                    }
                });
            }
            file_.write(buffer.data(), m * dtype_size(t.type));
        }
    }

    std::vector<tensor_info> tensors_;
    atomic_file file_;
    std::size_t current_ = 0;
    std::uint64_t written_ = 0;  // bytes of data
};

/// Writes all tensors, each with the type of its memory. Throws value_error, io_error; the old file survives both.
inline void write_safetensors(const std::string& path, std::span<const named_const_tensor> tensors, const safetensors_metadata& metadata = {}) {
    std::vector<tensor_info> infos;
    infos.reserve(tensors.size());
    std::map<std::string_view, const named_const_tensor*> by_name;
    for (const named_const_tensor& t : tensors) {
        infos.push_back({t.name, t.type, t.shape, 0, 0});
        by_name[t.name] = &t;
    }
    safetensors_writer writer(path, std::move(infos), metadata);
    for (const tensor_info& info : writer.tensors()) {
        with_element_type(info.type, [&](auto* type) {
            using T = std::remove_pointer_t<decltype(type)>;
            writer.append(static_cast<const T*>(by_name[info.name]->data), static_cast<std::size_t>(info.size()));
        });
    }
    writer.commit();
}
inline void write_safetensors(const std::string& path, std::span<const named_tensor> tensors, const safetensors_metadata& metadata = {}) {
    const std::vector<named_const_tensor> views(tensors.begin(), tensors.end());
    write_safetensors(path, std::span<const named_const_tensor>(views), metadata);
}

}  // namespace instar::io

#endif
