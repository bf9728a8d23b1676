// k-mer tokenizing and counting: barcodes a second, one thread and all.
//
//     bench_kmer --benchmark_filter=kmer_encode/4

#include <benchmark/benchmark.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "instar/core/philox.hpp"
#include "instar/tokenize/kmer.hpp"
#include "instar/tokenize/kmer_counts.hpp"

namespace {

using namespace instar;

const std::vector<std::string>& barcodes() {
    static const std::vector<std::string> all = [] {
        std::vector<std::string> v(8192);
        for (std::size_t i = 0; i < v.size(); ++i) {
            const philox rng{.seed = 3, .stream = i};
            for (std::uint64_t j = 0; j < 658; ++j) v[i] += rng.below(j + 1, 400) == 0 ? 'N' : "ACGT"[rng.below(j + 1000, 4)];
        }
        return v;
    }();
    return all;
}

void rates(benchmark::State& state) {
    const auto n = static_cast<double>(state.iterations()) * static_cast<double>(barcodes().size());
    state.counters["sequences/s"] = benchmark::Counter(n, benchmark::Counter::kIsRate);
    state.SetBytesProcessed(static_cast<std::int64_t>(n * 658));
}

void kmer_encode(benchmark::State& state) {
    const tokenize::kmer tokenizer{{.k = static_cast<int>(state.range(0))}};
    cpu_context ctx = state.range(1) == 0 ? cpu_context() : cpu_context(static_cast<int>(state.range(1)));
    const auto n = static_cast<index_t>(barcodes().size());
    tensor<std::int32_t, 2> ids({n, tokenizer.seq_len()});
    tensor<std::uint8_t, 2> mask({n, tokenizer.seq_len()});
    tokenizer.encode_into(ctx, barcodes(), {}, ids, mask);
    const auto k = static_cast<std::size_t>(tokenizer.k());
    for (index_t i = 0; i < n; i += 61) {
        for (index_t t = 0; t < tokenizer.seq_len(); ++t) {
            const std::string_view word = std::string_view(barcodes()[static_cast<std::size_t>(i)]).substr(static_cast<std::size_t>(t) * k, k);
            if (ids(i, t) != tokenizer.id(word)) throw std::runtime_error("kmer_encode: a token is wrong");
        }
    }
    for (auto _ : state) {
        tokenizer.encode_into(ctx, barcodes(), {}, ids, mask);
        benchmark::DoNotOptimize(ids.data());
    }
    rates(state);
}
BENCHMARK(kmer_encode)->ArgNames({"k", "threads"})->ArgsProduct({{1, 4, 5, 6, 8, 12}, {1}})->Args({4, 0})->Args({8, 0})->Unit(benchmark::kMillisecond)->UseRealTime();

void kmer_encode_with_n(benchmark::State& state) {
    const tokenize::kmer tokenizer{{.k = 4, .tokenize_n = true}};
    cpu_context ctx(1);
    const auto n = static_cast<index_t>(barcodes().size());
    tensor<std::int32_t, 2> ids({n, tokenizer.seq_len()});
    tensor<std::uint8_t, 2> mask({n, tokenizer.seq_len()});
    for (auto _ : state) {
        tokenizer.encode_into(ctx, barcodes(), {}, ids, mask);
        benchmark::DoNotOptimize(ids.data());
    }
    rates(state);
}
BENCHMARK(kmer_encode_with_n)->Unit(benchmark::kMillisecond)->UseRealTime();

void kmer_count(benchmark::State& state) {
    cpu_context ctx(1);
    const tokenize::kmer_counts_options options{.k = static_cast<int>(state.range(0))};
    for (auto _ : state) {
        const auto x = tokenize::kmer_counts(ctx, barcodes(), options);
        benchmark::DoNotOptimize(x.data());
    }
    rates(state);
}
BENCHMARK(kmer_count)->ArgName("k")->Arg(4)->Arg(5)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
