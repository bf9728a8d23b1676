#ifndef INSTAR_OPS_CPU_EMBEDDING_HPP
#define INSTAR_OPS_CPU_EMBEDDING_HPP

// Embedding look-up on the CPU. Forward: places in parallel. Backward: columns in parallel, so that each sum has one
// owner who walks the places in order; no atomics, no workspace, the same bits for any number of threads.
//
//     ops::embedding_forward(ctx, y, ids, word, position, type_row);

#include <algorithm>
#include <vector>

#include "instar/core/cpu_context.hpp"
#include "instar/core/parallel_for.hpp"
#include "instar/ops/cpu/grain.hpp"
#include "instar/ops/cpu/rows.hpp"
#include "instar/ops/embedding.hpp"

namespace instar::ops {

namespace cpu {

inline void check_ids(const char* op, tensor_view<const std::int32_t, 2> ids, index_t n_vocab) {
    for (index_t b = 0; b < ids.extent(0); ++b) {
        for (index_t t = 0; t < ids.extent(1); ++t) {
            if (ids(b, t) < 0 || ids(b, t) >= n_vocab) {
                throw value_error(std::string(op) + ": ids[" + std::to_string(b) + ", " + std::to_string(t) + "] is " +
                                  std::to_string(ids(b, t)) + ", expected 0 to " + std::to_string(n_vocab - 1));
            }
        }
    }
}

template <class T>
void check_position(const char* op, const char* argument, const tensor_view<T, 2>& position, index_t seq_len, index_t d) {
    if (position.extent(0) < seq_len || position.extent(1) != d) {
        throw shape_error(std::string(op) + ": " + argument + " has shape " + shape_string(position) + ", expected [>= " +
                          std::to_string(seq_len) + ", " + std::to_string(d) + "]");
    }
}

/// The places of ids, those of the same id together and otherwise in order: places[first[id]] … places[first[id + 1] − 1].
struct places_by_id {
    std::vector<index_t> first, places;

    places_by_id(tensor_view<const std::int32_t, 2> ids, index_t n_vocab)
        : first(static_cast<std::size_t>(n_vocab) + 1), places(static_cast<std::size_t>(ids.size())) {
        const index_t seq_len = ids.extent(1);
        const auto id_of = [&](index_t place) { return static_cast<std::size_t>(ids(place / seq_len, place % seq_len)); };
        for (index_t place = 0; place < ids.size(); ++place) ++first[id_of(place) + 1];
        for (std::size_t id = 1; id < first.size(); ++id) first[id] += first[id - 1];
        std::vector<index_t> next = first;
        for (index_t place = 0; place < ids.size(); ++place) places[static_cast<std::size_t>(next[id_of(place)]++)] = place;
    }
};

/// to += Σ rows of dy at places place(0), …, place(count − 1), columns [begin, begin + n): in float, rounded once. sums: [2 · n].
template <class T, class Place>
void add_places_rounded(T* to, const tensor_view<const T, 3>& dy, index_t begin, index_t n, index_t count, float* sums, Place place) {
    if (count == 0) return;
    widen(sums, to, n);
    for (index_t i = 0; i < count; ++i) {
        const index_t p = place(i);
        widen(sums + n, dy[p / dy.extent(1)][p % dy.extent(1)].data() + begin, n);
        add_rows<float>(sums, sums, sums + n, n);
    }
    narrow(to, sums, n);
}

}  // namespace cpu

template <class T>
void embedding_forward(cpu_context& ctx, tensor_view<T, 3> y, tensor_view<const std::int32_t, 2> ids, in_view<T, 2> word,
                       in_view<T, 2> position, in_view<T, 1> type_row) {
    static constexpr const char* k_op = "embedding_forward";
    const index_t n_batch = y.extent(0), seq_len = y.extent(1), d = y.extent(2), n_vocab = word.extent(0);
    const bool with_position = !position.empty(), with_type = !type_row.empty();
    instar::detail::check_shape(k_op, "ids", ids, {n_batch, seq_len});
    instar::detail::check_shape(k_op, "word", word, {n_vocab, d});
    if (with_position) cpu::check_position(k_op, "position", position, seq_len, d);
    if (with_type) instar::detail::check_shape(k_op, "type_row", type_row, {d});
    instar::detail::check_unit_stride(k_op, "y", y);
    instar::detail::check_unit_stride(k_op, "word", word);
    instar::detail::check_unit_stride(k_op, "position", position);
    instar::detail::check_unit_stride(k_op, "type_row", type_row);
    cpu::check_ids(k_op, ids, n_vocab);
    parallel_kernel(ctx, n_batch * seq_len, cpu::row_grain(d), [&](index_t begin, index_t end) {
        for (index_t place = begin; place < end; ++place) {
            const index_t b = place / seq_len, t = place % seq_len;
            T* const to = y[b][t].data();
            const T* const w = word[ids(b, t)].data();
            if (with_position && with_type) cpu::add_rows<T>(to, w, position[t].data(), type_row.data(), d);
            else if (with_position) cpu::add_rows<T>(to, w, position[t].data(), d);
            else if (with_type) cpu::add_rows<T>(to, w, type_row.data(), d);
            else cpu::copy_row<T>(to, w, d);
        }
    });
}

template <class T>
void embedding_backward(cpu_context& ctx, tensor_view<T, 2> dword, out_view<T, 2> dposition, out_view<T, 1> dtype_row, in_view<T, 3> dy,
                        tensor_view<const std::int32_t, 2> ids, embedding_options options) {
    static constexpr const char* k_op = "embedding_backward";
    const index_t n_batch = dy.extent(0), seq_len = dy.extent(1), d = dy.extent(2), n_vocab = dword.extent(0);
    const bool with_position = !dposition.empty(), with_type = !dtype_row.empty();
    instar::detail::check_shape(k_op, "dword", dword, {n_vocab, d});
    if (with_position) cpu::check_position(k_op, "dposition", dposition, seq_len, d);
    if (with_type) instar::detail::check_shape(k_op, "dtype_row", dtype_row, {d});
    instar::detail::check_shape(k_op, "ids", ids, {n_batch, seq_len});
    instar::detail::check_unit_stride(k_op, "dword", dword);
    instar::detail::check_unit_stride(k_op, "dposition", dposition);
    instar::detail::check_unit_stride(k_op, "dtype_row", dtype_row);
    instar::detail::check_unit_stride(k_op, "dy", dy);
    cpu::check_ids(k_op, ids, n_vocab);
    // The cut of the columns may follow the number of threads: it changes no sum's order.
    const index_t n_parts = ctx.max_threads() == 1 ? 1 : 2 * ctx.max_threads();
    const index_t columns = std::max<index_t>(64, ((d + n_parts - 1) / n_parts + 15) / 16 * 16);
    if constexpr (std::same_as<T, bf16>) {
        // A bf16 would soon be too coarse to add to: each row's places one after the other, in float.
        const cpu::places_by_id by_id(ids, n_vocab);
        parallel_kernel(ctx, d, columns, [&](index_t begin, index_t end) {
            const index_t n = end - begin;
            float* const sums = cpu::row_scratch(2 * n);
            for (index_t id = 0; id < n_vocab; ++id) {
                if (id == options.padding_idx) continue;
                const index_t first = by_id.first[static_cast<std::size_t>(id)], count = by_id.first[static_cast<std::size_t>(id) + 1] - first;
                cpu::add_places_rounded<T>(dword[id].data() + begin, dy, begin, n, count, sums, [&](index_t i) { return by_id.places[static_cast<std::size_t>(first + i)]; });
            }
            for (index_t t = 0; t < seq_len && with_position; ++t) {
                cpu::add_places_rounded<T>(dposition[t].data() + begin, dy, begin, n, n_batch, sums, [&](index_t b) { return b * seq_len + t; });
            }
            if (with_type) cpu::add_places_rounded<T>(dtype_row.data() + begin, dy, begin, n, n_batch * seq_len, sums, [](index_t i) { return i; });
        });
    } else {
        parallel_kernel(ctx, d, columns, [&](index_t begin, index_t end) {
            const index_t n = end - begin;
            for (index_t b = 0; b < n_batch; ++b) {
                for (index_t t = 0; t < seq_len; ++t) {
                    const std::int32_t id = ids(b, t);
                    T* const word = id != options.padding_idx ? dword[id].data() + begin : nullptr;
                    T* const position = with_position ? dposition[t].data() + begin : nullptr;
                    T* const type = with_type ? dtype_row.data() + begin : nullptr;
                    cpu::add_row_to<T>(word, position, type, dy[b][t].data() + begin, n);
                }
            }
        });
    }
}

}  // namespace instar::ops

#endif
