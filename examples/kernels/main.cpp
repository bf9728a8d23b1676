// kernels: how the library's kernels reach their speed, step by step, each step checked and timed on this machine.
//
//     cmake --preset native && cmake --build --preset native --target kernels
//     build/native/examples/kernels gemm
//     build/native/examples/kernels attention        # and layer_norm, kmeans, ward
#include <CLI/CLI.hpp>

#include "ladder.hpp"

int main(int argc, char** argv) {
    CLI::App app{"Kernels from naive to fast, each step checked, then timed.\n\nExample:\n  kernels gemm --n 1024\n"};
    app.require_subcommand(1);
    app.add_option("--seconds", kernels::least_seconds, "run each step for so long at least, and three times")->capture_default_str()->check(CLI::Range(0.0, 60.0));
    instar::index_t n = 1024, n_rows = 40000, seq_len = 1024, n_points = 20000, n_leaves = 2000, n_large = 10000;
    auto* gemm = app.add_subcommand("gemm", "matrix product of two n × n matrices");
    gemm->add_option("--n", n, "1 to 4096")->capture_default_str()->check(CLI::Range(1, 4096));
    auto* layer_norm = app.add_subcommand("layer_norm", "LayerNorm over rows of 768");
    layer_norm->add_option("--rows", n_rows, "1 to 1,000,000")->capture_default_str()->check(CLI::Range(1, 1000000));
    auto* attention = app.add_subcommand("attention", "8 heads of 64, forward and backward");
    attention->add_option("--n", seq_len, "positions, 1 to 8192")->capture_default_str()->check(CLI::Range(1, 8192));
    auto* kmeans = app.add_subcommand("kmeans", "one iteration with 500 centres");
    kmeans->add_option("--n", n_points, "points, 2 to 1,000,000")->capture_default_str()->check(CLI::Range(2, 1000000));
    auto* ward = app.add_subcommand("ward", "a tree of merges");
    ward->add_option("--n", n_leaves, "points of all steps, 1 to 10,000")->capture_default_str()->check(CLI::Range(1, 10000));
    ward->add_option("--large", n_large, "points of the steps without a matrix, 0 (none) to 100,000")->capture_default_str()->check(CLI::Range(0, 100000));
    CLI11_PARSE(app, argc, argv);
    try {
        if (gemm->parsed()) return kernels::run_gemm(n);
        if (layer_norm->parsed()) return kernels::run_layer_norm(n_rows);
        if (attention->parsed()) return kernels::run_attention(seq_len);
        if (kmeans->parsed()) return kernels::run_kmeans(n_points);
        return kernels::run_ward(n_leaves, n_large);
    } catch (const std::exception& e) {
        std::fprintf(stderr, "kernels: %s\n", e.what());
        return 1;
    }
}
