// How a ladder on a GPU measures, and what it prints.

#include "ladder.hpp"

#include <chrono>
#include <cstdio>

#include "instar/cuda/event.hpp"
#include "instar/ops/gemm.hpp"

#include "common/table.hpp"

namespace kernels {

namespace {

template <class... Args>
std::string text(const char* format, Args... args) {
    char buffer[64];
    std::snprintf(buffer, sizeof buffer, format, args...);
    return buffer;
}

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

}  // namespace

ladder::ladder(instar::cuda_context& ctx, std::string title, work w, std::function<void()> forget)
    : ctx_(ctx), title_(std::move(title)), work_(w), forget_(std::move(forget)) {
    if (timed) limit_ = work_.flop > 0 ? product_rate() : copy_rate();
}

void ladder::rung(const std::string& name, const std::function<void()>& run, const std::function<double()>& error, double tolerance) {
    forget_();
    run();
    ctx_.synchronize();
    const double wrong = error();
    const bool right = wrong < tolerance;  // NaN is wrong
    all_right_ = all_right_ && right;
    rows_.push_back({name});
    auto& row = rows_.back();
    if (timed) {
        const double seconds = median_seconds(run);
        if (first_ == 0.0) first_ = seconds;
        const double rate = work_.flop > 0 ? work_.flop / seconds * 1e-12 : work_.bytes / seconds * 1e-9;
        row.insert(row.end(), {text("%.3f", seconds * 1e3), text("%.1f", rate), text("%.0f %%", 100.0 * rate / limit_), text("%.1f×", first_ / seconds)});
    }
    row.push_back(right ? "yes" : text("NO (%.1e)", wrong));
}

int ladder::finish() const {
    const char* unit = work_.flop > 0 ? "TFLOP/s" : "GB/s";
    std::vector<std::string> header{"step"};
    if (timed) header.insert(header.end(), {"ms", unit, work_.flop > 0 ? "of cuBLASLt" : "of copy", "speed-up"});
    header.push_back("right");
    examples::text_table table(header);
    for (const auto& row : rows_) table.add_row(row);
    std::printf("%s, on %s", title_.c_str(), k_emulated ? "the emulated device" : ctx_.properties().name.c_str());
    if (timed) {
        std::printf("; %s: %.0f %s\n", work_.flop > 0 ? "cuBLASLt's product of 8192³ in bf16" : "a copy within the device, read and written", limit_, unit);
    } else {
        std::printf(": each step is checked, nothing is timed\n");
    }
    std::printf("\n%s\n", table.text().c_str());
    return all_right_ ? 0 : 1;
}

/// Of one run, from `launches` that are queued together: so the host's part hides behind the device's, as it does in a model.
double ladder::seconds_of(int launches, const std::function<void()>& run) {
    instar::cuda::event start, stop;
    start.record(ctx_);
    for (int i = 0; i < launches; ++i) run();
    stop.record(ctx_);
    stop.synchronize();
    return instar::cuda::milliseconds(start, stop) * 1e-3 / launches;
}

/// Samples of about five milliseconds, at least three, for least_seconds.
double ladder::median_seconds(const std::function<void()>& run) {
    const int launches = static_cast<int>(std::clamp(5e-3 / std::max(seconds_of(1, run), 1e-7), 1.0, 500.0));
    std::vector<double> samples;
    for (const double begin = now(); samples.size() < 3 || (now() - begin < least_seconds && samples.size() < 1000);) samples.push_back(seconds_of(launches, run));
    const auto middle = samples.begin() + static_cast<std::ptrdiff_t>(samples.size() / 2);
    std::nth_element(samples.begin(), middle, samples.end());
    return *middle;
}

/// cuBLASLt's product of 8192³ in bf16, 10¹² operations a second: the best of five.
double ladder::product_rate() {
    const index_t n = 8192;
    both<instar::bf16> a(ctx_, n * n, 9), b(ctx_, n * n, 10), c(ctx_, n * n);  // random, because zeros draw less power
    const instar::tensor_view<instar::bf16, 2> av(a.data(), {n, n}), bv(b.data(), {n, n}), cv(c.data(), {n, n});
    const auto run = [&] { instar::ops::gemm<instar::bf16>(ctx_, cv, av, bv, {.transpose_b = true}); };
    run();
    double best = seconds_of(3, run);
    for (int i = 0; i < 4; ++i) best = std::min(best, seconds_of(3, run));
    return 2.0 * static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n) / best * 1e-12;
}

/// A copy of 1 GiB within the device, 10⁹ bytes a second, read and written: the best of five.
double ladder::copy_rate() {
#if defined(INSTAR_CUDA_EMULATED)
    return 0.0;
#else
    const index_t n = index_t{1} << 30;
    instar::tensor<std::uint8_t, 1, instar::device_memory> from({n}), to({n});
    const auto run = [&] {
        instar::cuda::check(cudaMemcpyAsync(to.data(), from.data(), static_cast<std::size_t>(n), cudaMemcpyDeviceToDevice, ctx_.stream()), "copy_rate", "cudaMemcpyAsync");
    };
    run();
    double best = seconds_of(5, run);
    for (int i = 0; i < 4; ++i) best = std::min(best, seconds_of(5, run));
    return 2.0 * static_cast<double>(n) / best * 1e-9;
#endif
}

}  // namespace kernels
