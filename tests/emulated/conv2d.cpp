// Convolution on the emulated device against the reference: odd sizes, strides, padding, channels that are whole packs and that are not,
// several panels, empty batches, what may be left out, the same bits in every thread order, bad shapes.

#include <doctest/doctest.h>

#include "instar/ops/ref/conv2d.hpp"
#include "support/emulated.hpp"

using namespace instar;

namespace {

constexpr ops::conv2d_shape k_shapes[] = {
    {.n_batch = 1, .height = 1, .width = 1, .d_in = 1, .d_out = 1},
    {.n_batch = 3, .height = 5, .width = 7, .d_in = 8, .d_out = 6},
    {.n_batch = 1, .height = 1, .width = 1, .d_in = 3, .d_out = 2, .kernel = 3, .padding = 1},
    {.n_batch = 2, .height = 6, .width = 5, .d_in = 3, .d_out = 8, .kernel = 3, .padding = 1},
    {.n_batch = 2, .height = 7, .width = 6, .d_in = 16, .d_out = 5, .kernel = 3, .padding = 1},
    {.n_batch = 2, .height = 9, .width = 8, .d_in = 5, .d_out = 7, .kernel = 3, .stride = 2, .padding = 1},
    {.n_batch = 2, .height = 9, .width = 8, .d_in = 8, .d_out = 8, .kernel = 3, .stride = 2, .padding = 1},
    {.n_batch = 2, .height = 7, .width = 8, .d_in = 12, .d_out = 9, .kernel = 1, .stride = 2},
    {.n_batch = 1, .height = 23, .width = 17, .d_in = 3, .d_out = 4, .kernel = 7, .stride = 2, .padding = 3},
    {.n_batch = 2, .height = 7, .width = 11, .d_in = 2, .d_out = 3, .kernel = 4, .stride = 3, .padding = 2},
    {.n_batch = 1, .height = 2, .width = 3, .d_in = 4, .d_out = 2, .kernel = 3, .stride = 1, .padding = 2},
    {.n_batch = 1, .height = 8, .width = 9, .d_in = 8, .d_out = 2, .kernel = 2, .stride = 4},  // pixels that no patch has
    {.n_batch = 2, .height = 4, .width = 4, .d_in = 4, .d_out = 3, .kernel = 1, .padding = 1},
};

template <class T>
struct conv2d_run {
    tensor<T, 4> y, dx, dweight;
    tensor<T, 1> dbias;

    explicit conv2d_run(const ops::conv2d_shape& s)
        : y(test::random_tensor<T, 4>({s.n_batch, s.height_out(), s.width_out(), s.d_out}, 5)), dx(test::random_tensor<T, 4>({s.n_batch, s.height, s.width, s.d_in}, 6)),
          dweight(test::random_tensor<T, 4>({s.d_out, s.d_in, s.kernel, s.kernel}, 7)), dbias(test::random_tensor<T, 1>({s.d_out}, 8)) {}
};

template <class T>
struct conv2d_input {
    tensor<T, 4> x, weight, dy;
    tensor<T, 1> bias;

    explicit conv2d_input(const ops::conv2d_shape& s)
        : x(test::random_tensor<T, 4>({s.n_batch, s.height, s.width, s.d_in}, 1)), weight(test::random_tensor<T, 4>({s.d_out, s.d_in, s.kernel, s.kernel}, 2)),
          dy(test::random_tensor<T, 4>({s.n_batch, s.height_out(), s.width_out(), s.d_out}, 4)), bias(test::random_tensor<T, 1>({s.d_out}, 3)) {}
};

/// Scratch of exactly the promised size, so that AddressSanitizer sees who goes beyond; NaN, so that nobody relies on what is there.
template <class T>
tensor<T, 1> make_scratch(const ops::conv2d_shape& s) {
    tensor<T, 1> scratch({ops::conv2d_scratch(s)});
    for (T& e : scratch) e = std::numeric_limits<T>::quiet_NaN();
    return scratch;
}

template <class T>
void check_conv2d(const ops::conv2d_shape& s) {
    CAPTURE(s.kernel);
    CAPTURE(s.stride);
    CAPTURE(s.padding);
    CAPTURE(s.height);
    CAPTURE(s.d_in);
    conv2d_input<T> in(s);
    conv2d_run<T> e(s);
    ops::ref::conv2d_forward<T>(e.y.view(), in.x, in.weight, in.bias, s);
    ops::ref::conv2d_backward<T>(e.dx.view(), e.dweight.view(), e.dbias.view(), in.dy, in.x, in.weight, s);
    std::vector<conv2d_run<T>> runs;
    test::for_each_order([&](cuda_context& ctx, int) {
        auto scratch = make_scratch<T>(s);
        conv2d_run<T>& r = runs.emplace_back(s);
        ops::conv2d_forward<T>(ctx, r.y.view(), in.x, in.weight, in.bias, s, scratch.view());
        ops::conv2d_backward<T>(ctx, r.dx.view(), r.dweight.view(), r.dbias.view(), in.dy, in.x, in.weight, s, scratch.view());
    });
    CHECK(test::close<T>(runs[0].y.view(), e.y.view()));
    CHECK(test::close<T>(runs[0].dx.view(), e.dx.view()));
    CHECK(test::close<T>(runs[0].dweight.view(), e.dweight.view()));
    CHECK(test::close<T>(runs[0].dbias.view(), e.dbias.view()));
    CHECK(test::same_bits(runs[1].y.view(), runs[0].y.view()));
    CHECK(test::same_bits(runs[1].dx.view(), runs[0].dx.view()));
    CHECK(test::same_bits(runs[1].dweight.view(), runs[0].dweight.view()));
    CHECK(test::same_bits(runs[1].dbias.view(), runs[0].dbias.view()));
    // Without bias, without dx, without dbias.
    cuda_context ctx;
    auto scratch = make_scratch<T>(s);
    conv2d_run<T> bare(s);
    ops::conv2d_forward<T>(ctx, bare.y.view(), in.x, in.weight, {}, s, scratch.view());
    ops::ref::conv2d_forward<T>(e.y.view(), in.x, in.weight, {}, s);
    CHECK(test::close<T>(bare.y.view(), e.y.view()));
    ops::conv2d_backward<T>(ctx, {}, bare.dweight.view(), {}, in.dy, in.x, in.weight, s, scratch.view());
    CHECK(test::same_bits(bare.dweight.view(), runs[0].dweight.view()));
}

}  // namespace

TEST_CASE("conv2d on the emulated device agrees with the reference") {
    for (const auto& s : k_shapes) {
        check_conv2d<float>(s);
        check_conv2d<bf16>(s);
    }
}
TEST_CASE("conv2d on the emulated device adds up panels") {
    // An image's patches fill more than half of a chunk, so a panel has two images and a batch of three makes two panels.
    const ops::conv2d_shape s{.n_batch = 3, .height = 108, .width = 108, .d_in = 8, .d_out = 1, .kernel = 5, .stride = 1, .padding = 2};
    REQUIRE(s.chunk() == 1);
    check_conv2d<float>(s);
    check_conv2d<bf16>(s);
}
TEST_CASE("conv2d on the emulated device takes what is empty") {
    for (ops::conv2d_shape s : {ops::conv2d_shape{.n_batch = 0, .height = 5, .width = 4, .d_in = 3, .d_out = 2, .kernel = 3, .padding = 1},
                                {.n_batch = 0, .height = 5, .width = 4, .d_in = 8, .d_out = 2},
                                {.n_batch = 2, .height = 5, .width = 4, .d_in = 0, .d_out = 2, .kernel = 3, .padding = 1},
                                {.n_batch = 2, .height = 5, .width = 4, .d_in = 0, .d_out = 2},
                                {.n_batch = 2, .height = 5, .width = 4, .d_in = 3, .d_out = 0, .kernel = 3, .padding = 1},
                                {.n_batch = 2, .height = 5, .width = 4, .d_in = 3, .d_out = 0}}) {
        check_conv2d<float>(s);
    }
}
TEST_CASE("conv2d on the emulated device names what does not fit, before anything is written") {
    cuda_context ctx;
    const ops::conv2d_shape s{.n_batch = 2, .height = 6, .width = 5, .d_in = 3, .d_out = 4, .kernel = 3, .padding = 1};
    conv2d_input<float> in(s);
    conv2d_run<float> r(s);
    tensor<float, 1> scratch({ops::conv2d_scratch(s)}), none, three({3});
    const auto forward = [&](const ops::conv2d_shape& shape, tensor<float, 1>& bias, tensor<float, 1>& room) {
        return test::error_text<shape_error>([&] { ops::conv2d_forward<float>(ctx, r.y.view(), in.x, in.weight, bias, shape, room.view()); });
    };
    ops::conv2d_shape large = s, wide = s, narrow = s;
    large.kernel = 9;
    wide.width = 6;
    narrow.d_out = 3;
    CHECK(forward(large, none, scratch) == "conv2d_forward: a kernel of 9 with stride 1 and padding 1 does not fit an image of 6 × 5");
    CHECK(forward(s, none, none) == "conv2d_forward: scratch has 0 elements, needs " + std::to_string(ops::conv2d_scratch(s)));
    CHECK(forward(s, three, scratch) == "conv2d_forward: bias has shape [3], expected [4]");
    tensor<float, 1> more({2 * ops::conv2d_scratch(s)});
    CHECK(forward(wide, none, more) == "conv2d_forward: x has shape [2, 6, 5, 3], expected [2, 6, 6, 3]");
    CHECK(forward(narrow, none, more) == "conv2d_forward: y has shape [2, 6, 5, 4], expected [2, 6, 5, 3]");
    CHECK(test::error_text<shape_error>([&] { ops::conv2d_backward<float>(ctx, r.y.view(), r.dweight.view(), r.dbias.view(), in.dy, in.x, in.weight, s, scratch.view()); }) ==
          "conv2d_backward: dx has shape [2, 6, 5, 4], expected [2, 6, 5, 3]");
    CHECK(test::error_text<shape_error>([&] { ops::conv2d_backward<float>(ctx, r.dx.view(), r.dweight.view(), three.view(), in.dy, in.x, in.weight, s, scratch.view()); }) ==
          "conv2d_backward: dbias has shape [3], expected [4]");
    CHECK(test::same_bits(r.y.view(), conv2d_run<float>(s).y.view()));
    CHECK(test::same_bits(r.dx.view(), conv2d_run<float>(s).dx.view()));
}
