// Photographs to a network's input, and what a training run waits for before its first image: images a second, seconds, bytes.
//
//     INSTAR_DATA=… bench_image_pipeline --benchmark_filter=image_pipeline        # the 18 photographs of bioscan1m_orders
//     bench_image_pipeline --benchmark_filter=loader_start                        # 5,150,850 generated records, no image

#include <unistd.h>

#include <benchmark/benchmark.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "instar/core/parallel_for.hpp"
#include "instar/core/tensor.hpp"
#include "instar/data/bioscan.hpp"
#include "instar/data/image_crop.hpp"
#include "instar/data/image_file.hpp"
#include "instar/data/image_loader.hpp"
#include "instar/train/batch_order.hpp"

#include "peak_memory.hpp"

namespace {

using namespace instar;

/// The files' bytes, so that no disk is measured.
const std::vector<std::vector<std::uint8_t>>& photographs() {
    static const std::vector<std::vector<std::uint8_t>> all = [] {
        std::vector<std::vector<std::uint8_t>> files;
        const char* root = std::getenv("INSTAR_DATA");
        if (root == nullptr) return files;
        std::vector<std::filesystem::path> paths;
        for (const auto& e : std::filesystem::directory_iterator(std::filesystem::path(root) / "bioscan1m_orders")) {
            if (e.path().extension() == ".jpg") paths.push_back(e.path());
        }
        std::sort(paths.begin(), paths.end());
        for (const auto& p : paths) {
            const io::file_reader f(p.string());
            files.emplace_back(static_cast<std::size_t>(f.size()));
            f.read_at(0, files.back().data(), files.back().size());
        }
        return files;
    }();
    return all;
}

void to_input(tensor_view<float, 3> x, const data::image& photo) {
    for (index_t i = 0; i < 224; ++i) {
        const std::uint8_t* row = photo.row(i);
        for (index_t c = 0; c < 3; ++c) {
            float* out = &x(c, i, 0);
            for (index_t j = 0; j < 224; ++j) out[j] = static_cast<float>(row[3 * j + c]) * (1.0f / 255.0f);
        }
    }
}

enum class part { all, decode, resize };

void run(benchmark::State& state, part what) {
    const auto& files = photographs();
    if (files.empty()) {
        state.SkipWithError("INSTAR_DATA is not set");
        return;
    }
    cpu_context ctx = state.range(0) == 0 ? cpu_context() : cpu_context(static_cast<int>(state.range(0)));
    const auto n = static_cast<index_t>(files.size());
    tensor<float, 4> x({n, 3, 224, 224});
    std::vector<data::image> decoded;
    for (const auto& f : files) decoded.push_back(data::decode_image(f, "photograph"));
    for (auto _ : state) {
        parallel_for(ctx, n, 1, [&](index_t begin, index_t end) {
            for (index_t i = begin; i < end; ++i) {
                const auto at = static_cast<std::size_t>(i);
                if (what == part::decode) {
                    benchmark::DoNotOptimize(data::decode_image(files[at], "photograph").pixels.data());
                } else if (what == part::resize) {
                    to_input(x.view()[i], data::center_crop(data::resize_shorter(decoded[at], 256), 224, 224));
                } else {
                    to_input(x.view()[i], data::center_crop(data::resize_shorter(data::decode_image(files[at], "photograph"), 256), 224, 224));
                }
            }
        });
        benchmark::DoNotOptimize(x.data());
    }
    const auto images = static_cast<double>(state.iterations()) * static_cast<double>(n);
    state.counters["images/s"] = benchmark::Counter(images, benchmark::Counter::kIsRate);
    state.counters["sequences/s"] = benchmark::Counter(images, benchmark::Counter::kIsRate);  // what run.py compares
}

void image_pipeline(benchmark::State& state) { run(state, part::all); }
void image_decode(benchmark::State& state) { run(state, part::decode); }
void image_resize_crop(benchmark::State& state) { run(state, part::resize); }
BENCHMARK(image_pipeline)->ArgName("threads")->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(image_decode)->ArgName("threads")->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(image_resize_crop)->ArgName("threads")->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond)->UseRealTime();

/// Metadata of as many records as BIOSCAN-5M has, without barcodes; a file beside the program, made once and removed at the end.
struct generated_metadata {
    std::string path = (std::filesystem::temp_directory_path() / ("instar_generated_metadata_" + std::to_string(::getpid()) + ".csv")).string();
    generated_metadata() {
        std::ofstream out(path, std::ios::binary);
        std::string text = "processid,sampleid,taxon,phylum,class,order,family,subfamily,genus,species,dna_bin,dna_barcode,country,province_state,coord-lat,coord-lon,image_measurement_value,area_fraction,"
                           "scale_factor,inferred_ranks,split,index_bioscan_1M_insect,chunk\n";
        const philox rng{.seed = 5};
        for (std::uint64_t i = 0; i < 5150850; ++i) {
            const std::uint32_t species = rng.below(i, 22622);
            text += "P" + std::to_string(100000000 + i * 17 % 5150850) + ",B" + std::to_string(i) + ",Genus species,Arthropoda,Insecta,Diptera,Cecidomyiidae,,Genus" + std::to_string(species / 4) + ",Genus species" +
                    std::to_string(species) + ",BOLD:AAA" + std::to_string(species) + ",,Canada,Ontario,45.1,-76.2,,0.1,1.0,0," + (i % 16 == 0 ? "train" : "pretrain") + ",," + std::to_string(i % 10) + "\n";
            if (text.size() > (std::size_t{1} << 22)) {
                out << text;
                text.clear();
            }
        }
        out << text;
    }
    ~generated_metadata() {
        std::error_code ignored;
        std::filesystem::remove(path, ignored);
    }
};

/// From the metadata file to the first request for images: reading, the rows of the training splits, an epoch's order, the loader.
void loader_start(benchmark::State& state) {
    const generated_metadata file;
    bench::peak_memory::reset();
    const double before = bench::peak_memory::megabytes();
    double shuffle = 0.0;
    index_t n = 0;
    for (auto _ : state) {
        const auto m = data::read_bioscan(file.path, {.columns = {"processid", "split", "chunk", "species"}});
        std::vector<index_t> rows;
        for (index_t i = 0; i < m.size(); ++i) {
            if (m.split(i) == "train" || m.split(i) == "pretrain") rows.push_back(i);
        }
        const auto start = std::chrono::steady_clock::now();
        auto order = train::epoch_order(static_cast<index_t>(rows.size()), philox{.seed = 7}, 0);
        for (index_t& i : order) i = rows[static_cast<std::size_t>(i)];
        shuffle += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        n = static_cast<index_t>(order.size());
        data::image_loader loader({.batch_size = 64, .height = 8, .width = 8}, [&](index_t item, tensor_view<float, 3>, philox) { benchmark::DoNotOptimize(m.image_path(item)); });
        loader.start(std::move(order), philox{});
        if (loader.next()->size() != 64) throw std::runtime_error("loader_start: the first batch is not full");
    }
    if (n != 5150850) throw std::runtime_error("loader_start: records are missing");
    state.counters["shuffle_s"] = shuffle / static_cast<double>(state.iterations());
    state.counters["memory_MB"] = bench::peak_memory::megabytes() - before;
    state.counters["file_MB"] = static_cast<double>(std::filesystem::file_size(file.path)) / 1e6;
}
BENCHMARK(loader_start)->Unit(benchmark::kSecond)->UseRealTime();

}  // namespace
