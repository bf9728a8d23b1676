// Reading metadata: csv_reader alone, and typed tables. Bytes a second of plain text, one core.
//
//     bench_csv --benchmark_filter=typed

#include <benchmark/benchmark.h>

#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include "instar/core/philox.hpp"
#include "instar/data/bioscan.hpp"
#include "instar/data/simulate.hpp"

namespace {

using namespace instar;

/// 23 columns, a barcode of 658 letters in each row: what BIOSCAN-5M's file looks like. 64 MB.
const std::string& metadata() {
    static const std::string text = [] {
        const auto specimens = data::simulate_specimens({.n_specimens = 4000, .n_species = 150, .partial = 0.1, .seed = 1});
        std::string rows, all;
        for (std::size_t c = 0; c < data::k_bioscan_5m_columns.size(); ++c) all += (c > 0 ? "," : "") + std::string(data::k_bioscan_5m_columns[c]);
        all += '\n';
        for (const auto& s : specimens) {
            data::append_csv_row(rows, std::vector<std::string_view>{s.processid, s.sampleid, s.taxon, s.phylum, s.class_name, s.order, s.family, s.subfamily, s.genus,
                                                                    s.species, s.dna_bin, s.dna_barcode, s.country, s.province_state, s.latitude, s.longitude,
                                                                    s.image_measurement_value, s.area_fraction, s.scale_factor, s.inferred_ranks, s.split,
                                                                    s.index_bioscan_1m, s.chunk});
        }
        while (all.size() < (std::size_t{64} << 20)) all += rows;
        return all;
    }();
    return text;
}

/// Eight short fields a row, one in four quoted: the worst a scanner meets.
const std::string& short_fields() {
    static const std::string text = [] {
        std::string all = "a,b,c,d,e,f,g,h\n";
        const philox rng{.seed = 2};
        for (std::uint64_t i = 0; all.size() < (std::size_t{32} << 20); i += 8) {
            for (std::uint64_t c = 0; c < 8; ++c) {
                const std::uint32_t v = rng.below(i + c, 100000);
                all += (c > 0 ? "," : "") + (v % 4 == 0 ? "\"" + std::to_string(v) + "\"" : std::to_string(v));
            }
            all += '\n';
        }
        return all;
    }();
    return text;
}

void count(benchmark::State& state, const std::string& text) {
    state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) * static_cast<std::int64_t>(text.size()));
}

void csv_metadata(benchmark::State& state) {
    const std::string& text = metadata();
    for (auto _ : state) {
        data::csv_reader in(io::input_file::from_memory("benchmark", text));
        std::int64_t letters = 0;
        while (in.next()) letters += static_cast<std::int64_t>(in[11].size());
        if (letters < 1000000) throw std::runtime_error("csv_metadata: barcodes are missing");
    }
    count(state, text);
}
BENCHMARK(csv_metadata)->Unit(benchmark::kMillisecond);

void csv_short_fields(benchmark::State& state) {
    const std::string& text = short_fields();
    for (auto _ : state) {
        data::csv_reader in(io::input_file::from_memory("benchmark", text));
        std::int64_t sum = 0;
        while (in.next()) sum += in.integer(7);
        benchmark::DoNotOptimize(sum);
    }
    count(state, text);
}
BENCHMARK(csv_short_fields)->Unit(benchmark::kMillisecond);

void typed_metadata(benchmark::State& state, const std::vector<std::string>& columns) {
    const std::string& text = metadata();
    index_t rows = 0;
    for (auto _ : state) {
        const auto m = data::read_bioscan(io::input_file::from_memory("benchmark", text), {.columns = columns});
        if (m.size() < 50000) throw std::runtime_error("typed_metadata: rows are missing");
        rows += m.size();
    }
    count(state, text);
    state.counters["sequences/s"] = benchmark::Counter(static_cast<double>(rows), benchmark::Counter::kIsRate);  // a barcode a row
}
BENCHMARK_CAPTURE(typed_metadata, all_columns, {})->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(typed_metadata, training_columns, {"processid", "dna_barcode", "order", "family", "genus", "species", "dna_bin", "split"})->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(typed_metadata, labels_only, {"order", "family", "genus", "species", "split"})->Unit(benchmark::kMillisecond);

}  // namespace
