#ifndef INSTAR_OPS_CPU_ATTENTION_HPP
#define INSTAR_OPS_CPU_ATTENTION_HPP

// Attention on the CPU: heads in parallel, all of a head in one thread's cache.
//
//     ops::attention_forward(ctx, o, {lse}, q, k, v, key_mask, {.scale = 0.125});
//     ops::attention_backward(ctx, dq, dk, dv, d_o, o, {lse}, q, k, v, key_mask, {.scale = 0.125});

#include "instar/core/cpu_context.hpp"
#include "instar/core/parallel_for.hpp"
#include "instar/ops/attention.hpp"
#include "instar/ops/cpu/attention_plain.hpp"
#include "instar/ops/cpu/dropout.hpp"
#include "instar/ops/cpu/simd/attention.hpp"

namespace instar::ops {

namespace cpu {

/// This thread's scratch of attention: grows, never shrinks, freed with the thread. A task that holds it must not start
/// parallel work, or a stolen task on the same thread would write over it.
inline void* attention_scratch(std::size_t bytes) {
    thread_local memory_block<host_memory> block;
    if (block.bytes() < bytes) {
        block = memory_block<host_memory>{};
        block = memory_block<host_memory>(bytes + bytes / 4);
    }
    return block.data();
}

template <class T>
void check_attention(const char* op, const char* name, const tensor_view<T, 4>& x, const index_t (&extents)[4]) {
    instar::detail::check_shape(op, name, x, extents);
    instar::detail::check_unit_stride(op, name, x);
}

template <class T>
void check_attention(const char* op, const index_t (&extents)[4], const attention_saved<T>& saved,
                     const tensor_view<const std::uint8_t, 2>& key_mask, const attention_options& options) {
    instar::detail::check_shape(op, "saved.lse", saved.lse, {extents[0], extents[2], extents[1]});
    if (key_mask.size() != 0) instar::detail::check_shape(op, "key_mask", key_mask, {extents[0], extents[1]});
    if (extents[1] > (index_t{1} << 30)) throw value_error(std::string(op) + ": seq_len " + std::to_string(extents[1]) + " is above 2^30");
    check_dropout(op, options.dropout);
}

/// Lists the kept keys of sample b in `keys` [seq_len] and returns how many there are.
inline index_t list_kept_keys(std::int32_t* keys, const tensor_view<const std::uint8_t, 2>& key_mask, index_t b, index_t seq_len) {
    index_t n = 0;
    for (index_t j = 0; j < seq_len; ++j) {
        keys[n] = static_cast<std::int32_t>(j);
        n += key_mask.size() == 0 || key_mask(b, j) != 0;
    }
    return n;
}

template <class T>
auto attention_rows(const tensor_view<const T, 4>& x, index_t b, index_t h) {
    return typename attention_head<T>::matrix{x.data() + b * x.stride(0) + h * x.stride(2), x.stride(1)};
}
template <class T>
auto attention_out_rows(const tensor_view<T, 4>& x, index_t b, index_t h) {
    return typename attention_head<T>::out_matrix{x.data() + b * x.stride(0) + h * x.stride(2), x.stride(1)};
}

template <class T>
attention_head<T> make_attention_head(const index_t (&extents)[4], const attention_saved<T>& saved, const in_view<T, 4>& q, const in_view<T, 4>& k,
                                      const in_view<T, 4>& v, const attention_options& options, index_t b, index_t h) {
    attention_head<T> head;
    head.seq_len = extents[1];
    head.d_head = extents[3];
    head.q = attention_rows<T>(q, b, h);
    head.k = attention_rows<T>(k, b, h);
    head.v = attention_rows<T>(v, b, h);
    head.lse = saved.lse.data() + b * saved.lse.stride(0) + h * saved.lse.stride(1);
    head.lse_stride = saved.lse.stride(2);
    head.scale = options.scale;
    head.dropout = options.dropout;
    head.first_index = static_cast<std::uint64_t>((b * extents[2] + h) * extents[1]) * static_cast<std::uint64_t>(extents[1]);
    return head;
}

/// Queries a forward task computes. Whole heads when they are many; else parts of heads, cut by the shape alone. Each part
/// packs the head's keys and values again, so it is given at least 128 queries to pay for that.
inline index_t attention_query_grain(index_t n_heads_in_all, index_t seq_len) {
    constexpr index_t k_enough_tasks = 64, k_fewest_queries = 128;
    if (n_heads_in_all >= k_enough_tasks || seq_len < 2 * k_fewest_queries) return std::max<index_t>(seq_len, 1);
    const index_t parts = std::min((k_enough_tasks + n_heads_in_all - 1) / std::max<index_t>(n_heads_in_all, 1), seq_len / k_fewest_queries);
    return ((seq_len + parts - 1) / parts + 23) / 24 * 24;
}

}  // namespace cpu

template <class T>
void attention_forward(cpu_context& ctx, tensor_view<T, 4> o, std::type_identity_t<attention_saved<T>> saved, in_view<T, 4> q,
                       in_view<T, 4> k, in_view<T, 4> v, tensor_view<const std::uint8_t, 2> key_mask, attention_options options) {
    constexpr const char* k_op = "attention_forward";
    const index_t extents[4] = {o.extent(0), o.extent(1), o.extent(2), o.extent(3)};
    cpu::check_attention(k_op, "o", o, extents);
    cpu::check_attention(k_op, "q", q, extents);
    cpu::check_attention(k_op, "k", k, extents);
    cpu::check_attention(k_op, "v", v, extents);
    cpu::check_attention(k_op, extents, saved, key_mask, options);
    const index_t seq_len = extents[1], n_heads = extents[2];
    const index_t grain = cpu::attention_query_grain(extents[0] * n_heads, seq_len), parts = (seq_len + grain - 1) / grain;
    std::size_t elements = static_cast<std::size_t>(2 * seq_len);
    if constexpr (std::same_as<T, float>) elements = static_cast<std::size_t>(INSTAR_SIMD_PICK(attention::forward_scratch)(seq_len, extents[3]));
    parallel_for(ctx, extents[0] * n_heads * parts, 1, [&](index_t begin, index_t end) {
        T* scratch = static_cast<T*>(cpu::attention_scratch(elements * sizeof(T) + static_cast<std::size_t>(seq_len) * sizeof(std::int32_t)));
        auto* keys = reinterpret_cast<std::int32_t*>(scratch + elements);
        for (index_t task = begin; task < end; ++task) {
            const index_t b = task / (n_heads * parts), h = task / parts % n_heads, first = task % parts * grain;
            auto head = cpu::make_attention_head<T>(extents, saved, q, k, v, options, b, h);
            head.out = cpu::attention_out_rows<T>(o, b, h);
            if (parts == 1 && h + 1 < n_heads) head.next = q.stride(2);
            head.n_keys = cpu::list_kept_keys(keys, key_mask, b, seq_len);
            head.keys = keys;
            const index_t last = std::min(first + grain, seq_len);
            if constexpr (std::same_as<T, float>) INSTAR_SIMD_PICK(attention::forward_head)(head, first, last, scratch);
            else cpu::attention_forward_plain(head, first, last, scratch);
        }
    });
}

template <class T>
void attention_backward(cpu_context& ctx, tensor_view<T, 4> dq, out_view<T, 4> dk, out_view<T, 4> dv, in_view<T, 4> d_o, in_view<T, 4> o,
                        std::type_identity_t<attention_saved<T>> saved, in_view<T, 4> q, in_view<T, 4> k, in_view<T, 4> v,
                        tensor_view<const std::uint8_t, 2> key_mask, attention_options options) {
    constexpr const char* k_op = "attention_backward";
    const index_t extents[4] = {dq.extent(0), dq.extent(1), dq.extent(2), dq.extent(3)};
    cpu::check_attention(k_op, "dq", dq, extents);
    cpu::check_attention(k_op, "dk", dk, extents);
    cpu::check_attention(k_op, "dv", dv, extents);
    cpu::check_attention(k_op, "d_o", d_o, extents);
    cpu::check_attention(k_op, "o", o, extents);
    cpu::check_attention(k_op, "q", q, extents);
    cpu::check_attention(k_op, "k", k, extents);
    cpu::check_attention(k_op, "v", v, extents);
    cpu::check_attention(k_op, extents, saved, key_mask, options);
    const index_t seq_len = extents[1], n_heads = extents[2];
    std::size_t elements = static_cast<std::size_t>(seq_len);
    if constexpr (std::same_as<T, float>) elements = static_cast<std::size_t>(INSTAR_SIMD_PICK(attention::backward_scratch)(seq_len, extents[3]));
    parallel_for(ctx, extents[0] * n_heads, 1, [&](index_t begin, index_t end) {
        T* scratch = static_cast<T*>(cpu::attention_scratch(elements * sizeof(T) + static_cast<std::size_t>(seq_len) * sizeof(std::int32_t)));
        auto* keys = reinterpret_cast<std::int32_t*>(scratch + elements);
        for (index_t task = begin; task < end; ++task) {
            const index_t b = task / n_heads, h = task % n_heads;
            auto head = cpu::make_attention_head<T>(extents, saved, q, k, v, options, b, h);
            head.o = cpu::attention_rows<T>(o, b, h);
            head.d_o = cpu::attention_rows<T>(d_o, b, h);
            head.dq = cpu::attention_out_rows<T>(dq, b, h);
            head.dk = cpu::attention_out_rows<T>(dk, b, h);
            head.dv = cpu::attention_out_rows<T>(dv, b, h);
            head.n_keys = cpu::list_kept_keys(keys, key_mask, b, seq_len);
            head.keys = keys;
            if constexpr (std::same_as<T, float>) INSTAR_SIMD_PICK(attention::backward_head)(head, scratch);
            else cpu::attention_backward_plain(head, scratch);
        }
    });
}

}  // namespace instar::ops

#endif
