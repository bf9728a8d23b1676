// The clusterers of cuda_context on a real GPU, against the CPU's.

#include "support/clustering_checks.hpp"

using namespace instar;

TEST_CASE("gpu knn equals the CPU's") {
    cuda_context ctx;
    test::check_device_knn(ctx, 1, 1, 1, 1);
    test::check_device_knn(ctx, 130, 129, 33, 7);
    test::check_device_knn(ctx, 3000, 20'000, 100, 15);
    test::check_device_knn(ctx, 100, 5000, 768, 300);
}
