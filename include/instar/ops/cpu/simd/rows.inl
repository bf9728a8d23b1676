// Sums, products and scalings of rows and flat ranges. Included by simd/rows.hpp once for each instruction set.
//
//     add_range(y, a, b, n);                 // y = a + b; y may alias
//     double s = dot_f64(a, b, n);           // products and sums in double
//     column_sums(y, x, stride, rows, n_rows, n, factor);

namespace instar::ops::cpu::simd::INSTAR_SIMD_NS {

inline void fill_range(float* y, float value, index_t n) {
    const f32 v = broadcast(value);
    index_t i = 0;
    for (; i + k_lanes <= n; i += k_lanes) store(y + i, v);
    if (i < n) store_partial(y + i, v, n - i);
}

inline void copy_range(float* y, const float* x, index_t n) {
    index_t i = 0;
    for (; i + k_lanes <= n; i += k_lanes) store(y + i, load(x + i));
    if (i < n) store_partial(y + i, load_partial(x + i, n - i), n - i);
}

/// to = from, past the caches: whole lines of `to` by streaming stores, what is before and after them by ordinary ones.
inline void stream_bytes(void* to, const void* from, std::size_t n) {
    constexpr std::size_t k_line = 64;
    std::byte* const y = static_cast<std::byte*>(to);
    const std::byte* const x = static_cast<const std::byte*>(from);
    const std::size_t past = reinterpret_cast<std::uintptr_t>(y) % k_line, before = past == 0 ? 0 : k_line - past;
    std::size_t i = before < n ? before : n;
    __builtin_memcpy(y, x, i);
    for (; i + k_line <= n; i += k_line) {
        for (std::size_t b = 0; b < k_line; b += INSTAR_SIMD_BYTES) {
            f32 v;
            __builtin_memcpy(&v, x + i + b, sizeof(v));
            store_streaming(reinterpret_cast<float*>(y + i + b), v);
        }
    }
    __builtin_memcpy(y + i, x + i, n - i);
}

/// bf16 to float, and back.
inline void widen_range(float* y, const bf16* x, index_t n) {
    index_t i = 0;
    for (; i + k_lanes <= n; i += k_lanes) store(y + i, load(x + i));
    if (i < n) store_partial(y + i, load_partial(x + i, n - i), n - i);
}
inline void narrow_range(bf16* y, const float* x, index_t n) {
    index_t i = 0;
    for (; i + k_lanes <= n; i += k_lanes) store(y + i, load(x + i));
    if (i < n) store_partial(y + i, load_partial(x + i, n - i), n - i);
}

/// y = a + b
inline void add_range(float* y, const float* a, const float* b, index_t n) {
    index_t i = 0;
    for (; i + k_lanes <= n; i += k_lanes) store(y + i, load(a + i) + load(b + i));
    if (i < n) store_partial(y + i, load_partial(a + i, n - i) + load_partial(b + i, n - i), n - i);
}

/// y = a + b + c
inline void add3_range(float* y, const float* a, const float* b, const float* c, index_t n) {
    index_t i = 0;
    for (; i + k_lanes <= n; i += k_lanes) store(y + i, load(a + i) + load(b + i) + load(c + i));
    if (i < n) store_partial(y + i, load_partial(a + i, n - i) + load_partial(b + i, n - i) + load_partial(c + i, n - i), n - i);
}

/// y = factor · x
inline void scale_range(float* y, const float* x, float factor, index_t n) {
    index_t i = 0;
    for (; i + k_lanes <= n; i += k_lanes) store(y + i, load(x + i) * factor);
    if (i < n) store_partial(y + i, load_partial(x + i, n - i) * factor, n - i);
}

/// y = factor · (a − shift · b)
inline void scaled_difference_range(float* y, const float* a, const float* b, float shift, float factor, index_t n) {
    index_t i = 0;
    for (; i + k_lanes <= n; i += k_lanes) store(y + i, factor * fma(load(b + i), broadcast(-shift), load(a + i)));
    if (i < n) store_partial(y + i, factor * fma(load_partial(b + i, n - i), broadcast(-shift), load_partial(a + i, n - i)), n - i);
}

/// y = b · (a − shift)
inline void shifted_product_range(float* y, const float* a, const float* b, float shift, index_t n) {
    index_t i = 0;
    for (; i + k_lanes <= n; i += k_lanes) store(y + i, load(b + i) * (load(a + i) - shift));
    if (i < n) store_partial(y + i, load_partial(b + i, n - i) * (load_partial(a + i, n - i) - shift), n - i);
}

namespace detail {
typedef float f32_half __attribute__((vector_size(INSTAR_SIMD_BYTES / 2)));
typedef float f32_half_unaligned __attribute__((vector_size(INSTAR_SIMD_BYTES / 2), aligned(4), may_alias));

/// k_lanes_f64 floats, as double.
INSTAR_ALWAYS_INLINE f64 load_f64(const float* p) {
    const f32_half x = *reinterpret_cast<const f32_half_unaligned*>(p);
    return __builtin_convertvector(x, f64);
}
}  // namespace detail

/// Σ aᵢbᵢ in double: exact products, so rows whose squares leave float's range keep their length.
inline double dot_f64(const float* a, const float* b, index_t n) {
    constexpr index_t k_step = k_lanes_f64;
    f64 s0 = broadcast(0.0), s1 = s0, s2 = s0, s3 = s0;
    index_t i = 0;
    for (; i + 4 * k_step <= n; i += 4 * k_step) {
        s0 = fma(detail::load_f64(a + i), detail::load_f64(b + i), s0);
        s1 = fma(detail::load_f64(a + i + k_step), detail::load_f64(b + i + k_step), s1);
        s2 = fma(detail::load_f64(a + i + 2 * k_step), detail::load_f64(b + i + 2 * k_step), s2);
        s3 = fma(detail::load_f64(a + i + 3 * k_step), detail::load_f64(b + i + 3 * k_step), s3);
    }
    for (; i < n; i += k_lanes) {
        const index_t m = n - i < k_lanes ? n - i : k_lanes;
        const f32 x = load_partial(a + i, m), y = load_partial(b + i, m);
        s0 = fma(lower_f64(x), lower_f64(y), s0);
        s1 = fma(upper_f64(x), upper_f64(y), s1);
    }
    return reduce_add((s0 + s1) + (s2 + s3));
}

/// y = factor · Σ_t x[t·stride …] over rows t with mask[t·mask_stride] ≠ 0 (all of them when mask is null). Rows are added in
/// order; the sums of four vectors of columns stay in registers.
inline void column_sums(float* y, const float* x, index_t stride, const std::uint8_t* mask, index_t mask_stride, index_t n_rows, index_t n,
                        float factor) {
    index_t j = 0;
    for (; j + 4 * k_lanes <= n; j += 4 * k_lanes) {
        f32 s0 = broadcast(0.0f), s1 = s0, s2 = s0, s3 = s0;
        for (index_t t = 0; t < n_rows; ++t) {
            if (mask != nullptr && mask[t * mask_stride] == 0) continue;
            const float* const from = x + t * stride + j;
            s0 = s0 + load(from);
            s1 = s1 + load(from + k_lanes);
            s2 = s2 + load(from + 2 * k_lanes);
            s3 = s3 + load(from + 3 * k_lanes);
        }
        store(y + j, s0 * factor);
        store(y + j + k_lanes, s1 * factor);
        store(y + j + 2 * k_lanes, s2 * factor);
        store(y + j + 3 * k_lanes, s3 * factor);
    }
    for (; j < n; j += k_lanes) {
        const index_t m = n - j < k_lanes ? n - j : k_lanes;
        f32 s = broadcast(0.0f);
        for (index_t t = 0; t < n_rows; ++t) {
            if (mask == nullptr || mask[t * mask_stride] != 0) s = s + load_partial(x + t * stride + j, m);
        }
        store_partial(y + j, s * factor, m);
    }
}

/// Adds one row to up to three others; null pointers are skipped. One pass over the row, for the embedding's gradient.
inline void add_row_to(float* a, float* b, float* c, const float* from, index_t n) {
    index_t i = 0;
    for (; i + k_lanes <= n; i += k_lanes) {
        const f32 v = load(from + i);
        if (a != nullptr) store(a + i, load(a + i) + v);
        if (b != nullptr) store(b + i, load(b + i) + v);
        if (c != nullptr) store(c + i, load(c + i) + v);
    }
    if (i < n) {
        const f32 v = load_partial(from + i, n - i);
        if (a != nullptr) store_partial(a + i, load_partial(a + i, n - i) + v, n - i);
        if (b != nullptr) store_partial(b + i, load_partial(b + i, n - i) + v, n - i);
        if (c != nullptr) store_partial(c + i, load_partial(c + i, n - i) + v, n - i);
    }
}

}  // namespace instar::ops::cpu::simd::INSTAR_SIMD_NS
