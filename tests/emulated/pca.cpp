// Principal components on the emulated device against the CPU's: both ways of finding them, parts of rows and columns, errors.

#include <limits>

#include "instar/cluster/cuda/pca.cuh"
#include "instar/cluster/pca.hpp"
#include "support/clustering_checks.hpp"
#include "support/emulated.hpp"

using namespace instar;

TEST_CASE("pca on the emulated device finds the CPU's components and projects alike") {
    cuda_context ctx;
    test::check_device_pca(ctx, test::stretched_clouds(300, 12, 1), {.n_components = 5});
    test::check_device_pca(ctx, test::stretched_clouds(300, 12, 2), {.n_components = 12, .whiten = true});
    test::check_device_pca(ctx, test::stretched_clouds(300, 12, 3), {.variance = 0.8});
    test::check_device_pca(ctx, test::stretched_clouds(9, 30, 4), {.n_components = 6});
    test::check_device_pca(ctx, test::stretched_clouds(9, 30, 5), {.variance = 0.7, .whiten = true});
    test::check_device_pca(ctx, test::stretched_clouds(2, 1, 6), {.n_components = 1});
    test::check_device_pca(ctx, test::stretched_clouds(7, 7, 7), {.n_components = 3});
}

TEST_CASE("pca on the emulated device takes x in parts of rows, or of columns") {
    cuda_context ctx;
    cpu_context cpu;
    for (const auto& [n, d] : {std::pair<index_t, index_t>{100, 6}, {8, 41}}) {
        const auto x = test::stretched_clouds(n, d, 8);
        const cluster::pca_options options{.n_components = 4};
        const auto expected = cluster::pca(cpu, x, options);
        for (const index_t bytes : {1, 700}) {  // a row or column, a few of them and an incomplete last part
            test::check_same_components(cluster::cuda::principal_components<float>(ctx, x.view(), options, bytes),
                                        expected);
            tensor<float, 2> y({n, 4});
            cluster::cuda::project_rows<float>(ctx, expected, y.view(), x.view(), bytes);
            CHECK(test::max_error(y.view(), expected.transform(cpu, x).view()) <= 1e-5);
        }
    }
}

TEST_CASE("pca on the emulated device keeps no variance that is not there") {
    cuda_context ctx;
    cpu_context cpu;
    tensor<float, 2> same({6, 3});
    for (float& v : same) v = 0.3f;
    const auto model = cluster::pca(ctx, same, {.n_components = 3, .whiten = true});
    for (const double v : model.explained_variance) CHECK(v == 0.0);
    for (const float v : model.transform(ctx, same)) CHECK(v == 0.0f);
    CHECK(model.transform(ctx, tensor<float, 2>({0, 3})).extent(0) == 0);
}

TEST_CASE("pca on the emulated device gives the same bits in every thread order") {
    const auto x = test::stretched_clouds(90, 7, 9);
    std::vector<tensor<float, 2>> components, rows;
    test::for_each_order([&](cuda_context& ctx, int) {
        const auto model = cluster::pca(ctx, x, {.n_components = 7});
        components.push_back(model.components.clone());
        rows.push_back(model.transform(ctx, x));
    });
    CHECK(test::same_bits(components[0].view(), components[1].view()));
    CHECK(test::same_bits(rows[0].view(), rows[1].view()));
}

TEST_CASE("pca on the emulated device refuses in the CPU's words, and keeps no memory when it fails") {
    cuda_context ctx;
    cpu_context cpu;
    auto x = test::stretched_clouds(5, 3, 10);
    const auto both = [&](tensor_view<const float, 2> rows, const cluster::pca_options& o) {
        const std::string on_device = test::error_text([&] { (void)cluster::pca(ctx, rows, o); });
        CHECK(on_device == test::error_text([&] { (void)cluster::pca(cpu, rows, o); }));
        CHECK(on_device != "");
        CHECK(ctx.n_temporaries() == 0);
    };
    both(x, {.n_components = 4});
    both(x, {.variance = 1.5});
    both(x.view().rows(0, 1), {.n_components = 1});
    both(tensor_view<const float, 2>(x.data(), {5000, 5000}), {.n_components = 1});  // refused unseen
    x(3, 1) = std::numeric_limits<float>::quiet_NaN();
    both(x, {.n_components = 1});
    const auto model = cluster::pca(cpu, test::stretched_clouds(5, 3, 11), {.n_components = 2});
    const tensor<float, 2> wide({4, 4});
    CHECK(test::error_text<shape_error>([&] { (void)model.transform(ctx, wide); }) ==
          "pca.transform: x has shape [4, 4], expected [n, 3]");
    tensor<float, 2> y({4, 3});
    CHECK(test::error_text<shape_error>([&] {
              model.transform(ctx, y, tensor<float, 2>({4, 3}));
          }) == "pca.transform: y has shape [4, 3], expected [4, 2]");
    for (const int fail : {1, 2, 4, 6}) {
        cuda_context failing(0, {.fail_launch = fail});
        CHECK(test::error_text<device_error>([&] {
                  (void)cluster::pca(failing, test::stretched_clouds(3, 5, 12), {.n_components = 2});
              }).find("pca: ") == 0);
        CHECK(failing.n_temporaries() == 0);
    }
}
