// Batch normalisation on the emulated device against the reference: statistics, running statistics, ReLU, gradients; large means, rows that
// lie apart, in place, the same bits in every thread order, bad shapes.

#include <cmath>

#include <doctest/doctest.h>

#include "instar/ops/ref/batch_norm.hpp"
#include "support/emulated.hpp"

using namespace instar;

namespace {

template <class T>
struct batch_norm_run {
    tensor<T, 2> y, evaluated, dx;
    tensor<T, 1> dweight, dbias;
    tensor<float, 1> mean, rstd, running_mean, running_variance;

    batch_norm_run(index_t n, index_t d)
        : y(test::random_tensor<T, 2>({n, d}, 11)), evaluated(test::random_tensor<T, 2>({n, d}, 12)), dx(test::random_tensor<T, 2>({n, d}, 13)),
          dweight(test::random_tensor<T, 1>({d}, 14)), dbias(test::random_tensor<T, 1>({d}, 15)), mean({d}), rstd({d}),
          running_mean(test::random_tensor<float, 1>({d}, 16)), running_variance(test::random_tensor<float, 1>({d}, 17, 0.5, 2.0)) {}

    ops::batch_norm_saved<T> saved() { return {mean, rstd}; }
    ops::batch_norm_running<T> running() { return {running_mean, running_variance}; }
};

template <class T>
void check_batch_norm(index_t n, index_t d, bool relu, double offset = 0.0) {
    CAPTURE(n);
    CAPTURE(d);
    CAPTURE(relu);
    const auto x = test::random_tensor<T, 2>({n, d}, 1, offset - 2.0, offset + 1.0), dy = test::random_tensor<T, 2>({n, d}, 2);
    const auto w = test::random_tensor<T, 1>({d}, 3), b = test::random_tensor<T, 1>({d}, 4);
    const ops::batch_norm_options o{.eps = 1e-3, .momentum = 0.3, .relu = relu};
    batch_norm_run<T> e(n, d);
    ops::ref::batch_norm_forward<T>(e.y.view(), e.saved(), e.running(), x, w, b, o);
    ops::ref::batch_norm_inference<T>(e.evaluated.view(), e.running(), x, w, b, o);
    std::vector<batch_norm_run<T>> runs;
    test::for_each_order([&](cuda_context& ctx, int) {
        batch_norm_run<T>& r = runs.emplace_back(n, d);
        ops::batch_norm_forward<T>(ctx, r.y.view(), r.saved(), r.running(), x, w, b, o);
        ops::batch_norm_inference<T>(ctx, r.evaluated.view(), r.running(), x, w, b, o);
        ops::batch_norm_backward<T>(ctx, r.dx.view(), r.dweight.view(), r.dbias.view(), dy, r.saved(), r.y, x, w, o);
    });
    batch_norm_run<T>& r = runs[0];
    CHECK(test::close<T>(r.y.view(), e.y.view()));
    CHECK(test::close<T>(r.evaluated.view(), e.evaluated.view()));
    CHECK(test::close<float>(r.mean.view(), e.mean.view()));
    CHECK(test::close<float>(r.rstd.view(), e.rstd.view()));
    CHECK(test::close<float>(r.running_mean.view(), e.running_mean.view()));
    CHECK(test::close<float>(r.running_variance.view(), e.running_variance.view()));
    // The backward from the same point: a value on the edge of the ReLU may have fallen to the other side.
    ops::ref::batch_norm_backward<T>(e.dx.view(), e.dweight.view(), e.dbias.view(), dy, r.saved(), r.y, x, w, o);
    CHECK(test::close<T>(r.dx.view(), e.dx.view()));
    CHECK(test::close<T>(r.dweight.view(), e.dweight.view()));
    CHECK(test::close<T>(r.dbias.view(), e.dbias.view()));
    CHECK(test::same_bits(runs[1].y.view(), r.y.view()));
    CHECK(test::same_bits(runs[1].dx.view(), r.dx.view()));
    CHECK(test::same_bits(runs[1].dweight.view(), r.dweight.view()));
    CHECK(test::same_bits(runs[1].running_variance.view(), r.running_variance.view()));
    // In place: y over x, dx over dy.
    cuda_context ctx;
    auto over_x = x.clone(), over_dy = dy.clone();
    batch_norm_run<T> s(n, d);
    ops::batch_norm_forward<T>(ctx, over_x.view(), s.saved(), s.running(), over_x, w, b, o);
    CHECK(test::same_bits(over_x.view(), r.y.view()));
    ops::batch_norm_backward<T>(ctx, over_dy.view(), s.dweight.view(), s.dbias.view(), over_dy, s.saved(), r.y, x, w, o);
    CHECK(test::same_bits(over_dy.view(), r.dx.view()));
}

}  // namespace

TEST_CASE("batch_norm on the emulated device agrees with the reference") {
    for (const bool relu : {false, true}) {
        check_batch_norm<float>(3, 1, relu);
        check_batch_norm<float>(9, 3, relu);
        check_batch_norm<float>(700, 19, relu);
        check_batch_norm<float>(130, 64, relu);
        check_batch_norm<float>(33, 260, relu);
        check_batch_norm<bf16>(130, 64, relu);
        check_batch_norm<bf16>(41, 13, relu);
    }
    check_batch_norm<float>(40'000, 2, false);  // several ranges of rows, and threads with several tiles of eight
    check_batch_norm<float>(257, 12, false, 100.0);  // a difference of squares would lose its digits here
}
TEST_CASE("batch_norm on the emulated device takes two rows, which leave no gradient") {
    cuda_context ctx;
    const auto x = test::random_tensor<float, 2>({2, 5}, 1), dy = test::random_tensor<float, 2>({2, 5}, 2);
    const auto w = test::random_tensor<float, 1>({5}, 3), b = test::random_tensor<float, 1>({5}, 4);
    batch_norm_run<float> r(2, 5), e(2, 5);
    const ops::batch_norm_options o{.eps = 0.0};
    ops::batch_norm_forward<float>(ctx, r.y.view(), r.saved(), r.running(), x, w, b, o);
    ops::ref::batch_norm_forward<float>(e.y.view(), e.saved(), e.running(), x, w, b, o);
    CHECK(test::close<float>(r.y.view(), e.y.view()));
    CHECK(test::close<float>(r.running_variance.view(), e.running_variance.view()));
    ops::batch_norm_backward<float>(ctx, r.dx.view(), r.dweight.view(), r.dbias.view(), dy, r.saved(), r.y, x, w, o);
    for (index_t i = 0; i < r.dx.size(); ++i) CHECK(std::fabs(r.dx.data()[i]) <= 1e-5f * r.rstd(i % 5));
}
TEST_CASE("batch_norm on the emulated device reads and writes rows that lie apart") {
    const index_t n = 21, d = 12;
    cuda_context ctx;
    test::strided_rows<float> x({n, d}, 16, 1), y({n, d}, 20, 2), dy({n, d}, 13, 3), dx({n, d}, 24, 4);
    tensor<float, 2> e({n, d}), edx({n, d});
    const auto w = test::random_tensor<float, 1>({d}, 5), b = test::random_tensor<float, 1>({d}, 6);
    batch_norm_run<float> r(n, d), s(n, d);
    ops::batch_norm_forward<float>(ctx, y.view, r.saved(), r.running(), x.view, w, b, {.relu = true});
    ops::ref::batch_norm_forward<float>(e.view(), s.saved(), s.running(), x.view, w, b, {.relu = true});
    CHECK(test::close<float>(y.view, e.view()));
    ops::batch_norm_backward<float>(ctx, dx.view, r.dweight.view(), r.dbias.view(), dy.view, r.saved(), y.view, x.view, w, {.relu = true});
    ops::ref::batch_norm_backward<float>(edx.view(), s.dweight.view(), s.dbias.view(), dy.view, r.saved(), y.view, x.view, w, {.relu = true});
    CHECK(test::close<float>(dx.view, edx.view()));
    CHECK(y.gaps_intact());
    CHECK(dx.gaps_intact());
}
TEST_CASE("batch_norm on the emulated device takes no rows where it can, and names what does not fit") {
    cuda_context ctx;
    batch_norm_run<float> r(0, 4), one(1, 4);
    tensor<float, 1> w({4}), three({3});
    ops::batch_norm_inference<float>(ctx, r.y.view(), r.running(), r.dx, w, w, {});
    ops::batch_norm_backward<float>(ctx, r.dx.view(), r.dweight.view(), r.dbias.view(), r.y, r.saved(), r.y, r.y, w, {});
    CHECK(test::same_bits(r.dweight.view(), batch_norm_run<float>(0, 4).dweight.view()));
    const auto forward = [&](batch_norm_run<float>& run, tensor<float, 1>& weight, ops::batch_norm_saved<float> saved) {
        return test::error_text([&] { ops::batch_norm_forward<float>(ctx, run.y.view(), saved, run.running(), run.dx, weight, w, {}); });
    };
    CHECK(forward(one, w, one.saved()) == "batch_norm_forward: statistics need two rows at least, x has 1");
    CHECK(forward(r, w, r.saved()) == "batch_norm_forward: statistics need two rows at least, x has 0");
    CHECK(forward(one, three, one.saved()) == "batch_norm_forward: weight has shape [3], expected [4]");
    CHECK(forward(one, w, {one.mean, three}) == "batch_norm_forward: saved.rstd has shape [3], expected [4]");
    CHECK(test::error_text<shape_error>([&] { ops::batch_norm_backward<float>(ctx, one.dx.view(), three.view(), one.dbias.view(), one.y, one.saved(), one.y, one.y, w, {}); }) ==
          "batch_norm_backward: dweight has shape [3], expected [4]");
}
