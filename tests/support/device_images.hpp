#ifndef INSTAR_TESTS_SUPPORT_DEVICE_IMAGES_HPP
#define INSTAR_TESTS_SUPPORT_DEVICE_IMAGES_HPP

// The operators of image networks, through copies to and from the device, and steps of a small ResNet: on a real GPU (tests/gpu) and in the
// emulator (tests/emulated/device.cpp, resnet.cpp), as support/device_checks.hpp does for the others.
//
//     test::check_device_image_operators<float>(ctx, false);
//     test::check_device_resnet(ctx, test::small_bottleneck_resnet(), 2, 33, 10);

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/nn/resnet.hpp"
#include "instar/ops/cross_entropy.hpp"
#include "instar/ops/ref/batch_norm.hpp"
#include "instar/ops/ref/channels_last.hpp"
#include "instar/ops/ref/conv2d.hpp"
#include "instar/ops/ref/max_pool2d.hpp"
#include "instar/ops/ref/relu.hpp"
#include "instar/ops/ref/sgd.hpp"
#include "instar/optim/sgd.hpp"
#include "support/device_checks.hpp"

namespace instar::test {

template <class T>
void check_device_conv2d(cuda_context& ctx, const ops::conv2d_shape& s) {
    CAPTURE(s.kernel);
    CAPTURE(s.stride);
    CAPTURE(s.d_in);
    CAPTURE(s.height);
    const index_t images[4] = {s.n_batch, s.height, s.width, s.d_in}, outputs[4] = {s.n_batch, s.height_out(), s.width_out(), s.d_out};
    const index_t weights[4] = {s.d_out, s.d_in, s.kernel, s.kernel};
    mirrored<T, 4> x(ctx, images, 1), weight(ctx, weights, 2), dy(ctx, outputs, 3), y(ctx, outputs, 4), dx(ctx, images, 5), dweight(ctx, weights, 6);
    mirrored<T, 1> bias(ctx, {s.d_out}, 7), dbias(ctx, {s.d_out}, 8);
    tensor<T, 1, device_memory> scratch({ops::conv2d_scratch(s)});
    ops::conv2d_forward<T>(ctx, y, x, weight, bias, s, scratch.view());
    ops::ref::conv2d_forward<T>(y.host, x.host, weight.host, bias.host, s);
    CHECK(y.agrees());
    ops::conv2d_backward<T>(ctx, dx, dweight, dbias, dy, x, weight, s, scratch.view());
    ops::ref::conv2d_backward<T>(dx.host, dweight.host, dbias.host, dy.host, x.host, weight.host, s);
    CHECK(dx.agrees());
    CHECK(dweight.agrees());
    CHECK(dbias.agrees());
}

template <class T>
void check_device_batch_norm(cuda_context& ctx, index_t n, index_t d, bool relu) {
    CAPTURE(n);
    CAPTURE(d);
    const ops::batch_norm_options o{.relu = relu};
    mirrored<T, 2> x(ctx, {n, d}, 1, -2.0, 4.0), dy(ctx, {n, d}, 2), y(ctx, {n, d}, 3), dx(ctx, {n, d}, 4);
    mirrored<T, 1> weight(ctx, {d}, 5, 0.5, 1.5), bias(ctx, {d}, 6), dweight(ctx, {d}, 7), dbias(ctx, {d}, 8);
    mirrored<float, 1> mean(ctx, {d}, 9), rstd(ctx, {d}, 10), running_mean(ctx, {d}, 11), running_variance(ctx, {d}, 12, 0.5, 2.0);
    ops::batch_norm_forward<T>(ctx, y, {mean, rstd}, {running_mean, running_variance}, x, weight, bias, o);
    ops::ref::batch_norm_forward<T>(y.host, {mean.host, rstd.host}, {running_mean.host, running_variance.host}, x.host, weight.host, bias.host, o);
    CHECK(y.agrees());
    CHECK(mean.template agrees<float>());
    CHECK(rstd.template agrees<float>());
    CHECK(running_mean.template agrees<float>());
    CHECK(running_variance.template agrees<float>());
    y.upload();  // the backward is compared from the same point
    mean.upload();
    rstd.upload();
    ops::batch_norm_backward<T>(ctx, dx, dweight, dbias, dy, {mean, rstd}, y, x, weight, o);
    ops::ref::batch_norm_backward<T>(dx.host, dweight.host, dbias.host, dy.host, {mean.host, rstd.host}, y.host, x.host, weight.host, o);
    CHECK(dx.agrees());
    CHECK(dweight.agrees());
    CHECK(dbias.agrees());
    running_mean.upload();
    running_variance.upload();
    ops::batch_norm_inference<T>(ctx, y, {running_mean, running_variance}, x, weight, bias, o);
    ops::ref::batch_norm_inference<T>(y.host, {running_mean.host, running_variance.host}, x.host, weight.host, bias.host, o);
    CHECK(y.agrees());
}

template <class T>
void check_device_max_pool2d(cuda_context& ctx, index_t n, index_t height, index_t width, index_t d, ops::max_pool2d_options o) {
    CAPTURE(height);
    CAPTURE(d);
    const index_t pooled[4] = {n, o.out(height), o.out(width), d};
    mirrored<T, 4> planes(ctx, {n, d, height, width}, 1), x(ctx, {n, height, width, d}, 2), y(ctx, pooled, 3), dy(ctx, pooled, 4), dx(ctx, {n, height, width, d}, 5);
    mirrored<std::int32_t, 4> place(ctx, pooled, 0);
    ops::channels_last<T>(ctx, x, planes);
    ops::ref::channels_last<T>(x.host, planes.host);
    CHECK(same_bits(x.fetch().view(), x.host.view()));
    ops::max_pool2d_forward<T>(ctx, y, place, x, o);
    ops::ref::max_pool2d_forward<T>(y.host, place.host, x.host, o);
    CHECK(same_bits(y.fetch().view(), y.host.view()));
    CHECK(same_bits(place.fetch().view(), place.host.view()));
    ops::max_pool2d_backward<T>(ctx, dx, dy, place, o);
    ops::ref::max_pool2d_backward<T>(dx.host, dy.host, place.host.view());
    CHECK(dx.agrees());
}

template <class T>
void check_device_relu_and_sgd(cuda_context& ctx, index_t n) {
    CAPTURE(n);
    mirrored<T, 1> a(ctx, {n}, 1), b(ctx, {n}, 2), y(ctx, {n}, 3), dx(ctx, {n}, 4);
    ops::add_relu<T>(ctx, y, a, b);
    ops::ref::add_relu<T>(y.host, a.host, b.host);
    CHECK(y.agrees());
    y.upload();
    ops::relu_backward<T>(ctx, dx, a, y);
    ops::ref::relu_backward<T>(dx.host, a.host, y.host);
    CHECK(same_bits(dx.fetch().view(), dx.host.view()));
    ops::copy<T>(ctx, dx, b);
    ops::ref::copy<T>(dx.host, b.host);
    CHECK(same_bits(dx.fetch().view(), dx.host.view()));
    const ops::sgd_options o{.lr = 0.1, .momentum = 0.9, .weight_decay = 0.01, .nesterov = true};
    ops::sgd_update<T>(ctx, a, b, dx, o);
    ops::ref::sgd_update<T>(a.host, b.host, dx.host, o);
    CHECK(a.agrees());
    CHECK(b.agrees());
    if constexpr (std::is_same_v<T, bf16>) {
        a.upload();  // both begin with the same bits
        mirrored<float, 1> master(ctx, {n}, 6), momentum(ctx, {n}, 7);
        for (const index_t step : {1, 2}) {
            auto each = o;
            each.step = step;
            ops::sgd_update<T>(ctx, a, master, momentum, dx, each);
            ops::ref::sgd_update<T>(a.host, master.host, momentum.host, dx.host, each);
        }
        CHECK(a.agrees());
        CHECK(master.agrees());
        CHECK(momentum.agrees());
    }
}

/// All operators of image networks; `large` adds sizes that only a GPU computes quickly.
template <class T>
void check_device_image_operators(cuda_context& ctx, bool large) {
    for (const index_t n : {1, 1027}) check_device_relu_and_sgd<T>(ctx, n);
    check_device_conv2d<T>(ctx, {.n_batch = 2, .height = 9, .width = 8, .d_in = 5, .d_out = 7, .kernel = 3, .stride = 2, .padding = 1});
    check_device_conv2d<T>(ctx, {.n_batch = 2, .height = 7, .width = 6, .d_in = 16, .d_out = 8, .kernel = 3, .padding = 1});
    check_device_conv2d<T>(ctx, {.n_batch = 2, .height = 6, .width = 5, .d_in = 8, .d_out = 16, .kernel = 1, .stride = 2});
    check_device_conv2d<T>(ctx, {.n_batch = 3, .height = 4, .width = 5, .d_in = 8, .d_out = 16});
    check_device_batch_norm<T>(ctx, 43, 5, false);
    check_device_batch_norm<T>(ctx, 130, 64, true);
    check_device_max_pool2d<T>(ctx, 2, 9, 7, 3, {});
    check_device_max_pool2d<T>(ctx, 2, 8, 11, 16, {});
    if (!large) return;
    check_device_relu_and_sgd<T>(ctx, 3'000'001);
    check_device_conv2d<T>(ctx, {.n_batch = 4, .height = 112, .width = 112, .d_in = 3, .d_out = 64, .kernel = 7, .stride = 2, .padding = 3});
    check_device_conv2d<T>(ctx, {.n_batch = 20, .height = 28, .width = 28, .d_in = 64, .d_out = 64, .kernel = 3, .padding = 1});  // several panels
    check_device_conv2d<T>(ctx, {.n_batch = 4, .height = 28, .width = 28, .d_in = 128, .d_out = 64, .kernel = 3, .stride = 2, .padding = 1});
    check_device_conv2d<T>(ctx, {.n_batch = 8, .height = 28, .width = 28, .d_in = 64, .d_out = 256});
    check_device_batch_norm<T>(ctx, 100'352, 64, true);
    check_device_batch_norm<T>(ctx, 1568, 2048, true);
    check_device_max_pool2d<T>(ctx, 4, 56, 56, 64, {});
}

inline nn::resnet_config small_bottleneck_resnet() { return {.n_blocks = {1, 2, 1, 1}, .width = 4, .n_labels = 5}; }
inline nn::resnet_config small_basic_resnet() {
    return {.n_blocks = {1, 1, 1, 1}, .bottleneck = false, .width = 8, .n_labels = 5, .stem = nn::resnet_stem::small_image};
}

struct resnet_run {
    std::vector<double> losses;      ///< of each step
    std::vector<double> parameters;  ///< after the last
    std::vector<double> buffers;     ///< running statistics
    std::vector<double> evaluated;   ///< logits in evaluation mode
};

/// Values rounded to S on the way to the context's memory.
template <class S, class Context, int Rank>
void put_rounded(Context& ctx, tensor_view<S, Rank> to, tensor_view<const double, Rank> from) {
    tensor<S, Rank> rounded(from.extents_);
    for (index_t i = 0; i < from.size(); ++i) rounded.data()[i] = ops::ref::from_double<S>(from.data()[i]);
    put<S, Rank>(ctx, to, std::as_const(rounded).view());
}

/// Steps of gradient descent on one batch of n images of size × size, then an evaluation: all that training a ResNet uses, on one context.
template <class T, class Context>
resnet_run train_small_resnet(Context& ctx, const nn::resnet_config& config, index_t n, index_t size, int n_steps) {
    using memory = typename Context::memory;
    const nn::resnet<double> initial(config, philox{.seed = 3});
    nn::resnet<T, memory> model(config);
    put_rounded<T, Context, 1>(ctx, model.parameters(), initial.parameters());
    put_rounded<accumulator_t<T>, Context, 1>(ctx, model.buffers(), initial.buffers());
    tensor<T, 4, memory> images({n, config.n_channels, size, size});
    const auto pixels = random_tensor<double, 4>({n, config.n_channels, size, size}, 4);
    put_rounded<T, Context, 4>(ctx, images.view(), pixels.view());
    tensor<std::int32_t, 1> labels({n});
    for (index_t i = 0; i < n; ++i) labels(i) = static_cast<std::int32_t>(i * 3 % config.n_labels);
    tensor<std::int32_t, 1, memory> targets({n});
    put(ctx, targets.view(), std::as_const(labels).view());

    auto gradients = model.make_gradients();
    nn::resnet_activations<T, memory> activations, evaluation;
    optim::sgd<T, memory> optimiser(model.layout().size(), {.momentum = 0.9, .weight_decay = 1e-3, .nesterov = true});
    tensor<accumulator_t<T>, 1, memory> loss({n});
    tensor<T, 2, memory> d_features({n, config.d_features()});
    resnet_run run;
    for (int step = 0; step < n_steps; ++step) {
        ops::fill<T>(ctx, gradients.view(), T(0));
        const auto features = model.forward(ctx, activations, std::as_const(images).view(), true);
        const auto logits = model.classify(ctx, activations);
        ops::softmax_cross_entropy<T>(ctx, loss.view(), logits, logits, std::as_const(targets).view(), {}, {.denominator = static_cast<double>(n)});
        model.network().head().backward(ctx, std::as_const(model).parameters(), gradients.view(), d_features.view(), logits, features);
        model.backward(ctx, gradients.view(), activations, d_features.view());
        double total = 0.0;
        for (const double l : get<accumulator_t<T>>(ctx, std::as_const(loss).view())) total += l;
        run.losses.push_back(total);
        optimiser.step(ctx, model.parameters(), gradients.view(), 0.01);
    }
    run.parameters = get<T>(ctx, std::as_const(model).parameters());
    run.buffers = get<accumulator_t<T>>(ctx, std::as_const(model).buffers());
    model.forward(ctx, evaluation, std::as_const(images).view());
    const auto logits = model.classify(ctx, evaluation);
    run.evaluated = get<T>(ctx, tensor_view<const T, 1>(logits.data(), {logits.size()}));
    return run;
}

/// Training in float on the device against float on the CPU, and the same bits when run again.
inline void check_device_resnet(cuda_context& ctx, const nn::resnet_config& config, index_t n, index_t size, int n_steps) {
    cpu_context cpu{2};
    const resnet_run expected = train_small_resnet<float>(cpu, config, n, size, n_steps), actual = train_small_resnet<float>(ctx, config, n, size, n_steps);
    for (std::size_t step = 0; step < expected.losses.size(); ++step) {
        CAPTURE(step);
        CHECK(actual.losses[step] == doctest::Approx(expected.losses[step]).epsilon(1e-4));
    }
    CHECK(expected.losses.back() < 0.5 * expected.losses.front());
    CHECK(relative_error(actual.parameters, expected.parameters) < 1e-4);
    CHECK(relative_error(actual.buffers, expected.buffers) < 1e-4);
    CHECK(relative_error(actual.evaluated, expected.evaluated) < 1e-3);
    const resnet_run again = train_small_resnet<float>(ctx, config, n, size, n_steps);
    CHECK(again.losses == actual.losses);
    CHECK(again.parameters == actual.parameters);
    CHECK(again.evaluated == actual.evaluated);
}

}  // namespace instar::test

#endif
