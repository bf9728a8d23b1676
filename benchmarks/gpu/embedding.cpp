// BERT's first layer: word, position and type summed, and the gradient of all three (deterministic: places in their order).
// Names: embedding_forward/batch/tokens/words/d_model. Bytes: y, or dy. Forward and the words' gradient are checked against ops/ref.

#include "instar/ops/embedding.hpp"

#include "harness.hpp"
#include "instar/ops/ref/embedding.hpp"

namespace {

using namespace instar;
namespace gpu = bench::gpu;

struct shape {
    index_t n_batch, seq_len, n_words, d;
};

template <class T>
void embedding(gpu::run& r, shape s, bool backward) {
    const index_t n = gpu::sized(s.n_batch, 3), t = gpu::sized(s.seq_len, 21), words = gpu::sized(s.n_words, 23), d = gpu::sized(s.d, 40);
    gpu::both<T, 2> word(r.ctx, {words, d}, 1), position(r.ctx, {t, d}, 2);
    gpu::both<T, 1> type(r.ctx, {d}, 3);
    gpu::both<T, 3> y(r.ctx, {n, t, d}, 4);
    gpu::both<std::int32_t, 2> ids(r.ctx, {n, t}, 0);
    const philox rng{.seed = 5};
    for (index_t i = 0; i < ids.host.size(); ++i) {
        ids.host.data()[i] = static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(i), static_cast<std::uint32_t>(words)));
    }
    ids.upload();
    const auto work = [&] {
        if (backward) ops::embedding_backward<T>(r.ctx, word, position, type, y, ids, {.padding_idx = 0});
        else ops::embedding_forward<T>(r.ctx, y, ids, word, position, type);
    };
    work();
    if (backward) {
        ops::ref::embedding_backward<T>(word.host, position.host, type.host, y.host, ids.host.view(), {.padding_idx = 0});
        if (!r.check(word.fetch().view(), word.host.view())) return;
    } else {
        ops::ref::embedding_forward<T>(y.host, ids.host.view(), word.host, position.host, type.host);
        if (!r.check(y.fetch().view(), y.host.view())) return;
    }
    r.time(work, {.bytes = static_cast<double>(n * t * d) * sizeof(T)});
}

const bool registered = [] {
    for (const shape s : {shape{512, 165, 258, 768}, {512, 82, 65538, 768}}) {
        for (const bool backward : {false, true}) {
            gpu::add(backward ? "embedding_backward" : "embedding_forward", gpu::slashed(s.n_batch, s.seq_len, s.n_words, s.d), gpu::k_no_products,
                     [s, backward]<class T>(gpu::run& r) { embedding<T>(r, s, backward); });
        }
    }
    return true;
}();

}  // namespace
