// kernels_cuda: how kernels reach their speed on a GPU, step by step, each step checked and timed.
// kernels_emulated: the same kernels as host C++ on the emulated device, each step checked, nothing timed.
//
//     cmake --preset cuda && cmake --build --preset cuda --target kernels_cuda
//     build/cuda/examples/kernels_cuda gemm                  # and layer_norm, attention
//
// Where there is no GPU kernels_cuda says so and exits with 77.
#include <CLI/CLI.hpp>

#include <memory>

#include "ladder.hpp"

int main(int argc, char** argv) {
    const std::string name = kernels::k_emulated ? "kernels_emulated" : "kernels_cuda";
    CLI::App app{"Kernels of a GPU from naive to fast, each step checked" + std::string(kernels::k_emulated ? "" : ", then timed") + ".\n\nExample:\n  " + name + " gemm\n"};
    app.require_subcommand(1);
    app.add_option("--seconds", kernels::least_seconds, "run each step for so long at least, and three times")->capture_default_str()->check(CLI::Range(0.0, 60.0));
    app.add_flag_callback("--check", [] { kernels::timed = false; }, "check each step and time none, as on the emulated device");
    // On the emulated device: enough for tiles that are whole and tiles that are not, in a second.
    instar::index_t n = kernels::k_emulated ? 136 : 4096, n_rows = kernels::k_emulated ? 37 : 65536, seq_len = n;
    const instar::index_t largest = kernels::k_emulated ? 512 : 16384;
    const auto eights = [](const std::string& value) { return std::stoll(value) % 8 == 0 ? std::string() : "must be a multiple of 8: rows are read sixteen bytes at a time"; };
    auto* gemm = app.add_subcommand("gemm", "matrix product of two n × n matrices of bf16");
    gemm->add_option("--n", n, "a multiple of 8")->capture_default_str()->check(CLI::Range(instar::index_t{8}, largest))->check(eights);
    auto* layer_norm = app.add_subcommand("layer_norm", "LayerNorm over rows of 768 floats");
    layer_norm->add_option("--rows", n_rows, "1 to 1,000,000")->capture_default_str()->check(CLI::Range(1, 1000000));
    auto* attention = app.add_subcommand("attention", "forward, heads of 64, bf16");
    attention->add_option("--n", seq_len, "positions, a multiple of 8")->capture_default_str()->check(CLI::Range(instar::index_t{8}, largest))->check(eights);
    CLI11_PARSE(app, argc, argv);
    std::unique_ptr<instar::cuda_context> ctx;
    try {
        ctx = std::make_unique<instar::cuda_context>();
        ctx->check_memory(true);  // the emulated device too refuses what a device refuses
    } catch (const instar::device_error& e) {
        std::fprintf(stderr, "%s: %s\n", name.c_str(), e.what());
        return 77;
    }
    try {
        if (gemm->parsed()) return kernels::run_gemm(*ctx, n);
        if (layer_norm->parsed()) return kernels::run_layer_norm(*ctx, n_rows);
        return kernels::run_attention(*ctx, seq_len);
    } catch (const std::exception& e) {
        std::fprintf(stderr, "%s: %s\n", name.c_str(), e.what());
        return 1;
    }
}
