#ifndef INSTAR_TESTS_SUPPORT_GRAPH_CHECKS_HPP
#define INSTAR_TESTS_SUPPORT_GRAPH_CHECKS_HPP

// Training steps through a CUDA graph, fed by copies that do not wait: the same check on a real GPU (tests/gpu) and in the
// emulator (tests/emulated/graph.cpp).
//
//     test::check_graph_training(ctx);

#include <utility>

#include <doctest/doctest.h>

#include "instar/cuda/event.hpp"
#include "instar/cuda/graph.hpp"
#include "instar/nn/bert.hpp"
#include "instar/nn/heads.hpp"
#include "instar/ops/elementwise.hpp"
#include "instar/optim/adamw.hpp"
#include "support/emulated.hpp"

namespace instar::test {

inline constexpr index_t k_batch = 2, k_len = 9;

/// A step without clipping: what a graph may hold.
struct small_model {
    nn::bert_config config{.vocab_size = 19, .d_model = 16, .n_layers = 1, .n_heads = 2, .d_ff = 24, .max_positions = 12, .n_labels = 17};
    nn::bert<float, device_memory> model{config};
    tensor<float, 1, device_memory> gradients = model.make_gradients();
    nn::bert_activations<float, device_memory> activations;
    optim::adamw<float, device_memory> optimiser{model.layout().size()};
    tensor<std::int32_t, 2, device_memory> ids{{k_batch, k_len}};
    tensor<std::int32_t, 1, device_memory> targets{{k_batch * k_len}};
    tensor<float, 1, device_memory> loss{{k_batch * k_len}};

    explicit small_model(cuda_context& ctx) {
        const nn::bert<float> initial(config, philox{.seed = 3});
        ctx.upload(model.parameters(), initial.parameters());
    }
    void step(cuda_context& ctx) {
        ops::fill<float>(ctx, gradients.view(), 0.0f);
        auto hidden = model.forward(ctx, activations, std::as_const(ids).view(), {}, {.training = true, .rng = {.seed = 5}});
        auto d_hidden = decltype(model)::d_hidden_buffer(activations);
        const index_t shape[2] = {k_batch * k_len, config.d_model};
        nn::linear_cross_entropy(ctx, model.network().classifier(), std::as_const(model).parameters(), gradients.view(), loss.view(),
                                 d_hidden.template reshape<2>(shape), hidden.template reshape<2>(shape), std::as_const(targets).view(), {},
                                 {.denominator = 18.0}, activations.scratch());
        model.backward(ctx, gradients.view(), activations, d_hidden);
        optimiser.step(ctx, model.parameters(), gradients.view(), {.lr = 1e-2, .beta1 = 0.9});
    }
    tensor<float, 1> parameters(cuda_context& ctx) {
        tensor<float, 1> host({model.layout().size()});
        ctx.download(host.view(), std::as_const(model).parameters());
        return host;
    }
};

inline void fill_batch(tensor<std::int32_t, 2, pinned_memory>& ids, tensor<std::int32_t, 1, pinned_memory>& targets, index_t step) {
    for (index_t i = 0; i < ids.size(); ++i) {
        ids.data()[i] = static_cast<std::int32_t>((i * 7 + step) % 19);
        targets(i) = static_cast<std::int32_t>((i * 5 + step) % 17);
    }
}

/// AdamW's step number is among the launch's numbers, so each step is captured again; the graph is updated.
inline void check_graph_training(cuda_context& ctx) {
    small_model plain(ctx), replayed(ctx);
    tensor<std::int32_t, 2, pinned_memory> ids({k_batch, k_len});
    tensor<std::int32_t, 1, pinned_memory> targets({k_batch * k_len});
    cuda::graph graph;
    cuda::event copied;
    for (index_t i = 0; i < 4; ++i) {
        fill_batch(ids, targets, i);
        for (small_model* m : {&plain, &replayed}) {
            ctx.upload_async(m->ids.view(), std::as_const(ids).view());
            ctx.upload_async(m->targets.view(), std::as_const(targets).view());
        }
        copied.record(ctx);
        plain.step(ctx);
        if (i == 0) {
            replayed.step(ctx);  // sizes the arenas
        } else {
            graph.capture(ctx, [&] { replayed.step(ctx); });
            graph.launch(ctx);
        }
        copied.synchronize();  // the next batch may be written
    }
    const auto expected = plain.parameters(ctx), actual = replayed.parameters(ctx);
    CHECK(same_bits(actual.view(), expected.view()));
    const nn::bert<float> initial(plain.config, philox{.seed = 3});
    CHECK(!same_bits(expected.view(), initial.parameters()));
}

}  // namespace instar::test

#endif
