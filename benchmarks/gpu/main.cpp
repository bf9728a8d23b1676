// The main function of the GPU benchmarks: measures the device's peaks first and writes them, with the device's name, into the
// report's context. Exits with 77 where there is no GPU; --benchmark_list_tests works there too.

#include <cstring>

#include "harness.hpp"

int main(int argc, char** argv) {
    using namespace instar;
    bool list = false;
    for (int i = 1; i < argc; ++i) list = list || std::strncmp(argv[i], "--benchmark_list_tests", 22) == 0;
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
    if (!list) {
        try {
            const cuda_context ctx;
            const bench::gpu::peaks& p = bench::gpu::measured_peaks();
            const auto& device = ctx.properties();
            benchmark::AddCustomContext("device", device.name);
            benchmark::AddCustomContext("compute_capability", std::to_string(device.compute_major) + "." + std::to_string(device.compute_minor));
            benchmark::AddCustomContext("peak_fp32_tflops", std::to_string(p.fp32));
            benchmark::AddCustomContext("peak_tf32_tflops", std::to_string(p.tf32));
            benchmark::AddCustomContext("peak_bf16_tflops", std::to_string(p.bf16));
            benchmark::AddCustomContext("copy_gbs", std::to_string(p.copy_gbs));
        } catch (const device_error& e) {
            std::fprintf(stderr, "no GPU to measure: %s\n", e.what());
            return 77;
        }
    }
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
}
