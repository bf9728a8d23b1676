#ifndef INSTAR_TESTS_SUPPORT_EMULATED_HPP
#define INSTAR_TESTS_SUPPORT_EMULATED_HPP

// What the tests of CUDA operators share: contexts to run on, and the tolerances of the design.
//
//     test::for_each_order([&](cuda_context& ctx) { … });        // fixed order, then shuffled ones: the bits must agree
//     CHECK(test::nmse(y.view(), e.view()) <= test::k_nmse<T>);

#include <cstdint>
#include <type_traits>

#include "instar/cuda/cuda_context.hpp"
#include "support/compare.hpp"

namespace instar::test {

template <class T>
inline constexpr double k_nmse = std::is_same_v<T, bf16> ? 1e-4 : 1e-10;
/// No element off by more than this share of the largest.
template <class T>
inline constexpr double k_max_error = std::is_same_v<T, bf16> ? 1e-2 : 1e-4;

template <class T, class A, class E, int Rank>
bool close(const tensor_view<A, Rank>& actual, const tensor_view<E, Rank>& expected) {
    return nmse(actual, expected) <= k_nmse<T> && max_error(actual, expected) <= k_max_error<T>;
}

/// x from element `offset` on. From 1 on it is not aligned to sixteen bytes: the kernels' scalar path.
template <class T>
tensor_view<T, 1> tail(tensor<T, 1>& x, index_t offset) {
    return tensor_view<T, 1>(x.data() + offset, {x.extent(0) - offset});
}

#if defined(INSTAR_CUDA_EMULATED)
/// Calls f(ctx, run) in the fixed order (run 0) and in shuffled ones.
template <class F>
void for_each_order(F&& f, int n_shuffled = 1) {
    for (int run = 0; run <= n_shuffled; ++run) {
        cuda_context ctx(0, {.order = run == 0 ? cuda::emulator::thread_order::fixed : cuda::emulator::thread_order::shuffled,
                             .seed = static_cast<std::uint64_t>(run)});
        f(ctx, run);
    }
}
#endif

}  // namespace instar::test

#endif
