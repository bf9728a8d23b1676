#ifndef INSTAR_EXAMPLES_KERNELS_CUDA_LADDER_HPP
#define INSTAR_EXAMPLES_KERNELS_CUDA_LADDER_HPP

// A ladder on a GPU: the same work by better and better kernels, each checked, then timed by events and shown with its share of what the
// device was measured to reach. On the emulated device (INSTAR_CUDA_EMULATED) each rung is checked and nothing is timed.
//
//     ladder steps(ctx, "c = a · b, 4096 × 4096, bf16", {.flop = 1.4e11}, [&] { c.forget(); });
//     steps.rung("1 one thread an element", [&] { launch(…); }, error, 4.2e-3);     // wrong when error() is not below 4.2e-3
//     return steps.finish();                                                        // prints the table; 1 when a rung was wrong

#include <algorithm>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "instar/core/philox.hpp"
#include "instar/core/tensor.hpp"
#include "instar/cuda/cuda_context.hpp"

namespace kernels {

using instar::index_t;

#if defined(INSTAR_CUDA_EMULATED)
inline constexpr bool k_emulated = true;
#else
inline constexpr bool k_emulated = false;
#endif

int run_gemm(instar::cuda_context& ctx, index_t n);
int run_layer_norm(instar::cuda_context& ctx, index_t n_rows);
int run_attention(instar::cuda_context& ctx, index_t seq_len);

/// How long a rung runs at least; main's --seconds. Whether it is timed at all: not with --check, and never in the emulator.
inline double least_seconds = 0.5;
inline bool timed = !k_emulated;

/// What one run of the work takes: operations, or bytes that must move at least.
struct work {
    double flop = 0.0;
    double bytes = 0.0;
};

class ladder {
public:
    /// `forget` overwrites the results, before each rung: none passes by what the one before has left.
    ladder(instar::cuda_context& ctx, std::string title, work w, std::function<void()> forget);
    void rung(const std::string& name, const std::function<void()>& run, const std::function<double()>& error, double tolerance);
    int finish() const;

private:
    double seconds_of(int launches, const std::function<void()>& run);
    double median_seconds(const std::function<void()>& run);
    double product_rate();
    double copy_rate();

    instar::cuda_context& ctx_;
    std::string title_;
    work work_;
    std::function<void()> forget_;
    double limit_ = 0.0, first_ = 0.0;
    bool all_right_ = true;
    std::vector<std::vector<std::string>> rows_;
};

/// An array on the host and on the device.
template <class T>
class both {
public:
    instar::tensor<T, 1> host;
    instar::tensor<T, 1, instar::device_memory> device;

    both(instar::cuda_context& ctx, index_t n) : host({n}), device({n}), ctx_(ctx) {}
    /// Normal numbers. Drawing all of a large array takes longer than what is shown here; the period is odd, so that no two rows are alike.
    both(instar::cuda_context& ctx, index_t n, std::uint64_t seed) : both(ctx, n) {
        const instar::philox rng{seed, 0};
        const index_t period = std::min(n, (index_t{1} << 22) - 1);
        for (index_t i = 0; i < period; ++i) host(i) = T(rng.normal(static_cast<std::uint64_t>(i)));
        for (index_t i = period; i < n; ++i) host(i) = host(i - period);
        upload();
    }
    T* data() { return device.data(); }
    void upload() { ctx_.upload(device.view(), std::as_const(host).view()); }
    void fetch() { ctx_.download(host.view(), std::as_const(device).view()); }
    void forget() {
        std::fill(host.begin(), host.end(), T(std::numeric_limits<float>::quiet_NaN()));
        upload();
    }
    double value(index_t i) const { return static_cast<double>(static_cast<float>(host(i))); }

private:
    instar::cuda_context& ctx_;
};

}  // namespace kernels

#endif
