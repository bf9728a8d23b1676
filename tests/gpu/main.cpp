// The main function of the GPU tests: exits with 77, which ctest shows as skipped, when there is no GPU to run them on.

#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>

#include "instar/cuda/cuda_context.hpp"

int main(int argc, char** argv) {
    try {
        const instar::cuda_context ctx;
        std::printf("device: %s, compute capability %d.%d\n", ctx.properties().name.c_str(), ctx.properties().compute_major,
                    ctx.properties().compute_minor);
    } catch (const instar::device_error& e) {
        std::printf("skipped: %s\n", e.what());
        return 77;
    }
    return doctest::Context(argc, argv).run();
}
