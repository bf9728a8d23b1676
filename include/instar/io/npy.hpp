#ifndef INSTAR_IO_NPY_HPP
#define INSTAR_IO_NPY_HPP

// NumPy's .npy files: embeddings, distance matrices, label arrays (format 1.0, 2.0, 3.0; numpy.lib.format).
//
//     io::npy_array<float> x = io::read_npy<float>("embeddings.npy");     // x.shape, x.values (row-major)
//     io::write_npy("embeddings.npy", embeddings.view());                  // tensor_view of any rank
//
//     io::npy_writer<float> out("embeddings.npy", {n, 768});               // more than memory holds
//     for (…) out.append(batch.data(), n_batch * 768);
//     out.commit();
//
// Little-endian f2, f4, f8, i1 … i8, u1 … u8 and bool; floating point converts to floating point, integers to integers that
// hold the value. Fortran order is read into row-major. Big-endian, structured, complex, string and pickled arrays are refused
// by name. Errors: parse_error naming the file; a bad file is never read out of range.

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "instar/core/tensor_view.hpp"
#include "instar/io/atomic_file.hpp"
#include "instar/io/dtype.hpp"
#include "instar/io/file.hpp"

namespace instar::io {

/// What the header of a .npy file says.
struct npy_info {
    dtype type = dtype::f32;
    bool fortran_order = false;
    std::vector<index_t> shape;
    std::uint64_t data_begin = 0;  // bytes
};

/// An array in row-major order.
template <class T>
struct npy_array {
    std::vector<index_t> shape;
    std::vector<T> values;

    index_t extent(std::size_t d) const { return shape.at(d); }
};

namespace detail {

/// Reader of the header's Python dictionary: {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }
class npy_header_parser {
public:
    npy_header_parser(const std::string& path, std::string_view text) : path_(path), text_(text) {}

    npy_info parse() {
        npy_info info;
        bool has_descr = false, has_order = false, has_shape = false;
        expect('{');
        while (!accept('}')) {
            const std::string key = string();
            expect(':');
            bool* seen = key == "descr" ? &has_descr : key == "fortran_order" ? &has_order : key == "shape" ? &has_shape : nullptr;
            if (seen == nullptr) fail("unknown key '" + key + "'");
            if (std::exchange(*seen, true)) fail("the key '" + key + "' comes twice");
            if (seen == &has_descr) info.type = type();
            else if (seen == &has_order) info.fortran_order = boolean();
            else info.shape = shape();
            if (!accept(',')) {
                expect('}');
                break;
            }
        }
        skip_space();
        if (at_ != text_.size()) fail("text behind the dictionary");
        if (!has_descr || !has_order || !has_shape) fail("one of 'descr', 'fortran_order', 'shape' is missing");
        return info;
    }

private:
    [[noreturn]] void fail(const std::string& what) const {
        throw parse_error(path_, "npy header: " + what + " (near character " + std::to_string(at_ + 1) + ")");
    }
    void skip_space() {
        while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t' || text_[at_] == '\r')) ++at_;
    }
    bool accept(char c) {
        skip_space();
        if (at_ >= text_.size() || text_[at_] != c) return false;
        ++at_;
        return true;
    }
    void expect(char c) {
        if (!accept(c)) fail(std::string("expected '") + c + "'");
    }
    std::string string() {
        skip_space();
        if (at_ >= text_.size() || (text_[at_] != '\'' && text_[at_] != '"')) fail("expected a string");
        const char quote = text_[at_++];
        const std::size_t end = text_.find(quote, at_);
        if (end == std::string_view::npos) fail("a string is not closed");
        std::string result(text_.substr(at_, end - at_));
        at_ = end + 1;
        return result;
    }
    bool boolean() {
        skip_space();
        for (const auto& [word, value] : {std::pair<std::string_view, bool>{"True", true}, {"False", false}}) {
            if (text_.substr(at_).starts_with(word)) {
                at_ += word.size();
                return value;
            }
        }
        fail("fortran_order is neither True nor False");
    }
    std::vector<index_t> shape() {
        std::vector<index_t> result;
        expect('(');
        while (!accept(')')) {
            skip_space();
            const std::size_t begin = at_;
            index_t n = 0;
            for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
                if (n > (index_t{1} << 58)) fail("an extent is too large");
                n = 10 * n + (text_[at_] - '0');
            }
            if (at_ == begin) fail("expected an extent");
            if (at_ < text_.size() && text_[at_] == 'L') ++at_;  // Python 2 wrote 3L
            if (result.size() == 32) fail("more than 32 dimensions");
            result.push_back(n);
            if (!accept(',')) {
                expect(')');
                break;
            }
        }
        return result;
    }
    dtype type() {
        skip_space();
        if (at_ < text_.size() && text_[at_] == '[') fail("structured arrays are not supported");
        const std::string descr = string();
        const std::string code = descr.size() == 3 ? descr.substr(1) : descr;
        struct row {
            std::string_view code;
            dtype type;
        };
        static constexpr row k_rows[] = {{"f8", dtype::f64}, {"f4", dtype::f32}, {"f2", dtype::f16}, {"i8", dtype::i64},
                                         {"i4", dtype::i32}, {"i2", dtype::i16}, {"i1", dtype::i8},  {"u8", dtype::u64},
                                         {"u4", dtype::u32}, {"u2", dtype::u16}, {"u1", dtype::u8},  {"b1", dtype::boolean}};
        for (const row& r : k_rows) {
            if (r.code != code) continue;
            if (dtype_size(r.type) > 1 && descr[0] != '<' && descr[0] != '=') {
                fail("byte order '" + descr.substr(0, 1) + "' of '" + descr + "' is not supported, only little-endian '<'");
            }
            return r.type;
        }
        fail("element type '" + descr + "' is not supported (f2, f4, f8, i1 to i8, u1 to u8, b1)");
    }

    const std::string& path_;
    std::string_view text_;
    std::size_t at_ = 0;
};

inline npy_info read_npy_info(const file_reader& file) {
    const std::string& path = file.path();
    unsigned char start[12] = {};
    if (file.size() < 10) throw parse_error(path, "truncated: " + std::to_string(file.size()) + " bytes are no npy file");
    file.read_at(0, start, 10);
    if (std::memcmp(start, "\x93NUMPY", 6) != 0) throw parse_error(path, "does not begin with \\x93NUMPY: not an npy file");
    const int major = start[6];
    if (major < 1 || major > 3 || start[7] != 0) {
        throw parse_error(path, "npy format " + std::to_string(major) + "." + std::to_string(start[7]) + " is not supported (1.0, 2.0, 3.0)");
    }
    std::uint64_t length = start[8] + 256u * start[9], begin = 10;
    if (major > 1) {
        if (file.size() < 12) throw parse_error(path, "truncated inside the header's length");
        file.read_at(10, start + 10, 2);
        length |= std::uint64_t{start[10]} << 16 | std::uint64_t{start[11]} << 24;
        begin = 12;
    }
    if (length > file.size() - begin) {
        throw parse_error(path, "truncated: the header claims " + std::to_string(length) + " bytes, " + std::to_string(file.size() - begin) + " follow");
    }
    if (length > 1'000'000) throw parse_error(path, "the header claims " + std::to_string(length) + " bytes, more than any array of these types needs");
    std::string text(static_cast<std::size_t>(length), '\0');
    file.read_at(begin, text.data(), text.size());
    npy_info info = npy_header_parser(path, text).parse();
    info.data_begin = begin + length;
    const index_t n = element_count(info.shape);
    const std::uint64_t follow = file.size() - info.data_begin, size = dtype_size(info.type);
    if (n < 0 || follow % size != 0 || follow / size != static_cast<std::uint64_t>(n)) {
        throw parse_error(path, "shape " + shape_string(info.shape) + " of " + std::string(dtype_name(info.type)) + " takes " +
                                    (n < 0 ? "more than 2^62" : std::to_string(n)) + " × " + std::to_string(size) + " bytes, " +
                                    std::to_string(follow) + " follow the header");
    }
    return info;
}

/// Column-major to row-major.
template <class T>
std::vector<T> from_fortran(const std::vector<T>& values, const std::vector<index_t>& shape) {
    std::vector<T> result(values.size());
    std::vector<index_t> stride(shape.size()), index(shape.size());
    index_t step = 1, from = 0;
    for (std::size_t d = 0; d < shape.size(); ++d) {
        stride[d] = step;
        step *= shape[d];
    }
    for (T& to : result) {
        to = values[static_cast<std::size_t>(from)];
        for (std::size_t d = shape.size(); d-- > 0;) {
            from += stride[d];
            if (++index[d] < shape[d]) break;
            from -= stride[d] * shape[d];
            index[d] = 0;
        }
    }
    return result;
}

}  // namespace detail

/// The header alone.
inline npy_info read_npy_info(const std::string& path) { return detail::read_npy_info(file_reader(path)); }

/// Reads a whole array as T. Throws io_error or parse_error.
template <class T>
npy_array<T> read_npy(const std::string& path) {
    static_assert(!std::is_same_v<T, bool>, "std::vector<bool> has no memory to read into: read_npy<std::uint8_t>");
    const file_reader file(path);
    const npy_info info = detail::read_npy_info(file);
    if (!convertible<T>(info.type)) {
        throw parse_error(path, "holds " + std::string(dtype_name(info.type)) + ", which does not read as " + element_name<T>());
    }
    const std::size_t n = static_cast<std::size_t>(element_count(info.shape)), size = dtype_size(info.type);
    npy_array<T> array{info.shape, std::vector<T>(n)};
    if (info.type == dtype_of<T>()) {
        file.read_at(info.data_begin, array.values.data(), n * size);
    } else {
        std::vector<std::uint64_t> buffer(std::min<std::size_t>(n, 32768));
        for (std::size_t done = 0; done < n;) {
            const std::size_t m = std::min(buffer.size(), n - done);
            file.read_at(info.data_begin + done * size, buffer.data(), m * size);
            const index_t bad = convert_elements(array.values.data() + done, info.type, buffer.data(), m);
            if (bad >= 0) {
                throw parse_error(path, "element " + std::to_string(done + static_cast<std::size_t>(bad)) + " does not fit " + element_name<T>());
            }
            done += m;
        }
    }
    if (info.fortran_order && info.shape.size() > 1) array.values = detail::from_fortran(array.values, info.shape);
    return array;
}

/// Writes an array piece by piece, atomically (io/atomic_file.hpp).
template <class T>
class npy_writer {
public:
    npy_writer(const std::string& path, std::vector<index_t> shape) : shape_(std::move(shape)), n_(element_count(shape_)), file_(path) {
        if (n_ < 0) throw value_error(path + ": impossible shape " + shape_string(shape_));
        constexpr dtype k_type = dtype_of<T>();
        static_assert(k_type != dtype::bf16, "numpy has no bfloat16: convert to float");
        std::string kind = k_type == dtype::boolean ? "|b1" : std::floating_point<T> ? "<f" : std::is_signed_v<T> ? "<i" : "<u";
        if (kind.size() == 2) kind += std::to_string(sizeof(T));
        if (sizeof(T) == 1) kind[0] = '|';
        std::string text = "{'descr': '" + kind + "', 'fortran_order': False, 'shape': (";
        for (const index_t e : shape_) text += std::to_string(e) + ", ";
        if (shape_.size() == 1) text.pop_back();          // (3,)
        else if (!shape_.empty()) text.resize(text.size() - 2);  // (3, 4)
        text += "), }";
        // Data begins at a multiple of 64; the header ends with a newline.
        text.resize((10 + text.size() + 1 + 63) / 64 * 64 - 10 - 1, ' ');
        text += '\n';
        if (text.size() > 65535) throw value_error(path + ": too many dimensions");
        const char start[10] = {'\x93', 'N', 'U', 'M', 'P', 'Y', 1, 0, static_cast<char>(text.size() & 255), static_cast<char>(text.size() >> 8)};
        file_.write(start, sizeof start);
        file_.write(text);
    }

    /// The next n elements in row-major order.
    void append(const T* values, index_t n) {
        if (n < 0 || n > n_ - written_) {
            throw shape_error(file_.path() + ": shape " + shape_string(shape_) + " has " + std::to_string(n_ - written_) + " elements left, " +
                              std::to_string(n) + " appended");
        }
        file_.write(values, static_cast<std::size_t>(n) * sizeof(T));
        written_ += n;
    }
    /// Throws shape_error when elements are missing.
    void commit() {
        if (written_ != n_) {
            throw shape_error(file_.path() + ": " + std::to_string(n_ - written_) + " of the elements of shape " + shape_string(shape_) + " are missing");
        }
        file_.commit();
    }

private:
    std::vector<index_t> shape_;
    index_t n_;
    index_t written_ = 0;
    atomic_file file_;
};

namespace detail {
template <class T, int Rank, class Writer>
void append_view(Writer& out, const tensor_view<T, Rank>& v) {
    if (v.contiguous()) {
        out.append(v.data(), v.size());
    } else if constexpr (Rank == 1) {
        for (index_t i = 0; i < v.extent(0); ++i) out.append(&v[i], 1);
    } else {
        for (index_t i = 0; i < v.extent(0); ++i) append_view(out, v[i]);
    }
}
}  // namespace detail

/// Writes a view of any rank and any strides.
template <class T, int Rank>
void write_npy(const std::string& path, const tensor_view<T, Rank>& values) {
    npy_writer<std::remove_const_t<T>> out(path, std::vector<index_t>(values.extents_, values.extents_ + Rank));
    detail::append_view(out, values);
    out.commit();
}

}  // namespace instar::io

#endif
