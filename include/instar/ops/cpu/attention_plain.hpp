#ifndef INSTAR_OPS_CPU_ATTENTION_PLAIN_HPP
#define INSTAR_OPS_CPU_ATTENTION_PLAIN_HPP

// Attention of one head in plain C++, a query at a time: what double uses, and the shortest text of the algorithm.
//
//     cpu::attention_forward_plain(head, 0, head.seq_len, scratch);
//
// The keys that the mask drops never take part: kept keys are listed once a sample, and rows of scores hold kept keys
// only, so their cost is n_kept, not seq_len. The SIMD path (simd/attention.inl) shares `attention_head`.

#include <cmath>
#include <limits>

#include "instar/core/element.hpp"
#include "instar/ops/dropout.hpp"

namespace instar::ops::cpu {

/// One (batch, head) of the operator: raw pointers to its first elements and the distance between sequence positions.
/// Unused pointers (gradients in the forward) are null.
template <class T>
struct attention_head {
    struct matrix {  ///< [seq_len, d_head], rows `stride` elements apart
        const T* data = nullptr;
        index_t stride = 0;
        const T* row(index_t i) const { return data + i * stride; }
    };
    struct out_matrix {
        T* data = nullptr;
        index_t stride = 0;
        T* row(index_t i) const { return data + i * stride; }
    };
    index_t seq_len = 0, d_head = 0;
    matrix q, k, v, o, d_o;
    out_matrix out, dq, dk, dv;
    accumulator_t<T>* lse = nullptr;
    index_t lse_stride = 0;
    const std::int32_t* keys = nullptr;  ///< positions of the kept keys, ascending
    index_t n_keys = 0;
    double scale = 1.0;
    dropout_options dropout{};
    std::uint64_t first_index = 0;         ///< dropout's index of element (i = 0, j = 0)
    const attention_head* next = nullptr;  ///< the head this thread is likely to compute next; its rows are prefetched

    std::uint64_t dropout_index(index_t i, index_t j) const {
        return first_index + static_cast<std::uint64_t>(i) * static_cast<std::uint64_t>(seq_len) +
               static_cast<std::uint64_t>(j);
    }
};

/// factor[j] = dropout's factor of probability (i, keys[j]): 0 or 1/(1 − p). Draws each Philox block once.
template <class T>
void attention_dropout_row(const attention_head<T>& head, index_t i, T* factor) {
    const std::uint32_t drop_below = head.dropout.drop_below();
    const T scale = static_cast<T>(head.dropout.scale());
    std::uint64_t drawn = ~std::uint64_t{0};
    instar::detail::philox_block bits{};
    for (index_t j = 0; j < head.n_keys; ++j) {
        const std::uint64_t index = head.dropout_index(i, head.keys[j]);
        if (index / 4 != drawn) {
            drawn = index / 4;
            bits = head.dropout.rng.block(drawn);
        }
        factor[j] = bits.v[index % 4] >= drop_below ? scale : T(0);
    }
}

template <class T>
T attention_dot(const T* x, const T* y, index_t n) {
    T sum = 0;
    for (index_t c = 0; c < n; ++c) sum += x[c] * y[c];
    return sum;
}

/// Queries [first, last). scratch: 2·seq_len elements.
template <class T>
void attention_forward_plain(const attention_head<T>& head, index_t first, index_t last, T* scratch) {
    constexpr T k_infinity = std::numeric_limits<T>::infinity();
    const T scale = static_cast<T>(head.scale);
    T *p = scratch, *factor = scratch + head.seq_len;
    for (index_t i = first; i < last; ++i) {
        T max = -k_infinity, sum = 0;
        for (index_t j = 0; j < head.n_keys; ++j) {
            p[j] = scale * attention_dot(head.q.row(i), head.k.row(head.keys[j]), head.d_head);
            max = p[j] > max ? p[j] : max;
        }
        for (index_t j = 0; j < head.n_keys; ++j) sum += p[j] = std::exp(p[j] - max);
        head.lse[i * head.lse_stride] = head.n_keys > 0 ? max + std::log(sum) : -k_infinity;
        if (head.dropout.p > 0.0f) {
            attention_dropout_row(head, i, factor);
            for (index_t j = 0; j < head.n_keys; ++j) p[j] *= factor[j];
        }
        T* o = head.out.row(i);
        for (index_t c = 0; c < head.d_head; ++c) o[c] = 0;
        for (index_t j = 0; j < head.n_keys; ++j) {
            const T weight = p[j] / sum;
            const T* v = head.v.row(head.keys[j]);
            for (index_t c = 0; c < head.d_head; ++c) o[c] += weight * v[c];
        }
    }
}

/// scratch: seq_len elements.
template <class T>
void attention_backward_plain(const attention_head<T>& head, T* scratch) {
    const T scale = static_cast<T>(head.scale);
    T* factor = scratch;
    for (index_t i = 0; i < head.seq_len; ++i) {
        for (index_t c = 0; c < head.d_head; ++c) head.dq.row(i)[c] = head.dk.row(i)[c] = head.dv.row(i)[c] = 0;
    }
    for (index_t j = 0; j < head.n_keys; ++j) factor[j] = 1;
    for (index_t i = 0; i < head.seq_len; ++i) {
        const T *q = head.q.row(i), *d_o = head.d_o.row(i);
        const T lse = head.lse[i * head.lse_stride], row_dot = attention_dot(d_o, head.o.row(i), head.d_head);
        T* dq = head.dq.row(i);
        if (head.dropout.p > 0.0f) attention_dropout_row(head, i, factor);
        for (index_t j = 0; j < head.n_keys; ++j) {
            const index_t key = head.keys[j];
            const T *k = head.k.row(key), *v = head.v.row(key);
            T *dk = head.dk.row(key), *dv = head.dv.row(key);
            const T p = std::exp(scale * attention_dot(q, k, head.d_head) - lse);
            const T ds = scale * p * (factor[j] * attention_dot(d_o, v, head.d_head) - row_dot);
            const T dropped = p * factor[j];
            for (index_t c = 0; c < head.d_head; ++c) {
                dq[c] += ds * k[c];
                dk[c] += ds * q[c];
                dv[c] += dropped * d_o[c];
            }
        }
    }
}

}  // namespace instar::ops::cpu

#endif
