// The clusterers of cuda_context on a real GPU, against the CPU's. INSTAR_GPU_SMALL=1: at a tenth of the points, for compute-sanitizer.

#include <cstdlib>

#include "instar/cluster/umap.hpp"
#include "support/clustering_checks.hpp"

using namespace instar;

namespace {

index_t sized(index_t n) { return std::getenv("INSTAR_GPU_SMALL") == nullptr ? n : n / 10; }

}  // namespace

TEST_CASE("gpu knn equals the CPU's") {
    cuda_context ctx;
    test::check_device_knn(ctx, 1, 1, 1, 1);
    test::check_device_knn(ctx, 130, 129, 33, 7);
    test::check_device_knn(ctx, sized(3000), sized(20'000), 100, 15);
    test::check_device_knn(ctx, 100, sized(5000), 768, 300);
}

TEST_CASE("gpu nn_descent finds the CPU's neighbours, and gives the same bits on every run") {
    cuda_context ctx;
    using metric = cluster::knn_metric;
    for (const auto m : {metric::euclidean, metric::cosine})
        test::check_device_nn_descent(ctx, test::clouds(sized(20'000), 40, 200, 0.3f, 18), {.k = 15, .metric = m},
                                      0.005, 0.95);
    test::check_device_nn_descent(ctx, test::clouds(sized(5000), 300, 50, 0.3f, 19), {.k = 100, .max_candidates = 90},
                                  0.005, 0.98);
    const test::device_rows x(ctx, test::clouds(sized(100'000), 64, 1000, 0.3f, 20));
    const auto a = cluster::nn_descent(ctx, x.view(), {.k = 15}), b = cluster::nn_descent(ctx, x.view(), {.k = 15});
    CHECK(test::same_bits(a.index.view(), b.index.view()));
    CHECK(test::same_bits(a.distance.view(), b.distance.view()));
}

TEST_CASE("gpu kmeans equals the CPU's") {
    cuda_context ctx;
    for (const std::uint64_t seed : {1u, 2u, 3u})
        test::check_device_kmeans(ctx, test::clouds(128, 9, 7, 0.6f, seed), {.n_clusters = 7, .seed = seed});
    test::check_device_kmeans_from_rows(ctx, test::clouds(sized(20'000), 50, 300, 0.1f, 4), 300);
}
TEST_CASE("gpu kmeans_transform gives the CPU's distances") {
    cuda_context ctx;
    test::check_device_kmeans_transform(ctx, test::clouds(sized(5000), 77, 30, 0.3f, 15), 300);
}
TEST_CASE("gpu mini_batch_kmeans equals the CPU's, and gives the same bits on every run") {
    cuda_context ctx;
    test::check_device_mini_batch(ctx, test::clouds(sized(20'000), 50, 40, 0.05f, 16),
                                  {.n_clusters = 40, .max_iter = 2, .batch_size = 1000, .init_size = 128});
    const test::device_rows x(ctx, test::clouds(sized(300'000), 64, 500, 0.2f, 17));
    const auto a = cluster::mini_batch_kmeans(ctx, x.view(), {.n_clusters = 500, .max_iter = 1}),
               b = cluster::mini_batch_kmeans(ctx, x.view(), {.n_clusters = 500, .max_iter = 1});
    CHECK(test::same_bits(a.labels.view(), b.labels.view()));
    CHECK(test::same_bits(a.centers.view(), b.centers.view()));
}
TEST_CASE("gpu kmeans gives the same bits on every run, and more clusters less inertia") {
    cuda_context ctx;
    const test::device_rows x(ctx, test::clouds(sized(100'000), 128, 1000, 0.2f, 5));
    const auto a = cluster::kmeans(ctx, x.view(), {.n_clusters = 1000, .max_iter = 10}),
               b = cluster::kmeans(ctx, x.view(), {.n_clusters = 1000, .max_iter = 10}),
               fewer = cluster::kmeans(ctx, x.view(), {.n_clusters = 900, .max_iter = 10});
    CHECK(test::same_bits(a.labels.view(), b.labels.view()));
    CHECK(test::same_bits(a.centers.view(), b.centers.view()));
    CHECK(a.inertia < fewer.inertia);
}
TEST_CASE("gpu agglomerative equals the CPU's") {
    cuda_context ctx;
    using namespace cluster;
    test::check_device_agglomerative(ctx, test::clouds(sized(10'000), 50, 200, 0.2f, 6), {});
    test::check_device_agglomerative(ctx, test::clouds(sized(3000), 20, 40, 0.3f, 7),
                                     {.linkage = linkage::average, .metric = linkage_metric::cosine});
}
TEST_CASE("gpu agglomerative over distances equals the CPU's") {
    cuda_context ctx;
    using namespace cluster;
    for (const auto l : {linkage::single, linkage::complete, linkage::average, linkage::weighted, linkage::centroid,
                         linkage::median}) {
        test::check_device_agglomerative(ctx, test::clouds(3000, 50, 60, 0.2f, 11), {.linkage = l});
    }
    test::check_device_agglomerative(ctx, test::clouds(10'000, 20, 60, 0.2f, 12), {.linkage = linkage::single});
    test::check_device_agglomerative(ctx, test::clouds(2000, 20, 60, 0.2f, 13),
                                     {.linkage = linkage::complete, .metric = linkage_metric::cosine});
}
TEST_CASE("gpu silhouettes are the CPU's") {
    cuda_context ctx;
    test::check_device_silhouette(ctx, test::clouds(sized(5000), 50, 30, 0.3f, 8), 30);
}
TEST_CASE("gpu principal components are the CPU's") {
    cuda_context ctx;
    test::check_device_pca(ctx, test::stretched_clouds(20'000, 96, 9), {.n_components = 20});
    test::check_device_pca(ctx, test::stretched_clouds(100, 700, 10), {.n_components = 10, .whiten = true});
}
TEST_CASE("gpu umap: the first epoch is the CPU's, whole layouts have the same bits each time") {
    cuda_context ctx;
    cpu_context cpu;
    const auto x = test::clouds(5000, 30, 40, 0.3f, 14);
    const test::device_rows rows(ctx, x);
    for (const index_t m : {2, 20}) {
        const cluster::umap_options one{.n_components = m, .n_epochs = 1, .seed = 4}, all{.n_components = m, .seed = 4};
        const auto found = cluster::umap(ctx, cpu, rows.view(), one), expected = cluster::umap(cpu, x, one);
        CHECK(test::max_error(found.embedding.view(), expected.embedding.view()) <= 1e-3);
        const auto a = cluster::umap(ctx, cpu, rows.view(), all), b = cluster::umap(ctx, cpu, rows.view(), all);
        CHECK(test::same_bits(a.embedding.view(), b.embedding.view()));
        const auto y = a.transform(ctx, cpu, rows.view().rows(0, 100));
        CHECK(test::max_error(y.view(), a.embedding.view().rows(0, 100)) < 0.2);
    }
}
