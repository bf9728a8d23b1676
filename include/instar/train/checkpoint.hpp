#ifndef INSTAR_TRAIN_CHECKPOINT_HPP
#define INSTAR_TRAIN_CHECKPOINT_HPP

// All that a training run needs to go on as if it had never stopped, in one .safetensors file.
//
//     std::vector<io::named_tensor> tensors{{"parameters", {n}, values}, {"adamw.m", {n}, m}, {"adamw.v", {n}, v}};
//     train::save_checkpoint("out/checkpoint.safetensors", {.step = step, .epoch = epoch, .seed = 7, .position = 4096,
//                                                           .schedule = "one_cycle 1e-4 12000", .config = config_text}, tensors);
//     train::checkpoint_state state = train::load_checkpoint("out/checkpoint.safetensors", tensors);
//
// Written aside and renamed (io/atomic_file.hpp): a kill, a full disk or a power cut during the write leaves the previous
// checkpoint. Loading is strict, because a resumed run must give the same bits: the same tensors, types and shapes, a known
// format, and a checksum over all of it. Nothing is written to the caller's memory before everything has been checked.

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "instar/io/safetensors.hpp"

namespace instar::train {

/// Where a run stands. What the library does not know of goes to `extra`, under any key.
struct checkpoint_state {
    index_t step = 0;         ///< optimiser steps done
    index_t epoch = 0;        ///< the current epoch
    index_t position = 0;     ///< samples of this epoch that have been consumed: where the loader goes on
    index_t n_samples = 0;    ///< samples seen in all
    std::uint64_t seed = 0;   ///< of the run; Philox needs no other state
    std::string schedule{};   ///< text that identifies the schedule
    std::string config{};     ///< the run's configuration, JSON as a rule
    std::map<std::string, std::string> extra{};

    friend bool operator==(const checkpoint_state&, const checkpoint_state&) = default;
};

namespace detail {

/// 64 bits over a stream of bytes, against files that a disk or a copy has damaged; no defence against an adversary. Four
/// lanes of multiply and rotate, one word of 8 bytes each in turn. The same value however the stream is cut into pieces.
class checksum {
public:
    void add(const void* data, std::size_t n) {
        const auto* p = static_cast<const unsigned char*>(data);
        n_bytes_ += n;
        while (n > 0) {
            if (n_pending_ == 0 && n >= k_block) {
                block(p);
                p += k_block;
                n -= k_block;
                continue;
            }
            const std::size_t m = std::min(n, k_block - n_pending_);
            std::memcpy(pending_ + n_pending_, p, m);
            n_pending_ += m;
            p += m;
            n -= m;
            if (n_pending_ == k_block) {
                block(pending_);
                n_pending_ = 0;
            }
        }
    }
    /// With its length, so that neighbouring texts cannot trade characters.
    void add(std::string_view text) {
        const std::uint64_t n = text.size();
        add(&n, sizeof n);
        add(text.data(), text.size());
    }
    std::string hex() const {
        checksum last = *this;
        const unsigned char zeros[k_block] = {};
        if (last.n_pending_ > 0) last.add(zeros, k_block - last.n_pending_);
        std::uint64_t h = n_bytes_;
        for (const std::uint64_t lane : last.lanes_) h = mix(h, lane);
        h ^= h >> 32;
        char text[17] = "0000000000000000";
        for (int i = 15; i >= 0; --i, h >>= 4) text[i] = "0123456789abcdef"[h & 15];
        return text;
    }

private:
    static constexpr std::size_t k_block = 32;
    static std::uint64_t mix(std::uint64_t h, std::uint64_t word) {
        h = (h ^ word) * 0x9e3779b97f4a7c15ull;
        return h << 29 | h >> 35;
    }
    void block(const unsigned char* p) {
        std::uint64_t words[4];
        std::memcpy(words, p, k_block);
        for (int i = 0; i < 4; ++i) lanes_[i] = mix(lanes_[i], words[i]);
    }
    std::uint64_t lanes_[4] = {1, 2, 3, 4};
    unsigned char pending_[k_block] = {};
    std::size_t n_pending_ = 0;
    std::uint64_t n_bytes_ = 0;
};

inline constexpr const char* k_checkpoint_key = "instar.checkpoint";
inline constexpr const char* k_checksum_key = "instar.checksum";
inline constexpr const char* k_extra_prefix = "extra.";

/// Begins a checksum with all that is not tensor data.
inline checksum begin_checksum(const io::safetensors_metadata& metadata, const std::vector<io::tensor_info>& tensors_by_name) {
    checksum sum;
    for (const auto& [key, value] : metadata) {
        if (key == k_checksum_key) continue;
        sum.add(key);
        sum.add(value);
    }
    for (const io::tensor_info& t : tensors_by_name) {
        sum.add(t.name);
        sum.add(io::dtype_name(t.type));
        sum.add(io::shape_string(t.shape));
    }
    return sum;
}

template <class Integer>
Integer checkpoint_integer(const std::string& path, const io::safetensors_metadata& metadata, const std::string& key) {
    const auto it = metadata.find(key);
    if (it == metadata.end()) throw parse_error(path, "the checkpoint lacks '" + key + "'");
    Integer value{};
    const char* end = it->second.data() + it->second.size();
    const auto result = std::from_chars(it->second.data(), end, value);
    if (result.ec != std::errc{} || result.ptr != end || value < Integer{0}) {
        throw parse_error(path, "the checkpoint's '" + key + "' is \"" + it->second + "\", expected a count");
    }
    return value;
}

inline checkpoint_state parse_checkpoint_state(const io::safetensors_file& file) {
    const io::safetensors_metadata& m = file.metadata();
    const auto text = [&](const std::string& key) {
        const auto it = m.find(key);
        if (it == m.end()) throw parse_error(file.path(), "the checkpoint lacks '" + key + "'");
        return it->second;
    };
    if (!m.contains(k_checkpoint_key)) throw parse_error(file.path(), "is no checkpoint of instar (a model's weights alone, perhaps)");
    if (text(k_checkpoint_key) != "1") throw parse_error(file.path(), "checkpoint format \"" + text(k_checkpoint_key) + "\" is not known here, only \"1\"");
    checkpoint_state state;
    state.step = checkpoint_integer<index_t>(file.path(), m, "step");
    state.epoch = checkpoint_integer<index_t>(file.path(), m, "epoch");
    state.position = checkpoint_integer<index_t>(file.path(), m, "position");
    state.n_samples = checkpoint_integer<index_t>(file.path(), m, "n_samples");
    state.seed = checkpoint_integer<std::uint64_t>(file.path(), m, "seed");
    state.schedule = text("schedule");
    state.config = text("config");
    for (const auto& [key, value] : m) {
        if (key.starts_with(k_extra_prefix)) state.extra[key.substr(std::strlen(k_extra_prefix))] = value;
    }
    return state;
}

}  // namespace detail

/// Replaces the checkpoint at `path`, or leaves it as it was and throws io_error (full disk, no permission) or value_error (a
/// name twice, a negative count, text that is not UTF-8). Cost: two passes over the tensors, one write.
inline void save_checkpoint(const std::string& path, const checkpoint_state& state, std::span<const io::named_const_tensor> tensors) {
    if (state.step < 0 || state.epoch < 0 || state.position < 0 || state.n_samples < 0) {
        throw value_error(path + ": a checkpoint's step, epoch, position and n_samples must not be negative");
    }
    io::safetensors_metadata metadata{{detail::k_checkpoint_key, "1"},
                                      {"step", std::to_string(state.step)},
                                      {"epoch", std::to_string(state.epoch)},
                                      {"position", std::to_string(state.position)},
                                      {"n_samples", std::to_string(state.n_samples)},
                                      {"seed", std::to_string(state.seed)},
                                      {"schedule", state.schedule},
                                      {"config", state.config}};
    for (const auto& [key, value] : state.extra) metadata[detail::k_extra_prefix + key] = value;

    std::vector<std::pair<io::tensor_info, const void*>> sorted;
    for (const io::named_const_tensor& t : tensors) sorted.push_back({{t.name, t.type, t.shape, 0, 0}, t.data});
    std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.first.name < b.first.name; });
    std::vector<io::tensor_info> infos;
    for (const auto& [info, data] : sorted) infos.push_back(info);
    detail::checksum sum = detail::begin_checksum(metadata, infos);
    for (const auto& [info, data] : sorted) {
        const index_t n = info.size();
        if (n < 0) throw value_error(path + ": tensor '" + info.name + "' has the impossible shape " + io::shape_string(info.shape));
        sum.add(data, static_cast<std::size_t>(n) * io::dtype_size(info.type));
    }
    metadata[detail::k_checksum_key] = sum.hex();
    io::write_safetensors(path, tensors, metadata);
}
inline void save_checkpoint(const std::string& path, const checkpoint_state& state, std::span<const io::named_tensor> tensors) {
    const std::vector<io::named_const_tensor> views(tensors.begin(), tensors.end());
    save_checkpoint(path, state, std::span<const io::named_const_tensor>(views));
}

/// The state alone, without reading the tensors. Throws io_error or parse_error.
inline checkpoint_state read_checkpoint_state(const std::string& path) {
    return detail::parse_checkpoint_state(io::safetensors_file(path));
}

/// Reads a checkpoint into the caller's tensors, which must be exactly those that were saved. Throws io_error; parse_error for
/// a file that is damaged, of another format, or has other tensors or types; shape_error for other shapes. One error lists
/// every disagreement. The caller's memory is written only when all is well. Cost: two passes over the file.
inline checkpoint_state load_checkpoint(const std::string& path, std::span<const io::named_tensor> tensors) {
    const io::safetensors_file file(path);
    checkpoint_state state = detail::parse_checkpoint_state(file);

    std::vector<std::string> problems;
    std::vector<std::string_view> wanted;
    bool names_fit = true;
    for (const io::named_tensor& t : tensors) {
        wanted.push_back(t.name);
        if (!file.contains(t.name)) {
            problems.push_back("'" + t.name + "' is missing in the file");
            names_fit = false;
            continue;
        }
        const io::tensor_info& info = file.info(t.name);
        if (info.type != t.type) {
            problems.push_back("'" + t.name + "' has type " + std::string(io::dtype_name(info.type)) + ", expected " + std::string(io::dtype_name(t.type)));
            names_fit = false;
        }
        if (info.shape != t.shape) {
            problems.push_back("'" + t.name + "' has shape " + io::shape_string(info.shape) + ", expected " + io::shape_string(t.shape));
        }
    }
    std::sort(wanted.begin(), wanted.end());
    for (const io::tensor_info& t : file.tensors()) {
        if (!std::binary_search(wanted.begin(), wanted.end(), std::string_view(t.name))) {
            problems.push_back("'" + t.name + "' is in the file, but not in this run");
            names_fit = false;
        }
    }
    if (!problems.empty()) {
        std::string text = "the checkpoint does not fit this run:";
        for (const std::string& p : problems) text += "\n  " + p;
        if (names_fit) throw shape_error(path + ": " + text);
        throw parse_error(path, text);
    }

    detail::checksum sum = detail::begin_checksum(file.metadata(), file.tensors());
    std::vector<char> buffer(std::size_t{1} << 20);
    for (const io::tensor_info& t : file.tensors()) {
        const std::uint64_t n = t.end - t.begin;
        for (std::uint64_t at = 0; at < n; at += buffer.size()) {
            const auto m = static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), n - at));
            file.read_bytes(t, at, buffer.data(), m);
            sum.add(buffer.data(), m);
        }
    }
    const auto expected = file.metadata().find(detail::k_checksum_key);
    if (expected == file.metadata().end() || expected->second != sum.hex()) {
        throw parse_error(path, "the checksum is " + sum.hex() + ", the file says " +
                                    (expected == file.metadata().end() ? "nothing" : expected->second) + ": the file is damaged");
    }
    for (const io::named_tensor& t : tensors) file.read_into(t.name, t);
    return state;
}

}  // namespace instar::train

#endif
