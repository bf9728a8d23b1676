// Matrix products by cuBLASLt: c = a · bᵀ ("nt", a linear layer's forward), a · b ("nn", its input's gradient), c += aᵀ · b ("tn", its weight's).
//
//     bench_gpu_gemm --benchmark_filter=bf16
//
// Names: gemm/m/n/k/form. Sixty-four elements of c are checked against sums in double.

#include "harness.hpp"

namespace {

using namespace instar;
namespace gpu = bench::gpu;

struct product {
    index_t m, n, k;
    const char* form;
};

template <class T>
void gemm(gpu::run& r, product p) {
    const index_t m = gpu::sized(p.m, 40), n = gpu::sized(p.n, 24), k = gpu::sized(p.k, 32);
    const std::string form = p.form;
    const ops::gemm_options options{.transpose_a = form == "tn", .transpose_b = form == "nt", .accumulate = form == "tn"};
    gpu::both<T, 2> a(r.ctx, {options.transpose_a ? k : m, options.transpose_a ? m : k}, 1);
    gpu::both<T, 2> b(r.ctx, {options.transpose_b ? n : k, options.transpose_b ? k : n}, 2), c(r.ctx, {m, n}, 3);
    const auto work = [&] { ops::gemm<T>(r.ctx, c, a, b, options); };
    work();
    const auto got = c.fetch();
    tensor<double, 1> actual({64}), expected({64});
    for (index_t s = 0; s < 64; ++s) {
        const index_t i = s * 7919 % m, j = s * 104729 % n;
        double sum = options.accumulate ? gpu::value(c.host(i, j)) : 0.0;
        for (index_t l = 0; l < k; ++l) {
            sum += gpu::value(options.transpose_a ? a.host(l, i) : a.host(i, l)) * gpu::value(options.transpose_b ? b.host(j, l) : b.host(l, j));
        }
        actual(s) = gpu::value(got(i, j));
        expected(s) = sum;
    }
    if (!r.check(actual.view(), expected.view())) return;
    r.time(work, {.flop = 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k)});
}

const bool registered = [] {
    for (const product p : {product{8192, 8192, 8192, "nt"}, {5280, 768, 768, "nt"}, {5280, 3072, 768, "nt"}, {5280, 768, 3072, "nt"},
                            {84480, 3072, 768, "nt"}, {84480, 768, 3072, "nn"}, {3072, 768, 84480, "tn"}}) {
        gpu::add("gemm", gpu::slashed(p.m, p.n, p.k) + "/" + p.form, gpu::k_all, [p]<class T>(gpu::run& r) { gemm<T>(r, p); });
    }
    return true;
}();

}  // namespace
