// kernels: how the library's kernels reach their speed, step by step, each step checked and timed on this machine.
//
//     cmake --preset native && cmake --build --preset native --target kernels
//     build/native/examples/kernels gemm
//     build/native/examples/kernels layer_norm
#include <CLI/CLI.hpp>

#include "ladder.hpp"

int main(int argc, char** argv) {
    CLI::App app{"Kernels from naive to fast, each step checked, then timed.\n\nExample:\n  kernels gemm --n 1024\n"};
    app.require_subcommand(1);
    instar::index_t n = 1024, n_rows = 40000;
    auto* gemm = app.add_subcommand("gemm", "matrix product of two n × n matrices");
    gemm->add_option("--n", n, "1 to 4096")->capture_default_str()->check(CLI::Range(1, 4096));
    auto* layer_norm = app.add_subcommand("layer_norm", "LayerNorm over rows of 768");
    layer_norm->add_option("--rows", n_rows, "1 to 1,000,000")->capture_default_str()->check(CLI::Range(1, 1000000));
    CLI11_PARSE(app, argc, argv);
    try {
        return gemm->parsed() ? kernels::run_gemm(n) : kernels::run_layer_norm(n_rows);
    } catch (const std::exception& e) {
        std::fprintf(stderr, "kernels: %s\n", e.what());
        return 1;
    }
}
