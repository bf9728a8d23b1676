#ifndef INSTAR_EXAMPLES_KERNELS_LADDER_HPP
#define INSTAR_EXAMPLES_KERNELS_LADDER_HPP

// A ladder: the same work by better and better kernels. Each rung is checked, timed, and shown with its share of what the machine can do.
//
//     ladder steps("c = a · b, 1024 × 1024", {.flop = 2e9});
//     steps.rung("1 dot products", 1, [&] { f(); }, [&] { return error(); });      // error in units in which rounding is ~1e-7
//     return steps.finish();                                                       // prints the table; 1 when a rung was wrong

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "instar/core/cpu_context.hpp"
#include "instar/core/parallel_for.hpp"
#include "instar/core/philox.hpp"
#include "instar/ops/cpu/simd/peak.hpp"

#include "common/table.hpp"

namespace kernels {

int run_gemm(instar::index_t n);
int run_layer_norm(instar::index_t n_rows);
int run_attention(instar::index_t seq_len);
int run_kmeans(instar::index_t n);
int run_ward(instar::index_t n, instar::index_t n_large);

/// How long a rung runs at least; main's --seconds.
inline double least_seconds = 0.5;

inline std::vector<float> random_values(instar::index_t n, std::uint64_t seed) {
    std::vector<float> x(static_cast<std::size_t>(n));
    const instar::philox rng{seed, 0};
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = rng.normal(i);
    return x;
}

inline double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

/// What one run of the work takes: operations, or bytes that must move at least. Neither: the table shows times alone.
struct work {
    double flop = 0.0;
    double bytes = 0.0;
};

class ladder {
public:
    ladder(std::string title, work w) : title_(std::move(title)), work_(w) {
        if (!has_rate()) return;
        instar::cpu_context one(1), all;
        limit_one_ = limit(one);
        limit_all_ = limit(all);
    }

    /// Runs f for least_seconds, three times at least; the median counts. Right: the error is below the tolerance.
    template <class F, class Error>
    void rung(const std::string& name, int threads, F f, Error error, double tolerance = 1e-5) {
        f();
        const double wrong = error();
        std::vector<double> times;
        for (const double begin = now(); times.size() < 3 || (now() - begin < least_seconds && times.size() < 1000);) {
            const double t = now();
            f();
            times.push_back(now() - t);
        }
        std::nth_element(times.begin(), times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2), times.end());
        const double seconds = times[times.size() / 2], rate = (work_.flop > 0 ? work_.flop : work_.bytes) / seconds * 1e-9;
        if (first_ == 0.0) first_ = seconds;
        const bool right = wrong < tolerance;  // NaN is wrong
        all_right_ = all_right_ && right;
        rows_.push_back({name, text("%d", threads), text("%.2f", seconds * 1e3)});
        if (has_rate()) {
            rows_.back().push_back(text("%.1f", rate));
            rows_.back().push_back(text("%.0f %%", 100.0 * rate / (threads > 1 ? limit_all_ : limit_one_)));
        }
        rows_.back().push_back(text("%.1f×", first_ / seconds));
        rows_.back().push_back(right ? "yes" : text("NO (%.1e)", wrong));
    }

    int finish() const {
        std::vector<std::string> header{"step", "threads", "ms"};
        const char* unit = work_.flop > 0 ? "GFLOP/s" : "GB/s";
        if (has_rate()) header.insert(header.end(), {unit, work_.flop > 0 ? "of peak" : "of triad"});
        header.insert(header.end(), {"speed-up", "right"});
        examples::text_table table(header);
        for (const auto& row : rows_) table.add_row(row);
        std::printf("%s", title_.c_str());
        if (has_rate()) std::printf("; the machine's limit: %.0f %s with one thread, %.0f with all", limit_one_, unit, limit_all_);
        std::printf("\n\n%s\n", table.text().c_str());
        return all_right_ ? 0 : 1;
    }

private:
    bool has_rate() const { return work_.flop > 0 || work_.bytes > 0; }

    template <class... Args>
    static std::string text(const char* format, Args... args) {
        char buffer[64];
        std::snprintf(buffer, sizeof buffer, format, args...);
        return buffer;
    }

    /// Multiply-adds in registers (10⁹ FLOP/s), or a = b + s·c over memory (10⁹ bytes/s): the best of several runs.
    double limit(instar::cpu_context& ctx) const {
        using instar::index_t;
        const index_t threads = ctx.max_threads();
        double best = 0.0;
        if (work_.flop > 0) {
            std::vector<double> rate(static_cast<std::size_t>(threads));
            for (int run = 0; run < 30; ++run) {
                instar::parallel_for(ctx, threads, 1, [&](index_t begin, index_t end) {
                    for (index_t t = begin; t < end; ++t) {
                        double flop = 0.0;
                        const double start = now();
                        volatile float keep = INSTAR_SIMD_PICK(peak_fma)(300'000, &flop);
                        (void)keep;
                        rate[static_cast<std::size_t>(t)] = std::max(rate[static_cast<std::size_t>(t)], flop / (now() - start));
                    }
                });
            }
            for (const double r : rate) best += r * 1e-9;
            return best;
        }
        const index_t n = (index_t{48} << 20) / 12 * threads;
        std::vector<float> a(static_cast<std::size_t>(n)), b(a.size()), c(a.size());
        for (int run = 0; run < 10; ++run) {
            const double start = now();
            instar::parallel_for(ctx, n, index_t{1} << 16, [&](index_t begin, index_t end) {
                INSTAR_SIMD_PICK(triad)(a.data() + begin, b.data() + begin, c.data() + begin, 3.0f, end - begin);
            });
            best = std::max(best, 12.0 * static_cast<double>(n) / (now() - start) * 1e-9);
        }
        return best;
    }

    std::string title_;
    work work_;
    double limit_one_ = 0.0, limit_all_ = 0.0, first_ = 0.0;
    bool all_right_ = true;
    std::vector<std::vector<std::string>> rows_;
};

}  // namespace kernels

#endif
