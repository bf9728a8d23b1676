// UMAP's descent on the emulated device: a few epochs agree with the CPU's, whole layouts keep neighbourhoods, new rows land among their own;
// the same bits in every thread order; errors.

#include <limits>

#include "instar/cluster/umap.hpp"
#include "support/clustering_checks.hpp"
#include "support/emulated.hpp"

using namespace instar;

namespace {

/// Rings of neighbours and some chords, with weights of their own: symmetric, rows sorted by column.
cluster::detail::umap_graph some_graph(index_t n) {
    cluster::detail::umap_graph graph;
    graph.start.push_back(0);
    for (index_t i = 0; i < n; ++i) {
        for (index_t j = 0; j < n; ++j) {
            const index_t by = std::min((i - j + n) % n, (j - i + n) % n);
            if (by == 0 || (by > 3 && by != 11)) continue;
            graph.column.push_back(static_cast<std::int32_t>(j));
            graph.weight.push_back(1.0f / static_cast<float>(1 + by + (std::min(i, j) * 7 + std::max(i, j)) % 5));
        }
        graph.start.push_back(static_cast<index_t>(graph.column.size()));
    }
    return graph;
}

/// Both devices from the same positions. n_fixed > 0: towards that many fixed tails.
void check_descent(index_t n, index_t m, index_t n_epochs, index_t n_fixed = 0) {
    CAPTURE(n);
    CAPTURE(m);
    CAPTURE(n_fixed);
    cpu_context cpu;
    cuda_context ctx;
    auto graph = some_graph(n);
    if (n_fixed > 0) {
        for (auto& column : graph.column) column = static_cast<std::int32_t>(column % n_fixed);
    }
    const auto start = test::random_tensor<float, 2>({n, m}, 1, -5.0, 5.0);
    const auto fixed = test::random_tensor<float, 2>({std::max<index_t>(n_fixed, 1), m}, 2, -5.0, 5.0);
    auto a = start.clone(), b = start.clone();
    index_t last = 0;
    const cluster::detail::umap_layout_options o{
        .n_epochs = n_epochs, .both_ends = n_fixed == 0, .progress = [&](index_t epoch, index_t all) {
            CHECK(all == n_epochs);
            CHECK(epoch == last + 1);
            last = epoch;
        }};
    cluster::detail::umap_device_layout<float>(ctx, {graph.start, graph.column, graph.weight}, o, a,
                                               n_fixed > 0 ? fixed : a, 7);
    CHECK(last == n_epochs);
    CHECK(ctx.n_temporaries() == 0);
    last = 0;
    cluster::detail::umap_layout(graph, o).run(cpu, b, n_fixed > 0 ? fixed : b, 7);
    CHECK(test::max_error(a.view(), b.view()) <= 1e-4);
    CHECK((test::max_error(a.view(), start.view()) > 1e-2) == !graph.column.empty());  // it has moved
}

}  // namespace

TEST_CASE("umap's descent on the emulated device makes the CPU's moves") {
    for (const index_t m : {1, 2, 7, 8, 9, 33, 50}) check_descent(70, m, 5);
    for (const index_t n : {1, 2, 31, 32, 33}) check_descent(n, 3, 4);
    check_descent(67, 2, 4, 20);
    check_descent(67, 20, 4, 20);
}

TEST_CASE("umap's descent on the emulated device gives the same bits in every thread order") {
    const auto graph = some_graph(80);
    for (const index_t m : {2, 12}) {
        std::vector<tensor<float, 2>> found;
        test::for_each_order([&](cuda_context& ctx, int) {
            auto y = test::random_tensor<float, 2>({80, m}, 3, -5.0, 5.0);
            cluster::detail::umap_device_layout<float>(ctx, {graph.start, graph.column, graph.weight}, {.n_epochs = 6},
                                                       y, y, 5);
            found.push_back(std::move(y));
        });
        CHECK(test::same_bits(found[0].view(), found[1].view()));
    }
}

TEST_CASE("umap on the emulated device keeps clouds apart, and new rows land among their own") {
    cuda_context ctx;
    cpu_context cpu;
    const auto x = test::clouds(160, 6, 4, 0.2f, 4), more = test::clouds(40, 6, 4, 0.1f, 4);
    const test::device_rows rows(ctx, x, 9), new_rows(ctx, more);
    const auto model = cluster::umap(ctx, cpu, rows.view(), {.n_neighbors = 8, .n_epochs = 60, .seed = 3});
    CHECK(test::same_bits(model.data.view(), x.view()));
    const auto on_cpu = cluster::umap(cpu, x, {.n_neighbors = 8, .n_epochs = 60, .seed = 3});
    CHECK(model.n_edges == on_cpu.n_edges);
    CHECK(model.n_parts == on_cpu.n_parts);
    const auto right = [&](tensor_view<const float, 2> y, bool own) {
        const auto nn = cluster::knn(cpu, y, model.embedding.view(), {.k = 5});
        index_t n_right = 0;
        for (index_t i = 0; i < y.extent(0); ++i) {
            for (index_t j = own ? 1 : 0; j < 5; ++j) n_right += nn.index(i, j) % 4 == i % 4;
        }
        return static_cast<double>(n_right) / static_cast<double>(y.extent(0) * (own ? 4 : 5));
    };
    CHECK(right(model.embedding, true) > 0.97);
    const auto y = model.transform(ctx, cpu, new_rows.view());
    CHECK(right(y, false) > 0.97);
    CHECK(model.transform(ctx, cpu, tensor<float, 2>({0, 6})).extent(0) == 0);
}

TEST_CASE("umap on the emulated device: one epoch is the CPU's to rounding, from the CPU's start") {
    cuda_context ctx;
    cpu_context cpu;
    const auto x = test::clouds(120, 5, 6, 0.4f, 5);
    for (const index_t m : {2, 10}) {
        const cluster::umap_options o{.n_components = m, .n_neighbors = 7, .n_epochs = 1, .seed = 2};
        const auto found = cluster::umap(ctx, cpu, x, o), expected = cluster::umap(cpu, x, o);
        CHECK(test::max_error(found.embedding.view(), expected.embedding.view()) <= 1e-4);
    }
}

TEST_CASE("umap on the emulated device takes neighbours by descent where it is told to, and then its own seed's") {
    cuda_context ctx;
    cpu_context cpu;
    const auto x = test::clouds(150, 5, 6, 0.4f, 5);
    const cluster::umap_options o{
        .n_components = 2, .n_neighbors = 7, .neighbors = cluster::umap_neighbors::descent, .n_epochs = 1, .seed = 2};
    const auto found = cluster::umap(ctx, cpu, x, o),
               by_hand = cluster::umap(cpu, x, cluster::nn_descent(ctx, x, {.k = 7, .seed = 2}), o);
    CHECK(found.n_edges == by_hand.n_edges);
    CHECK(test::max_error(found.embedding.view(), by_hand.embedding.view()) <= 1e-4);
}

TEST_CASE("umap on the emulated device refuses in the CPU's words") {
    cuda_context ctx;
    cpu_context cpu;
    auto x = test::clouds(20, 3, 4, 0.3f, 6);
    const auto both = [&](tensor_view<const float, 2> rows, const cluster::umap_options& o) {
        const std::string on_device = test::error_text([&] { (void)cluster::umap(ctx, cpu, rows, o); });
        CHECK(on_device == test::error_text([&] { (void)cluster::umap(cpu, rows, o); }));
        CHECK(on_device != "");
        CHECK(ctx.n_temporaries() == 0);
    };
    both(x, {.n_neighbors = 21});
    both(x, {.n_components = 0});
    both(x, {.n_neighbors = 5, .learning_rate = 0.0f});
    const auto model = cluster::umap(cpu, x, {.n_neighbors = 5, .n_epochs = 5});
    const tensor<float, 2> wide({4, 4});
    CHECK(test::error_text<shape_error>([&] { (void)model.transform(ctx, cpu, wide); }) ==
          "umap.transform: x has shape [4, 4], expected [n, 3]");
    x(3, 1) = std::numeric_limits<float>::quiet_NaN();
    both(x, {.n_neighbors = 5});
}
