#ifndef INSTAR_BENCHMARKS_DATA_HPP
#define INSTAR_BENCHMARKS_DATA_HPP

// Random inputs and the check that comes before the clock, for benchmarks of operators that stream memory.
//
//     auto x = bench::random_tensor<2>({n_rows, d}, 1);
//     if (!bench::close(y.view(), expected.view())) { state.SkipWithError("wrong result"); return; }

#include <cmath>

#include "instar/core/philox.hpp"
#include "instar/core/tensor.hpp"

namespace instar::bench {

/// Uniform in [low, high).
template <int Rank>
tensor<float, Rank> random_tensor(const index_t (&extents)[Rank], std::uint64_t seed, float low = -1.0f, float high = 1.0f) {
    tensor<float, Rank> x(extents);
    const philox rng{.seed = seed};
    for (index_t i = 0; i < x.size(); ++i) x.data()[i] = low + (high - low) * rng.uniform(static_cast<std::uint64_t>(i));
    return x;
}

/// Largest normalised mean square error of a model whose products round their inputs to bf16.
inline constexpr double k_bf16_error = 1e-4;
/// The same of a model whose parameters and activations are bf16.
inline constexpr double k_bf16_storage_error = 1e-3;

inline double as_double(double x) { return x; }
inline double as_double(bf16 x) { return static_cast<double>(static_cast<float>(x)); }

/// Normalised mean square error at most `allowed`; both contiguous.
template <class T, class U, int Rank>
bool close(const tensor_view<T, Rank>& actual, const tensor_view<U, Rank>& expected, double allowed = 1e-10) {
    double error = 0.0, energy = 0.0;
    for (index_t i = 0; i < expected.size(); ++i) {
        const double e = static_cast<double>(expected.data()[i]), d = as_double(actual.data()[i]) - e;
        error += d * d;
        energy += e * e;
    }
    return actual.size() == expected.size() && error <= allowed * energy;
}

}  // namespace instar::bench

#endif
