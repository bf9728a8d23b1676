#ifndef INSTAR_TESTS_SUPPORT_DEVICE_CHECKS_HPP
#define INSTAR_TESTS_SUPPORT_DEVICE_CHECKS_HPP

// Every CUDA operator against the reference through copies to and from the device: the same checks run on a real GPU
// (tests/gpu) and in the emulator (tests/emulated/device.cpp), so what runs on the GPU has been run before.
//
//     cuda_context ctx;
//     test::check_device_operators<float>(ctx);
//     test::check_device_training(ctx);            // BERT steps, against double on the CPU

#include <cmath>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/nn/bert.hpp"
#include "instar/ops/l2_normalize.hpp"
#include "instar/ops/ref/adamw.hpp"
#include "instar/ops/ref/attention.hpp"
#include "instar/ops/ref/centre_tokens.hpp"
#include "instar/ops/ref/cross_entropy.hpp"
#include "instar/ops/ref/dropout.hpp"
#include "instar/ops/ref/elementwise.hpp"
#include "instar/ops/ref/embedding.hpp"
#include "instar/ops/ref/focal_loss.hpp"
#include "instar/ops/ref/gelu.hpp"
#include "instar/ops/ref/gemm.hpp"
#include "instar/ops/ref/l2_normalize.hpp"
#include "instar/ops/ref/layer_norm.hpp"
#include "instar/ops/ref/linear.hpp"
#include "instar/ops/ref/pooling.hpp"
#include "instar/ops/ref/softmax.hpp"
#include "instar/ops/ref/sup_con.hpp"
#include "instar/ops/softmax.hpp"
#include "instar/ops/sup_con.hpp"
#include "instar/optim/adamw.hpp"
#include "support/emulated.hpp"

namespace instar::test {

/// A tensor on the host and its copy on the device. `host` is also where the reference works.
template <class T, int Rank>
class mirrored {
public:
    tensor<T, Rank> host;
    tensor<T, Rank, device_memory> device;

    mirrored(cuda_context& ctx, const index_t (&extents)[Rank], std::uint64_t seed, double low = -1.0, double high = 1.0)
        : host(extents), device(extents), ctx_(ctx) {
        if constexpr (!std::is_integral_v<T>) fill_random(host.view(), seed, low, high);
        upload();
    }
    void upload() { ctx_.upload(device.view(), std::as_const(host).view()); }
    operator tensor_view<T, Rank>() { return device.view(); }
    operator tensor_view<const T, Rank>() const { return device.view(); }

    tensor<T, Rank> fetch() const {
        index_t extents[Rank];
        for (int d = 0; d < Rank; ++d) extents[d] = host.extent(d);
        tensor<T, Rank> copy(extents);
        ctx_.download(copy.view(), device.view());
        return copy;
    }
    /// Whether the device holds what the reference left in `host`.
    template <class Tolerance = T>
    bool agrees() const {
        return close<Tolerance>(fetch().view(), host.view());
    }

private:
    cuda_context& ctx_;
};

template <class T>
void check_device_flat(cuda_context& ctx, index_t n) {
    CAPTURE(n);
    mirrored<T, 1> x(ctx, {n}, 1, -4.0, 4.0), dy(ctx, {n}, 2), y(ctx, {n}, 3);
    ops::gelu_forward<T>(ctx, y, x);
    ops::ref::gelu_forward<T>(y.host, x.host);
    CHECK(y.agrees());
    ops::gelu_backward<T>(ctx, y, dy, x);
    ops::ref::gelu_backward<T>(y.host, dy.host, x.host);
    CHECK(y.agrees());
    ops::add<T>(ctx, y, dy, x);
    ops::ref::add<T>(y.host, dy.host, x.host);
    CHECK(y.agrees());
    ops::scale<T>(ctx, y, 0.7f);
    ops::ref::scale<T>(y.host, 0.7f);
    CHECK(y.agrees());
    const ops::dropout_options drop{.p = 0.3f, .rng = {.seed = 1, .stream = 2}};
    ops::dropout_forward<T>(ctx, y, x, drop);
    ops::ref::dropout_forward<T>(y.host, x.host, drop);
    CHECK(same_bits(y.fetch().view(), y.host.view()));
    ops::residual_dropout_forward<T>(ctx, y, dy, x, drop);
    ops::ref::residual_dropout_forward<T>(y.host, dy.host, x.host, drop);
    CHECK(y.agrees());
    ops::copy<T>(ctx, y, x);
    ops::ref::copy<T>(y.host, x.host);
    CHECK(same_bits(y.fetch().view(), y.host.view()));
    ops::fill<T>(ctx, y, T(0.5f));
    ops::ref::fill<T>(y.host, T(0.5f));
    CHECK(y.agrees());
}

template <class T>
void check_device_rows(cuda_context& ctx, index_t n, index_t d) {
    CAPTURE(n);
    CAPTURE(d);
    mirrored<T, 2> x(ctx, {n, d}, 1, -2.0, 4.0), dy(ctx, {n, d}, 2), y(ctx, {n, d}, 3), dx(ctx, {n, d}, 4);
    mirrored<T, 1> weight(ctx, {d}, 5, 0.5, 1.5), bias(ctx, {d}, 6), dweight(ctx, {d}, 7), dbias(ctx, {d}, 8);
    mirrored<float, 1> mean(ctx, {n}, 9), rstd(ctx, {n}, 10);
    ops::layer_norm_forward<T>(ctx, y, {mean, rstd}, x, weight, bias, 1e-5);
    ops::ref::layer_norm_forward<T>(y.host, {mean.host, rstd.host}, x.host, weight.host, bias.host, 1e-5);
    CHECK(y.agrees());
    ops::layer_norm_backward<T>(ctx, dx, dweight, dbias, dy, {mean, rstd}, x, weight);
    ops::ref::layer_norm_backward<T>(dx.host, dweight.host, dbias.host, dy.host, {mean.host, rstd.host}, x.host, weight.host);
    CHECK(dx.agrees());
    CHECK(dweight.agrees());
    CHECK(dbias.agrees());
    ops::softmax_forward<T>(ctx, y, x);
    ops::ref::softmax_forward<T>(y.host, x.host);
    CHECK(y.agrees());
    y.upload();  // the backward is compared from the same point
    ops::softmax_backward<T>(ctx, dx, dy, y);
    ops::ref::softmax_backward<T>(dx.host, dy.host, y.host);
    CHECK(dx.agrees());
    ops::l2_normalize_forward<T>(ctx, y, rstd, x);
    ops::ref::l2_normalize_forward<T>(y.host, rstd.host, x.host);
    CHECK(y.agrees());
    y.upload();
    rstd.upload();
    ops::l2_normalize_backward<T>(ctx, dx, dy, y, rstd);
    ops::ref::l2_normalize_backward<T>(dx.host, dy.host, y.host, rstd.host);
    CHECK(dx.agrees());
    mirrored<std::int32_t, 1> targets(ctx, {n}, 0);
    for (index_t r = 0; r < n; ++r) targets.host(r) = static_cast<std::int32_t>(r % 5 == 3 ? -1 : r * 31 % d);
    targets.upload();
    const ops::cross_entropy_options o{.denominator = 7.0, .label_smoothing = 0.1};
    ops::softmax_cross_entropy<T>(ctx, mean, dx, x, targets, {}, o);
    ops::ref::softmax_cross_entropy<T>(mean.host, dx.host, x.host, targets.host.view(), {}, o);
    CHECK(mean.template agrees<float>());
    CHECK(dx.agrees());
    ops::focal_loss<T>(ctx, mean, dx, x, targets, {}, {.denominator = 7.0, .gamma = 2.0});
    ops::ref::focal_loss<T>(mean.host, dx.host, x.host, targets.host.view(), {}, {.denominator = 7.0, .gamma = 2.0});
    CHECK(mean.template agrees<float>());
    CHECK(dx.agrees());
}

template <class T>
void check_device_products(cuda_context& ctx, index_t n, index_t d_in, index_t d_out) {
    CAPTURE(n);
    CAPTURE(d_in);
    CAPTURE(d_out);
    mirrored<T, 2> x(ctx, {n, d_in}, 1), weight(ctx, {d_out, d_in}, 2), dy(ctx, {n, d_out}, 3), y(ctx, {n, d_out}, 4), pre(ctx, {n, d_out}, 5);
    mirrored<T, 2> dx(ctx, {n, d_in}, 6), dweight(ctx, {d_out, d_in}, 7), square(ctx, {d_in, d_in}, 8);
    mirrored<T, 1> bias(ctx, {d_out}, 9), dbias(ctx, {d_out}, 10);
    ops::linear_forward<T>(ctx, y, x, weight, bias);
    ops::ref::linear_forward<T>(y.host, x.host, weight.host, bias.host);
    CHECK(y.agrees());
    ops::linear_gelu_forward<T>(ctx, y, pre, x, weight, bias);
    ops::ref::linear_gelu_forward<T>(y.host, pre.host, x.host, weight.host, bias.host);
    CHECK(y.agrees());
    ops::linear_backward<T>(ctx, dx, dweight, dbias, dy, x, weight);
    ops::ref::linear_backward<T>(dx.host, dweight.host, dbias.host, dy.host, x.host, weight.host);
    CHECK(dx.agrees());
    CHECK(dweight.agrees());
    CHECK(dbias.agrees());
    for (const bool accumulate : {false, true}) {
        ops::gemm<T>(ctx, square, x, x, {.transpose_a = true, .accumulate = accumulate});
        ops::ref::gemm<T>(square.host, x.host, x.host, {.transpose_a = true, .accumulate = accumulate});
        CHECK(square.agrees());
    }
}

template <class T>
void check_device_attention(cuda_context& ctx, index_t n_batch, index_t seq_len, index_t n_heads, index_t d_head, float p) {
    CAPTURE(seq_len);
    CAPTURE(d_head);
    const index_t shape[4] = {n_batch, seq_len, n_heads, d_head};
    mirrored<T, 4> q(ctx, shape, 1, -2.0, 2.0), k(ctx, shape, 2, -2.0, 2.0), v(ctx, shape, 3), d_o(ctx, shape, 4), o(ctx, shape, 5);
    mirrored<T, 4> dq(ctx, shape, 6), dk(ctx, shape, 7), dv(ctx, shape, 8);
    mirrored<float, 3> lse(ctx, {n_batch, n_heads, seq_len}, 9);
    mirrored<std::uint8_t, 2> mask(ctx, {n_batch, seq_len}, 0);
    for (index_t b = 0; b < n_batch; ++b) {
        for (index_t j = 0; j < seq_len; ++j) mask.host(b, j) = b + 1 < n_batch || n_batch == 1 ? j % 5 != 3 : 0;
    }
    mask.upload();
    const ops::attention_options options{.scale = 1.0 / std::sqrt(static_cast<double>(d_head)), .dropout = {.p = p, .rng = {.seed = 3}}};
    ops::attention_forward<T>(ctx, o, {lse}, q, k, v, mask, options);
    ops::ref::attention_forward<T>(o.host, {lse.host}, q.host, k.host, v.host, mask.host.view(), options);
    CHECK(o.agrees());
    CHECK(lse.template agrees<float>());
    ops::attention_backward<T>(ctx, dq, dk, dv, d_o, o, {lse}, q, k, v, mask, options);
    ops::ref::attention_backward<T>(dq.host, dk.host, dv.host, d_o.host, o.host, {lse.host}, q.host, k.host, v.host, mask.host.view(), options);
    CHECK(dq.agrees());
    CHECK(dk.agrees());
    CHECK(dv.agrees());
}

template <class T>
void check_device_tokens(cuda_context& ctx, index_t n_batch, index_t seq_len, index_t d) {
    CAPTURE(seq_len);
    const index_t n_vocab = 23;
    mirrored<std::int32_t, 2> ids(ctx, {n_batch, seq_len}, 0);
    mirrored<std::uint8_t, 2> mask(ctx, {n_batch, seq_len}, 0);
    for (index_t i = 0; i < ids.host.size(); ++i) {
        ids.host.data()[i] = static_cast<std::int32_t>(i * 37 % n_vocab);
        mask.host.data()[i] = i % 3 != 1;
    }
    ids.upload();
    mask.upload();
    mirrored<T, 2> word(ctx, {n_vocab, d}, 1), position(ctx, {seq_len, d}, 2), dword(ctx, {n_vocab, d}, 3), dposition(ctx, {seq_len, d}, 4);
    mirrored<T, 1> type(ctx, {d}, 5), dtype_row(ctx, {d}, 6);
    mirrored<T, 3> y(ctx, {n_batch, seq_len, d}, 7), dy(ctx, {n_batch, seq_len, d}, 8);
    ops::embedding_forward<T>(ctx, y, ids, word, position, type);
    ops::ref::embedding_forward<T>(y.host, ids.host.view(), word.host, position.host, type.host);
    CHECK(y.agrees());
    ops::embedding_backward<T>(ctx, dword, dposition, dtype_row, dy, ids, {.padding_idx = 0});
    ops::ref::embedding_backward<T>(dword.host, dposition.host, dtype_row.host, dy.host, ids.host.view(), {.padding_idx = 0});
    CHECK(dword.agrees());
    CHECK(dposition.agrees());
    CHECK(dtype_row.agrees());
    mirrored<T, 2> pooled(ctx, {n_batch, d}, 9);
    ops::sequence_pool_forward<T>(ctx, pooled, dy, mask, ops::pooling::masked_mean);
    ops::ref::sequence_pool_forward<T>(pooled.host, dy.host, mask.host.view(), ops::pooling::masked_mean);
    CHECK(pooled.agrees());
    pooled.upload();
    ops::sequence_pool_backward<T>(ctx, y, pooled, mask, ops::pooling::masked_mean);
    ops::ref::sequence_pool_backward<T>(y.host, pooled.host, mask.host.view(), ops::pooling::masked_mean);
    CHECK(y.agrees());
    ops::centre_tokens_forward<T>(ctx, y, dy, position, mask);
    ops::ref::centre_tokens_forward<T>(y.host, dy.host, position.host, mask.host.view());
    CHECK(y.agrees());
    ops::centre_tokens_backward<T>(ctx, y, dy, mask);
    ops::ref::centre_tokens_backward<T>(y.host, dy.host, mask.host.view());
    CHECK(same_bits(y.fetch().view(), y.host.view()));
}

template <class T>
void check_device_sup_con(cuda_context& ctx, index_t n, index_t d) {
    mirrored<T, 2> z(ctx, {n, d}, 1), dz(ctx, {n, d}, 2);
    mirrored<float, 1> loss(ctx, {n}, 3);
    mirrored<std::int32_t, 1> labels(ctx, {n}, 0);
    for (index_t i = 0; i < n; ++i) labels.host(i) = static_cast<std::int32_t>(i % 6) - 1;
    labels.upload();
    ops::sup_con<T>(ctx, loss, dz, z, labels, {.temperature = 0.2});
    ops::ref::sup_con<T>(loss.host, dz.host, z.host, labels.host.view(), {.temperature = 0.2});
    CHECK(loss.template agrees<float>());
    CHECK(dz.agrees());
}

inline void check_device_adamw(cuda_context& ctx, index_t n) {
    mirrored<float, 1> p(ctx, {n}, 1), m(ctx, {n}, 2), v(ctx, {n}, 3, 0.0, 1.0), g(ctx, {n}, 4);
    const ops::adamw_options o{.lr = 1e-2, .weight_decay = 0.1, .step = 3, .grad_scale = 0.5};
    ops::adamw_update<float>(ctx, p, m, v, g, o);
    ops::ref::adamw_update<float>(p.host, m.host, v.host, g.host, o);
    CHECK(p.agrees());
    CHECK(m.agrees());
    CHECK(v.agrees());
    const double norm = ops::squared_norm<float>(ctx, std::as_const(g.device).view());
    CHECK(norm == doctest::Approx(ops::ref::squared_norm<float>(std::as_const(g.host).view())).epsilon(1e-12));
}

/// All operators; `large` adds sizes that only a GPU computes quickly.
template <class T>
void check_device_operators(cuda_context& ctx, bool large) {
    for (const index_t n : {1, 1027}) check_device_flat<T>(ctx, n);
    check_device_rows<T>(ctx, 13, 48);
    check_device_rows<T>(ctx, 5, 1601);
    check_device_products<T>(ctx, 33, 24, 17);
    check_device_attention<T>(ctx, 2, 33, 2, 24, 0.0f);
    check_device_attention<T>(ctx, 1, 70, 1, 64, 0.2f);
    check_device_tokens<T>(ctx, 3, 21, 40);
    check_device_sup_con<T>(ctx, 45, 16);
    if (!large) return;
    check_device_flat<T>(ctx, 3'000'001);
    check_device_rows<T>(ctx, 1056, 768);
    check_device_rows<T>(ctx, 40, 65540);
    check_device_products<T>(ctx, 1056, 768, 256);
    for (const index_t seq_len : {1, 82, 133, 165, 512}) check_device_attention<T>(ctx, 2, seq_len, 2, 64, 0.0f);
    check_device_attention<T>(ctx, 2, 165, 4, 192, 0.1f);
    check_device_attention<T>(ctx, 1, 197, 2, 128, 0.0f);
    check_device_tokens<T>(ctx, 32, 165, 768);
    check_device_sup_con<T>(ctx, 1100, 128);
}

inline void put(cpu_context&, tensor_view<double, 1> to, tensor_view<const double, 1> from) { std::copy(from.data(), from.data() + from.size(), to.data()); }
inline void put(cuda_context& ctx, tensor_view<float, 1> to, tensor_view<const double, 1> from) {
    tensor<float, 1> rounded({from.size()});
    for (index_t i = 0; i < from.size(); ++i) rounded(i) = static_cast<float>(from(i));
    ctx.upload(to, std::as_const(rounded).view());
}
template <class T, int Rank>
void put(cpu_context&, tensor_view<T, Rank> to, tensor_view<const T, Rank> from) {
    std::copy(from.data(), from.data() + from.size(), to.data());
}
template <class T, int Rank>
void put(cuda_context& ctx, tensor_view<T, Rank> to, tensor_view<const T, Rank> from) {
    ctx.upload(to, from);
}
template <class T>
std::vector<double> get(cpu_context&, tensor_view<const T, 1> from) {
    return {from.data(), from.data() + from.size()};
}
template <class T>
std::vector<double> get(cuda_context& ctx, tensor_view<const T, 1> from) {
    tensor<T, 1> host({from.size()});
    ctx.download(host.view(), from);
    std::vector<double> values;
    for (const T& value : host) values.push_back(to_double(value));
    return values;
}

struct training_run {
    std::vector<double> losses;      ///< of each step
    std::vector<double> gradients;   ///< of the last step
    std::vector<double> parameters;  ///< after it
};

/// Steps of a small BERT with a masked-token loss, dropout and clipping: every operator that training uses, on one context.
template <class T, class Context>
training_run train_small_bert(Context& ctx, const nn::bert_config& config, index_t n_batch, index_t seq_len, int n_steps) {
    using memory = typename Context::memory;
    const nn::bert<double> initial(config, philox{.seed = 11});
    nn::bert<T, memory> model(config);
    put(ctx, model.parameters(), initial.parameters());
    tensor<std::int32_t, 2> ids({n_batch, seq_len});
    tensor<std::int32_t, 1> targets({n_batch * seq_len});
    tensor<std::uint8_t, 2> mask({n_batch, seq_len});
    for (index_t i = 0; i < ids.size(); ++i) {
        ids.data()[i] = static_cast<std::int32_t>(i * 29 % config.vocab_size);
        targets(i) = i % 4 == 1 ? -1 : static_cast<std::int32_t>(i * 17 % config.n_labels);
        mask.data()[i] = i % seq_len < seq_len - 3;
    }
    tensor<std::int32_t, 2, memory> ids_there({n_batch, seq_len});
    tensor<std::int32_t, 1, memory> targets_there({n_batch * seq_len});
    tensor<std::uint8_t, 2, memory> mask_there({n_batch, seq_len});
    put(ctx, ids_there.view(), std::as_const(ids).view());
    put(ctx, targets_there.view(), std::as_const(targets).view());
    put(ctx, mask_there.view(), std::as_const(mask).view());

    auto gradients = model.make_gradients();
    nn::bert_activations<T, memory> activations;
    optim::adamw<T, memory> optimiser(model.layout().size(), {.weight_decay = 0.01, .max_grad_norm = 0.5});
    tensor<accumulator_t<T>, 1, memory> loss({n_batch * seq_len});
    training_run run;
    for (int step = 0; step < n_steps; ++step) {
        const philox rng{.seed = 5, .stream = static_cast<std::uint64_t>(step)};
        ops::fill<T>(ctx, gradients.view(), T(0));
        auto hidden = model.forward(ctx, activations, std::as_const(ids_there).view(), std::as_const(mask_there).view(),
                                    {.training = true, .rng = rng});
        auto d_hidden = nn::bert<T, memory>::d_hidden_buffer(activations);
        const index_t shape[2] = {n_batch * seq_len, config.d_model};
        nn::linear_cross_entropy(ctx, model.network().classifier(), std::as_const(model).parameters(), gradients.view(), loss.view(),
                                 d_hidden.template reshape<2>(shape), hidden.template reshape<2>(shape), std::as_const(targets_there).view(), {},
                                 {.denominator = 40.0}, activations.scratch());
        model.backward(ctx, gradients.view(), activations, d_hidden);
        double total = 0.0;
        for (const double l : get<accumulator_t<T>>(ctx, std::as_const(loss).view())) total += l;
        run.losses.push_back(total);
        if (step + 1 == n_steps) run.gradients = get<T>(ctx, std::as_const(gradients).view());
        optimiser.step(ctx, model.parameters(), gradients.view(), {.lr = 1e-2, .beta1 = 0.9});
    }
    run.parameters = get<T>(ctx, std::as_const(model).parameters());
    return run;
}

inline double relative_error(const std::vector<double>& actual, const std::vector<double>& expected) {
    double error = 0.0, energy = 0.0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
        error += (actual[i] - expected[i]) * (actual[i] - expected[i]);
        energy += expected[i] * expected[i];
    }
    return actual.size() == expected.size() ? std::sqrt(error / energy) : 1e300;
}

/// Three steps in float on the device against double on the CPU, and the same bits when run again.
inline void check_device_training(cuda_context& ctx) {
    const nn::bert_config config{.vocab_size = 37, .d_model = 32, .n_layers = 2, .n_heads = 2, .d_ff = 48, .max_positions = 30, .n_labels = 35};
    cpu_context cpu{2};
    const training_run expected = train_small_bert<double>(cpu, config, 3, 21, 3), actual = train_small_bert<float>(ctx, config, 3, 21, 3);
    for (std::size_t step = 0; step < expected.losses.size(); ++step) {
        CAPTURE(step);
        CHECK(actual.losses[step] == doctest::Approx(expected.losses[step]).epsilon(1e-5));
    }
    CHECK(expected.losses[2] < expected.losses[0]);
    CHECK(relative_error(actual.gradients, expected.gradients) < 1e-4);
    CHECK(relative_error(actual.parameters, expected.parameters) < 1e-4);
    const training_run again = train_small_bert<float>(ctx, config, 3, 21, 3);
    CHECK(again.losses == actual.losses);
    CHECK(again.parameters == actual.parameters);
}

}  // namespace instar::test

#endif
