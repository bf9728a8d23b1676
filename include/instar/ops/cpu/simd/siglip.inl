// A row of the sigmoid loss. Included by simd/siglip.hpp once for each instruction set.

namespace instar::ops::cpu::simd::INSTAR_SIMD_NS {

namespace detail {

struct siglip_lanes {
    f32 loss, gradient;
};

/// softplus(z) and its derivative σ(z); of partners softplus(−z) and −σ(−z). Both come from e = exp(−|z|) ≤ 1.
INSTAR_ALWAYS_INLINE siglip_lanes siglip(f32 z, i32 partner) {
    const f32 e = exp_bounded(-abs(z)), u = e + 1.0f, one = broadcast(1.0f);
    // log(1 + e): what rounding u took from e comes back by the quotient.
    const f32 log1p = select(u == one, e, log(u) * (e / (u - one)));
    const f32 y = select(partner, -z, z);
    const f32 s = select(y < 0.0f, e, one) / u;  // σ(y)
    return {log1p + select(y < 0.0f, broadcast(0.0f), y), select(partner, -s, s)};
}

}  // namespace detail

/// z: scale · a · b without the bias. Adds up the losses and, with Gradient, overwrites z with scale · G. What takes no part
/// holds a negative number near the largest: its loss and its G are 0.
template <bool Labelled, bool Gradient>
inline void siglip_range(float* z, index_t n, siglip_row<float>& row) {
    f32 loss = broadcast(0.0f), moment = loss, sum = loss;
    const f32 zero = broadcast(0.0f);
    for (index_t j = 0; j < n; j += k_lanes) {
        const index_t left = n - j < k_lanes ? n - j : k_lanes;
        const i32 inside = first_lanes(left);
        const f32 x = load_partial(z + j, left);
        i32 partner = iota() + static_cast<std::int32_t>(j) == broadcast(row.partner);
        if constexpr (Labelled) {
            i32 label = broadcast(std::int32_t{-1});
            if (left == k_lanes) label = load(row.column_labels + j);
            else {
                for (index_t i = 0; i < left; ++i) label[i] = row.column_labels[j + i];
            }
            partner = label == broadcast(row.label);
        }
        const detail::siglip_lanes v = detail::siglip(x + row.bias, partner);
        loss = loss + select(inside, v.loss, zero);
        if constexpr (Gradient) {
            const f32 g = select(inside, v.gradient * row.weight, zero);
            sum = sum + g;
            moment = fma(g, x, moment);
            store_partial(z + j, g * row.scale, left);
        }
    }
    row.loss += static_cast<double>(reduce_add(loss));
    row.moment += static_cast<double>(reduce_add(moment));
    row.sum += static_cast<double>(reduce_add(sum));
}

}  // namespace instar::ops::cpu::simd::INSTAR_SIMD_NS
