// Recall and time of nn_descent beside exact search. See nn_descent_recall.py.
//
//     nn_descent_recall X.npy K
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "instar/cluster/nn_descent.hpp"
#include "instar/io/npy.hpp"

int main(int argc, char** argv) {
    using namespace instar;
    using clock = std::chrono::steady_clock;
    if (argc != 3) {
        std::fprintf(stderr, "usage: nn_descent_recall X.npy K\n");
        return 2;
    }
    try {
        cpu_context ctx;
        const auto array = io::read_npy<float>(argv[1]);
        const index_t n = array.shape.at(0), k = std::atoi(argv[2]);
        const tensor_view<const float, 2> x(array.values.data(), {n, array.shape.at(1)});
        auto start = clock::now();
        const auto exact = cluster::knn(ctx, x, x, {.k = k});
        const double exact_seconds = std::chrono::duration<double>(clock::now() - start).count();
        start = clock::now();
        const auto found = cluster::nn_descent(ctx, x, {.k = k});
        const double descent_seconds = std::chrono::duration<double>(clock::now() - start).count();
        index_t hits = 0;
        for (index_t i = 0; i < n; ++i) {
            for (index_t a = 0; a < k; ++a) {
                for (index_t b = 0; b < k; ++b) hits += exact.index(i, a) == found.index(i, b);
            }
        }
        std::printf("%s n %ld d %ld k %ld: exact %.2f s, descent %.2f s, recall %.4f\n", argv[1], static_cast<long>(n), static_cast<long>(x.extent(1)), static_cast<long>(k), exact_seconds, descent_seconds,
                    static_cast<double>(hits) / static_cast<double>(n * k));
    } catch (const std::exception& e) {
        std::fprintf(stderr, "nn_descent_recall: %s\n", e.what());
        return 1;
    }
}
