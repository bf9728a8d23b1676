#ifndef INSTAR_BENCHMARKS_GPU_HARNESS_HPP
#define INSTAR_BENCHMARKS_GPU_HARNESS_HPP

// What the GPU benchmarks share: registration in float, TF32 and bf16, operands on both sides, the check before the clock, timing
// by CUDA events, and the shares of what this device was measured to reach.
//
//     const bool registered = [] {
//         gpu::add("gelu_forward", "67108864", gpu::k_no_products, []<class T>(gpu::run& r) {
//             gpu::both<T, 1> x(r.ctx, {n}, 1), y(r.ctx, {n}, 2);
//             const auto work = [&] { ops::gelu_forward<T>(r.ctx, y, x); };
//             work();
//             ops::ref::gelu_forward<T>(y.host, x.host);
//             if (r.check(y.fetch().view(), y.host.view())) r.time(work, {.bytes = …});
//         });
//         return true;
//     }();
//
// Names are work/shape, work_tf32/shape and work_bf16/shape; peers/gpu_pytorch.py has the same. With INSTAR_CUDA_EMULATED the
// files run in the emulator at the sizes that sized() has for it: that proves the checks and times nothing of interest.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include "instar/core/philox.hpp"
#include "instar/core/tensor.hpp"
#include "instar/cuda/cuda_context.hpp"
#include "instar/cuda/event.hpp"
#include "instar/ops/gemm.hpp"

namespace instar::bench::gpu {

#if defined(INSTAR_CUDA_EMULATED)
inline constexpr bool k_emulated = true;
#else
inline constexpr bool k_emulated = false;
#endif
/// The size that is meant, or the one that the emulator can do.
constexpr index_t sized(index_t real, index_t emulated) { return k_emulated ? emulated : real; }

/// What products of a work are made of. TF32 and float differ in that alone, so works without products have no TF32.
enum class precision { fp32, tf32, bf16 };
inline constexpr precision k_all[] = {precision::fp32, precision::tf32, precision::bf16};
inline constexpr precision k_no_products[] = {precision::fp32, precision::bf16};
inline constexpr precision k_bf16_only[] = {precision::bf16};
inline constexpr precision k_fp32_only[] = {precision::fp32};

inline const char* suffix_of(precision p) { return p == precision::fp32 ? "" : p == precision::tf32 ? "_tf32" : "_bf16"; }

/// Largest normalised mean square error against the reference: of DESIGN, and the square of TF32's rounding.
inline double allowed_error(precision p) { return p == precision::fp32 ? 1e-10 : p == precision::tf32 ? 1e-6 : 1e-4; }

/// What one run of a work does. Zeros are not reported.
struct work {
    double flop = 0.0;
    double bytes = 0.0;
    double samples = 0.0;
    bool in_double = false;  ///< FLOP of double: they have no share, the device's peak in double is not measured
    double cpu_seconds = 0.0;  ///< of instar's CPU path on the same input, all cores, once
};

/// 10¹² FLOP and 10⁹ bytes a second that this device was measured to reach.
struct peaks {
    double fp32 = 0.0, tf32 = 0.0, bf16 = 0.0, copy_gbs = 0.0;
    double of(precision p) const { return p == precision::fp32 ? fp32 : p == precision::tf32 ? tf32 : bf16; }
};

/// Seconds of a call on the host.
template <class F>
double host_seconds(F&& call) {
    const auto start = std::chrono::steady_clock::now();
    call();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Seconds of one call, from `launches` that were queued together.
template <class F>
double seconds_of(cuda_context& ctx, int launches, F&& call) {
    cuda::event start, stop;
    start.record(ctx);
    for (int i = 0; i < launches; ++i) call();
    stop.record(ctx);
    stop.synchronize();
    return cuda::milliseconds(start, stop) * 1e-3 / launches;
}

/// Uniform in [low, high). Random, because zeros draw less power; repeated after a prime number of elements, because making all of them
/// takes minutes of a lent machine. No two of a million rows are equal.
template <class T>
void fill_uniform(T* x, index_t n, std::uint64_t seed, float low, float high) {
    const philox rng{.seed = seed};
    const index_t period = std::min(n, index_t{1'048'573});
    for (index_t i = 0; i < period; ++i) x[i] = T(low + (high - low) * rng.uniform(static_cast<std::uint64_t>(i)));
    for (index_t begin = period; begin < n; begin += period) std::copy_n(x, std::min(period, n - begin), x + begin);
}

namespace detail {

template <class T>
double product_tflops(cuda_context& ctx, index_t n) {
    tensor<T, 2, device_memory> a({n, n}), b({n, n}), c({n, n});
    tensor<T, 2> host({n, n});
    fill_uniform(host.data(), host.size(), 9, -0.5f, 0.5f);
    ctx.upload(a.view(), std::as_const(host).view());
    ctx.upload(b.view(), std::as_const(host).view());
    const auto call = [&] { ops::gemm<T>(ctx, c, a, b, {.transpose_b = true}); };
    call();
    double best = 1e300;
    for (int i = 0; i < 5; ++i) best = std::min(best, seconds_of(ctx, 3, call));
    const auto size = static_cast<double>(n);
    return 2.0 * size * size * size / best * 1e-12;
}

inline double copy_gbs(cuda_context& ctx) {
    const index_t n = sized(index_t{1} << 30, 1 << 12);
#if defined(INSTAR_CUDA_EMULATED)
    tensor<std::uint8_t, 1, pinned_memory> from({n}), to({n});
    const auto call = [&] { ctx.upload_async(to.view(), std::as_const(from).view()); };
#else
    tensor<std::uint8_t, 1, device_memory> from({n}), to({n});
    const auto call = [&] {
        cuda::check(cudaMemcpyAsync(to.data(), from.data(), static_cast<std::size_t>(n), cudaMemcpyDeviceToDevice, ctx.stream()), "copy_gbs", "cudaMemcpyAsync");
    };
#endif
    call();
    double best = 1e300;
    for (int i = 0; i < 5; ++i) best = std::min(best, seconds_of(ctx, 5, call));
    return 2.0 * static_cast<double>(n) / best * 1e-9;
}

}  // namespace detail

/// cuBLASLt's product of 8192³ in each precision, and a copy within the device (read and write counted). Measured once a process.
inline const peaks& measured_peaks() {
    static const peaks once = [] {
        cuda_context ctx;
        const index_t n = sized(8192, 32);
        peaks p;
        p.fp32 = detail::product_tflops<float>(ctx, n);
        ctx.allow_tf32(true);
        p.tf32 = detail::product_tflops<float>(ctx, n);
        p.bf16 = detail::product_tflops<bf16>(ctx, n);
        p.copy_gbs = detail::copy_gbs(ctx);
        return p;
    }();
    return once;
}

/// A host tensor and its copy on the device, uniform in [low, high) unless the element is an integer: then zero.
template <class T, int Rank>
class both {
public:
    tensor<T, Rank> host;
    tensor<T, Rank, device_memory> device;

    both(cuda_context& ctx, const index_t (&extents)[Rank], std::uint64_t seed, float low = -1.0f, float high = 1.0f)
        : host(extents), device(extents), ctx_(ctx) {
        if constexpr (!std::is_integral_v<T>) fill_uniform(host.data(), host.size(), seed, low, high);
        upload();
    }
    void upload() { ctx_.upload(device.view(), std::as_const(host).view()); }
    tensor<T, Rank> fetch() const {
        tensor<T, Rank> copy(device.view().extents_);
        ctx_.download(copy.view(), device.view());
        return copy;
    }
    operator tensor_view<T, Rank>() { return device.view(); }
    operator tensor_view<const T, Rank>() const { return device.view(); }

private:
    cuda_context& ctx_;
};

/// f(begin, end) of what a check looks at where all n rows or elements would keep the host busy for seconds: `most` at either end.
template <class F>
bool at_both_ends(index_t n, index_t most, F f) {
    if (n <= 2 * most) return f(index_t{0}, n);
    return f(index_t{0}, most) && f(n - most, n);
}

template <class T>
double value(T x) {
    return static_cast<double>(static_cast<float>(x));
}

/// One benchmark: its context, its check, its clock.
class run {
public:
    cuda_context ctx;
    const precision kind;

    run(benchmark::State& state, precision p) : kind(p), state_(state) {
        ctx.allow_tf32(p == precision::tf32);
        ctx.check_memory(true);  // the emulator too shall refuse what a device refuses
    }

    /// Normalised mean square error within what the precision allows, times `slack`; both contiguous. When it is not, the benchmark
    /// ends with an error and must not be timed.
    template <class A, class E, int Rank>
    bool check(const tensor_view<A, Rank>& actual, const tensor_view<E, Rank>& expected, double slack = 1.0) {
        double error = 0.0, energy = 0.0;
        for (index_t i = 0; i < expected.size(); ++i) {
            const double e = value(expected.data()[i]), d = value(actual.data()[i]) - e;
            error += d * d;
            energy += e * e;
        }
        return require(actual.size() == expected.size() && error <= slack * allowed_error(kind) * energy, "wrong result");
    }
    /// Element for element, as of copies and whole numbers.
    template <class A, class E, int Rank>
    bool check_equal(const tensor_view<A, Rank>& actual, const tensor_view<E, Rank>& expected) {
        return require(actual.size() == expected.size() && std::equal(actual.data(), actual.data() + actual.size(), expected.data()), "wrong result");
    }
    bool require(bool holds, const char* message) {
        if (!holds) state_.SkipWithError(message);
        return holds;
    }

    /// A sample is as many calls as take about five milliseconds, between two events; the figure is the median of the samples. The call
    /// that was checked before has warmed up.
    template <class F>
    void time(F&& call, work w) {
        const peaks& limit = measured_peaks();
        const double once = seconds_of(ctx, 1, call);
        const int launches = static_cast<int>(std::clamp(5e-3 / std::max(once, 1e-7), 1.0, 500.0));
        std::vector<double> samples;
        for (auto _ : state_) {
            samples.push_back(seconds_of(ctx, launches, call));
            state_.SetIterationTime(samples.back());
        }
        std::sort(samples.begin(), samples.end());
        const double median = samples[samples.size() / 2];
        auto& counters = state_.counters;
        counters["median_ms"] = median * 1e3;
        counters["best_ms"] = samples.front() * 1e3;
        counters["launches"] = launches;
        if (w.flop > 0.0) {
            counters["TFLOP/s"] = w.flop / median * 1e-12;
            if (!w.in_double) {
                counters["%_of_peak"] = w.flop / median * 1e-10 / limit.of(kind);
                counters["peak"] = limit.of(kind);
            }
        }
        if (w.bytes > 0.0) {
            counters["GB/s"] = w.bytes / median * 1e-9;
            counters["%_of_copy"] = w.bytes / median * 1e-7 / limit.copy_gbs;
            counters["copy"] = limit.copy_gbs;
        }
        if (w.samples > 0.0) counters["samples/s"] = w.samples / median;
        if (w.cpu_seconds > 0.0) counters["cpu_ms"] = w.cpu_seconds * 1e3;
    }

private:
    benchmark::State& state_;
};

/// Registers work/shape in each of `kinds`. f is called as f.operator()<T>(run&), T float or bf16.
template <class F>
void add(const std::string& work, const std::string& shape, const auto& kinds, F f, int n_samples = 15) {
    for (const precision p : kinds) {
        const auto body = [f, p](benchmark::State& state) {
            try {
                run r(state, p);
                if (p == precision::bf16) f.template operator()<bf16>(r);
                else f.template operator()<float>(r);
            } catch (const std::exception& e) {  // too little memory, mostly: the others go on
                state.SkipWithError(e.what());
            }
        };
        benchmark::RegisterBenchmark((work + suffix_of(p) + "/" + shape).c_str(), body)
            ->UseManualTime()->Iterations(k_emulated ? 1 : n_samples)->Unit(benchmark::kMillisecond);
    }
}

/// "4096/768/768"
template <class... N>
std::string slashed(N... n) {
    std::string s;
    ((s += (s.empty() ? "" : "/") + std::to_string(n)), ...);
    return s;
}

}  // namespace instar::bench::gpu

#endif
