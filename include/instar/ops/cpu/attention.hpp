#ifndef INSTAR_OPS_CPU_ATTENTION_HPP
#define INSTAR_OPS_CPU_ATTENTION_HPP

// Attention on the CPU: heads in parallel, all of a head in one thread's cache.
//
//     ops::attention_forward(ctx, o, {lse}, q, k, v, key_mask, {.scale = 0.125});
//     ops::attention_backward(ctx, dq, dk, dv, d_o, o, {lse}, q, k, v, key_mask, {.scale = 0.125});

#include <algorithm>
#include <string>

#include "instar/core/cpu_context.hpp"
#include "instar/core/memory.hpp"
#include "instar/core/parallel_for.hpp"
#include "instar/ops/attention.hpp"
#include "instar/ops/cpu/attention_plain.hpp"
#include "instar/ops/cpu/bf16_rows.hpp"
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

/// Lists the kept keys of sample b in `keys` [seq_len] and returns how many there are.
inline index_t list_kept_keys(std::int32_t* keys, const tensor_view<const std::uint8_t, 2>& key_mask, index_t b,
                              index_t seq_len) {
    index_t n = 0;
    for (index_t j = 0; j < seq_len; ++j) {
        keys[n] = static_cast<std::int32_t>(j);
        n += key_mask.size() == 0 || key_mask(b, j) != 0;
    }
    return n;
}

/// The arguments of a call, forward or backward: checked once, then cut into heads.
template <class T>
struct attention_call {
    index_t extents[4];  ///< n_batch, seq_len, n_heads, d_head
    attention_saved<T> saved;
    tensor_view<const T, 4> q, k, v;
    tensor_view<const std::uint8_t, 2> key_mask;
    attention_options options;
    tensor_view<const T, 4> o{}, d_o{};         ///< inputs of the backward
    tensor_view<T, 4> out{}, dq{}, dk{}, dv{};  ///< results: out of the forward, the others of the backward

    template <class E>
    void check(const char* op, const char* name, const tensor_view<E, 4>& x) const {
        instar::detail::check_shape(op, name, x, extents);
        instar::detail::check_unit_stride(op, name, x);
    }
    void check_inputs(const char* op) const {
        check(op, "q", q);
        check(op, "k", k);
        check(op, "v", v);
        instar::detail::check_shape(op, "saved.lse", saved.lse, {extents[0], extents[2], extents[1]});
        if (key_mask.size() != 0) instar::detail::check_shape(op, "key_mask", key_mask, {extents[0], extents[1]});
        if (extents[1] > (index_t{1} << 30)) {
            throw value_error(std::string(op) + ": seq_len must be at most 2^30, is " + std::to_string(extents[1]));
        }
        check_dropout(op, options.dropout);
    }
    index_t n_heads_in_all() const { return extents[0] * extents[2]; }

    /// Head number `at` of n_heads_in_all, without its list of keys.
    attention_head<T> head(index_t at) const {
        const index_t b = at / extents[2], h = at % extents[2];
        attention_head<T> r;
        r.seq_len = extents[1];
        r.d_head = extents[3];
        const auto first = [&](const auto& x) { return x.data() + b * x.stride(0) + h * x.stride(2); };
        r.q = {first(q), q.stride(1)};
        r.k = {first(k), k.stride(1)};
        r.v = {first(v), v.stride(1)};
        r.o = {first(o), o.stride(1)};
        r.d_o = {first(d_o), d_o.stride(1)};
        r.out = {first(out), out.stride(1)};
        r.dq = {first(dq), dq.stride(1)};
        r.dk = {first(dk), dk.stride(1)};
        r.dv = {first(dv), dv.stride(1)};
        r.lse = saved.lse.data() + b * saved.lse.stride(0) + h * saved.lse.stride(1);
        r.lse_stride = saved.lse.stride(2);
        r.scale = options.scale;
        r.dropout = options.dropout;
        r.first_index = static_cast<std::uint64_t>(at) * static_cast<std::uint64_t>(extents[1]) *
                        static_cast<std::uint64_t>(extents[1]);
        return r;
    }

    /// Calls f(head, first, last, scratch) for ranges of `grain` queries of every head, in parallel.
    /// scratch: `elements` of the type that sums have.
    template <class F>
    void for_each_part(cpu_context& ctx, index_t grain, index_t elements, F&& f) const {
        const index_t seq_len = extents[1], parts = (seq_len + grain - 1) / grain, n_tasks = n_heads_in_all() * parts;
        const std::size_t scratch_bytes = static_cast<std::size_t>(elements) * sizeof(accumulator_t<T>);
        parallel_kernel(ctx, n_tasks, 1, [&](index_t begin, index_t end) {
            auto* scratch = static_cast<accumulator_t<T>*>(
                attention_scratch(scratch_bytes + static_cast<std::size_t>(seq_len) * sizeof(std::int32_t)));
            auto* keys = reinterpret_cast<std::int32_t*>(scratch + elements);
            for (index_t task = begin; task < end; ++task) {
                const index_t at = task / parts, first = task % parts * grain, last = std::min(first + grain, seq_len);
                attention_head<T> current = head(at), next;
                current.n_keys = list_kept_keys(keys, key_mask, at / extents[2], seq_len);
                current.keys = keys;
                // Ranges run in order, so the head after this one is most often this thread's next.
                if (last == seq_len && at + 1 < n_heads_in_all()) {
                    next = head(at + 1);
                    current.next = &next;
                }
                f(current, first, last, scratch);
            }
        });
    }
};

/// A head of bf16 as one of floats: its rows in memory that follows a kernel's scratch. widen and narrow move the rows that count.
template <class T>
struct widened_head {
    attention_head<float> head;
    float* memory;

    /// `n` matrices of the head.
    static index_t elements(index_t n, index_t seq_len, index_t d_head) { return n * seq_len * d_head; }

    widened_head(const attention_head<T>& h, float* at) : memory(at) {
        head.seq_len = h.seq_len;
        head.d_head = h.d_head;
        head.lse = h.lse;
        head.lse_stride = h.lse_stride;
        head.keys = h.keys;
        head.n_keys = h.n_keys;
        head.scale = h.scale;
        head.dropout = h.dropout;
        head.first_index = h.first_index;
    }
    float* take() {
        float* const at = memory;
        memory += head.seq_len * head.d_head;
        return at;
    }
    /// Rows of queries [first, last).
    attention_head<float>::matrix queries(const typename attention_head<T>::matrix& x, index_t first, index_t last) {
        float* const to = take();
        for (index_t i = first; i < last; ++i) widen(to + i * head.d_head, x.row(i), head.d_head);
        return {to, head.d_head};
    }
    /// Rows of the kept keys.
    attention_head<float>::matrix keys(const typename attention_head<T>::matrix& x) {
        float* const to = take();
        for (index_t j = 0; j < head.n_keys; ++j) widen(to + head.keys[j] * head.d_head, x.row(head.keys[j]), head.d_head);
        return {to, head.d_head};
    }
    void round(const typename attention_head<T>::out_matrix& to, const attention_head<float>::out_matrix& x, index_t first, index_t last) const {
        for (index_t i = first; i < last; ++i) narrow(to.row(i), x.row(i), head.d_head);
    }
};

/// Queries a forward task computes. Whole heads when they are many; else parts of heads, cut by the shape alone. Each
/// part packs the head's keys and values again, so it is given at least 128 queries to pay for that.
inline index_t attention_query_grain(index_t n_heads_in_all, index_t seq_len) {
    constexpr index_t k_enough_tasks = 64, k_fewest_queries = 128;
    if (n_heads_in_all >= k_enough_tasks || seq_len < 2 * k_fewest_queries) return std::max<index_t>(seq_len, 1);
    const index_t heads = std::max<index_t>(n_heads_in_all, 1);
    const index_t parts = std::min((k_enough_tasks + heads - 1) / heads, seq_len / k_fewest_queries);
    return ((seq_len + parts - 1) / parts + 23) / 24 * 24;
}

}  // namespace cpu

template <class T>
void attention_forward(cpu_context& ctx, tensor_view<T, 4> o, std::type_identity_t<attention_saved<T>> saved,
                       in_view<T, 4> q, in_view<T, 4> k, in_view<T, 4> v, tensor_view<const std::uint8_t, 2> key_mask,
                       attention_options options) {
    constexpr const char* k_op = "attention_forward";
    cpu::attention_call<T> call{
        {o.extent(0), o.extent(1), o.extent(2), o.extent(3)}, saved, q, k, v, key_mask, options};
    call.out = o;
    call.check(k_op, "o", o);
    call.check_inputs(k_op);
    const index_t seq_len = o.extent(1), grain = cpu::attention_query_grain(call.n_heads_in_all(), seq_len);
    if constexpr (std::same_as<T, float>) {
        const index_t elements = INSTAR_SIMD_PICK(attention::forward_scratch)(seq_len, o.extent(3));
        const auto forward = INSTAR_SIMD_PICK(attention::forward_head);
        call.for_each_part(ctx, grain, elements, forward);
    } else if constexpr (std::same_as<T, bf16>) {
        const index_t elements = INSTAR_SIMD_PICK(attention::forward_scratch)(seq_len, o.extent(3));
        const auto forward = INSTAR_SIMD_PICK(attention::forward_head);
        call.for_each_part(ctx, grain, elements + cpu::widened_head<T>::elements(4, seq_len, o.extent(3)),
                           [&](const cpu::attention_head<T>& head, index_t first, index_t last, float* scratch) {
                               cpu::widened_head<T> wide(head, scratch + elements);
                               wide.head.q = wide.queries(head.q, first, last);
                               wide.head.k = wide.keys(head.k);
                               wide.head.v = wide.keys(head.v);
                               wide.head.out = {wide.take(), head.d_head};
                               forward(wide.head, first, last, scratch);
                               wide.round(head.out, wide.head.out, first, last);
                           });
    } else {
        call.for_each_part(ctx, grain, 2 * seq_len, cpu::attention_forward_plain<T>);
    }
}

template <class T>
void attention_backward(cpu_context& ctx, tensor_view<T, 4> dq, out_view<T, 4> dk, out_view<T, 4> dv, in_view<T, 4> d_o,
                        in_view<T, 4> o, std::type_identity_t<attention_saved<T>> saved, in_view<T, 4> q,
                        in_view<T, 4> k, in_view<T, 4> v, tensor_view<const std::uint8_t, 2> key_mask,
                        attention_options options) {
    constexpr const char* k_op = "attention_backward";
    cpu::attention_call<T> call{
        {dq.extent(0), dq.extent(1), dq.extent(2), dq.extent(3)}, saved, q, k, v, key_mask, options, o, d_o};
    call.dq = dq;
    call.dk = dk;
    call.dv = dv;
    call.check(k_op, "dq", dq);
    call.check(k_op, "dk", dk);
    call.check(k_op, "dv", dv);
    call.check(k_op, "d_o", d_o);
    call.check(k_op, "o", o);
    call.check_inputs(k_op);
    const index_t seq_len = dq.extent(1), grain = std::max<index_t>(seq_len, 1);
    if constexpr (std::same_as<T, float>) {
        const index_t elements = INSTAR_SIMD_PICK(attention::backward_scratch)(seq_len, dq.extent(3));
        const auto backward = INSTAR_SIMD_PICK(attention::backward_head);
        call.for_each_part(ctx, grain, elements, [&](const cpu::attention_head<T>& head, index_t, index_t, T* scratch) {
            backward(head, scratch);
        });
    } else if constexpr (std::same_as<T, bf16>) {
        const index_t elements = INSTAR_SIMD_PICK(attention::backward_scratch)(seq_len, dq.extent(3));
        const auto backward = INSTAR_SIMD_PICK(attention::backward_head);
        call.for_each_part(ctx, grain, elements + cpu::widened_head<T>::elements(8, seq_len, dq.extent(3)),
                           [&](const cpu::attention_head<T>& head, index_t first, index_t last, float* scratch) {
                               cpu::widened_head<T> wide(head, scratch + elements);
                               wide.head.q = wide.queries(head.q, first, last);
                               wide.head.k = wide.keys(head.k);
                               wide.head.v = wide.keys(head.v);
                               wide.head.o = wide.queries(head.o, first, last);
                               wide.head.d_o = wide.queries(head.d_o, first, last);
                               wide.head.dq = {wide.take(), head.d_head};
                               wide.head.dk = {wide.take(), head.d_head};
                               wide.head.dv = {wide.take(), head.d_head};
                               backward(wide.head, scratch);
                               wide.round(head.dq, wide.head.dq, first, last);
                               wide.round(head.dk, wide.head.dk, first, last);
                               wide.round(head.dv, wide.head.dv, first, last);
                           });
    } else {
        call.for_each_part(ctx, grain, seq_len, [](const cpu::attention_head<T>& head, index_t, index_t, T* scratch) {
            cpu::attention_backward_plain(head, scratch);
        });
    }
}

}  // namespace instar::ops

#endif
