// Attention, all heads of a batch, without a mask. FLOP: 4 and 10 · batch · heads · tokens² · d_head for forward and backward.
//
//     bench_gpu_attention --benchmark_filter=forward_bf16
//
// Names: attention_forward/batch/heads/tokens/d_head. The first sample is checked against ops/ref.

#include "harness.hpp"
#include "instar/ops/attention.hpp"
#include "instar/ops/ref/attention.hpp"

namespace {

using namespace instar;
namespace gpu = bench::gpu;

struct shape {
    index_t n_batch, n_heads, seq_len, d_head;
};

template <class T, int Rank>
tensor_view<T, Rank> first_sample(const tensor_view<T, Rank>& x) {
    return x.rows(0, 1);
}

template <class T>
void attention(gpu::run& r, shape s, bool backward) {
    const index_t n = gpu::sized(s.n_batch, 2), heads = gpu::sized(s.n_heads, 1), t = gpu::sized(s.seq_len, 21), d = gpu::sized(s.d_head, 16);
    const index_t extents[4] = {n, t, heads, d};
    gpu::both<T, 4> q(r.ctx, extents, 1, -2.0f, 2.0f), k(r.ctx, extents, 2, -2.0f, 2.0f), v(r.ctx, extents, 3), o(r.ctx, extents, 4);
    gpu::both<float, 3> lse(r.ctx, {n, heads, t}, 5);
    const ops::attention_options options{.scale = 1.0 / std::sqrt(static_cast<double>(d))};
    const double scores = static_cast<double>(n * heads) * static_cast<double>(t * t) * static_cast<double>(d);
    const auto forward = [&] { ops::attention_forward<T>(r.ctx, o, {lse}, q, k, v, {}, options); };
    forward();
    const auto of = [](auto& x) { return first_sample(x.host.view()); };
    ops::ref::attention_forward<T>(of(o), {of(lse)}, of(q), of(k), of(v), {}, options);
    const auto o_there = o.fetch();
    if (!r.check(first_sample(o_there.view()), of(o))) return;
    if (!backward) return r.time(forward, {.flop = 4.0 * scores});

    gpu::both<T, 4> d_o(r.ctx, extents, 6), dq(r.ctx, extents, 7), dk(r.ctx, extents, 8), dv(r.ctx, extents, 9);
    const auto work = [&] { ops::attention_backward<T>(r.ctx, dq, dk, dv, d_o, o, {lse}, q, k, v, {}, options); };
    work();
    ops::ref::attention_backward<T>(of(dq), of(dk), of(dv), of(d_o), of(o), {of(lse)}, of(q), of(k), of(v), {}, options);
    for (auto* g : {&dq, &dk, &dv}) {
        const auto there = g->fetch();
        if (!r.check(first_sample(there.view()), of(*g))) return;
    }
    r.time(work, {.flop = 10.0 * scores});
}

const bool registered = [] {
    for (const shape s : {shape{32, 4, 165, 192}, {512, 4, 165, 192}, {8, 12, 197, 64}, {256, 12, 197, 64}}) {
        for (const bool backward : {false, true}) {
            gpu::add(backward ? "attention_backward" : "attention_forward", gpu::slashed(s.n_batch, s.n_heads, s.seq_len, s.d_head), gpu::k_all,
                     [s, backward]<class T>(gpu::run& r) { attention<T>(r, s, backward); });
        }
    }
    return true;
}();

}  // namespace
