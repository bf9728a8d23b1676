// UMAP's moves, one instruction set's part. Included by cluster/detail/umap_layout.hpp once for each instruction set.

namespace instar::ops::cpu::simd::INSTAR_SIMD_NS {

namespace detail {

INSTAR_ALWAYS_INLINE float umap_squared_distance(const float* x, const float* y, index_t width) {
    f32 s{};
    for (index_t c = 0; c < width; c += k_lanes) {
        const f32 d = load(x + c) - load(y + c);
        s = fma(d, d, s);
    }
    return reduce_add(s);
}

/// x += rate · clip(factor · (x − y), ±4)
INSTAR_ALWAYS_INLINE void umap_move(float* x, const float* y, index_t width, float factor, float rate) {
    const f32 four = broadcast(4.0f), f = broadcast(factor), r = broadcast(rate);
    for (index_t c = 0; c < width; c += k_lanes) {
        f32 g = f * (load(x + c) - load(y + c));
        g = g > four ? four : g < -four ? -four : g;
        store(x + c, fma(r, g, load(x + c)));
    }
}

}  // namespace detail

/// Towards y: the gradient of log 1/(1 + a·d²ᵇ). push: what y moves by in return, or null.
inline void umap_attract(float* x, float* push, const float* y, index_t width, float a, float b, float rate) {
    const float d = detail::umap_squared_distance(x, y, width);
    const float power = d > 0.0f ? std::pow(d, b) : 0.0f;
    const f32 f = broadcast(d > 0.0f ? -2.0f * a * b * power / (d * (a * power + 1.0f)) : 0.0f), four = broadcast(4.0f), r = broadcast(rate);
    for (index_t c = 0; c < width; c += k_lanes) {
        f32 g = f * (load(x + c) - load(y + c));
        g = r * (g > four ? four : g < -four ? -four : g);
        store(x + c, load(x + c) + g);
        if (push != nullptr) store(push + c, -g);
    }
}

/// Away from y. At distance 0 along every axis by 4, of which there are n_components.
inline void umap_repel(float* x, const float* y, index_t width, index_t n_components, float a, float b, float gamma, float rate) {
    const float d = detail::umap_squared_distance(x, y, width);
    if (d > 0.0f) {
        detail::umap_move(x, y, width, 2.0f * gamma * b / ((0.001f + d) * (a * std::pow(d, b) + 1.0f)), rate);
    } else {
        for (index_t c = 0; c < n_components; ++c) x[c] += 4.0f * rate;
    }
}

}  // namespace instar::ops::cpu::simd::INSTAR_SIMD_NS
