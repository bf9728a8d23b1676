#ifndef INSTAR_CUDA_BLAS_HPP
#define INSTAR_CUDA_BLAS_HPP

// cuBLASLt: one handle, and a plan for each shape. A plan holds descriptors and the algorithm that the library's heuristics
// chose; both are made once, because asking again costs more than a small product.
//
//     ctx.blas().run("gemm", ctx.stream(), cuda::matmul<float>{…});      // what cuda/matmul.hpp calls
//
// Not used by the emulator, which computes the same cuda::matmul with loops.

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <type_traits>
#include <utility>

#include "instar/cuda/matmul_problem.hpp"
#include "instar/cuda/runtime.hpp"

#if defined(INSTAR_CUDA_HEADERS)

namespace instar::cuda {

class blas {
public:
    blas() { check(cublasLtCreate(&handle_), "cuda_context", "cublasLtCreate"); }
    blas(const blas&) = delete;
    blas& operator=(const blas&) = delete;
    ~blas() {
        plans_.clear();
        (void)cublasLtDestroy(handle_);
    }
    void set_workspace(void* p, std::size_t bytes) noexcept {
        workspace_ = p;
        workspace_bytes_ = bytes;
    }
    void allow_tf32(bool allow) noexcept { tf32_ = allow; }

    /// Queues one product. Throws device_error when the library has no algorithm for it.
    template <class T>
    void run(const char* op, cudaStream_t stream, const matmul_problem<T>& p) {
        plan& chosen = find_plan(op, p);
        const scale_t<T> alpha(1), beta(p.accumulate ? 1 : 0);
        if (p.bias != nullptr) {
            check(cublasLtMatmulDescSetAttribute(chosen.operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &p.bias, sizeof p.bias), op,
                  "cublasLtMatmulDescSetAttribute");
        }
        check(cublasLtMatmul(handle_, chosen.operation, &alpha, p.a, chosen.a, p.b, chosen.b, &beta, p.d, chosen.d, p.d, chosen.d,
                             &chosen.algorithm, workspace_, workspace_bytes_, stream),
              op, "cublasLtMatmul");
    }

private:
    /// What factors are given in: float, but for products of double.
    template <class T>
    using scale_t = std::conditional_t<std::is_same_v<T, double>, double, float>;
    template <class T>
    static constexpr cudaDataType_t k_type = std::is_same_v<T, bf16> ? CUDA_R_16BF : std::is_same_v<T, double> ? CUDA_R_64F : CUDA_R_32F;

    struct key {
        int type = 0;
        bool transpose_a = false, transpose_b = false, accumulate = false, bias = false, tf32 = false;
        index_t m = 0, n = 0, k = 0, lda = 0, ldb = 0, ldd = 0;
        unsigned align_a = 0, align_b = 0, align_d = 0;
        auto operator<=>(const key&) const = default;
    };

    /// Descriptors of one shape; destroyed with the plan.
    struct plan {
        cublasLtMatmulDesc_t operation = nullptr;
        cublasLtMatrixLayout_t a = nullptr, b = nullptr, d = nullptr;
        cublasLtMatmulAlgo_t algorithm{};
        plan() = default;
        plan(const plan&) = delete;
        plan& operator=(const plan&) = delete;
        ~plan() {
            if (d != nullptr) (void)cublasLtMatrixLayoutDestroy(d);
            if (b != nullptr) (void)cublasLtMatrixLayoutDestroy(b);
            if (a != nullptr) (void)cublasLtMatrixLayoutDestroy(a);
            if (operation != nullptr) (void)cublasLtMatmulDescDestroy(operation);
        }
    };

    /// The largest power of two, at most 256, that divides an address: algorithms differ in what they need.
    static unsigned alignment(const void* p) noexcept {
        const auto address = reinterpret_cast<std::uintptr_t>(p);
        unsigned a = 256;
        while (address % a != 0) a /= 2;
        return a;
    }

    template <class T>
    plan& find_plan(const char* op, const matmul_problem<T>& p) {
        const key k{.type = k_type<T>, .transpose_a = p.transpose_a, .transpose_b = p.transpose_b,
                    .accumulate = p.accumulate, .bias = p.bias != nullptr, .tf32 = tf32_, .m = p.m, .n = p.n, .k = p.k, .lda = p.lda,
                    .ldb = p.ldb, .ldd = p.ldd, .align_a = alignment(p.a), .align_b = alignment(p.b), .align_d = alignment(p.d)};
        std::unique_ptr<plan>& slot = plans_[k];
        if (!slot) {
            try {
                slot = make_plan<T>(op, p, k);
            } catch (...) {
                plans_.erase(k);
                throw;
            }
        }
        return *slot;
    }

    template <class T>
    std::unique_ptr<plan> make_plan(const char* op, const matmul_problem<T>& p, const key& k) {
        const cublasComputeType_t compute = std::is_same_v<T, double>          ? CUBLAS_COMPUTE_64F
                                            : tf32_ && std::is_same_v<T, float> ? CUBLAS_COMPUTE_32F_FAST_TF32
                                                                                : CUBLAS_COMPUTE_32F;
        auto made = std::make_unique<plan>();
        check(cublasLtMatmulDescCreate(&made->operation, compute, k_type<scale_t<T>>), op, "cublasLtMatmulDescCreate");
        const auto set = [&](cublasLtMatmulDescAttributes_t attribute, const auto& value) {
            check(cublasLtMatmulDescSetAttribute(made->operation, attribute, &value, sizeof value), op, "cublasLtMatmulDescSetAttribute");
        };
        const cublasOperation_t op_a = p.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N, op_b = p.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
        set(CUBLASLT_MATMUL_DESC_TRANSA, op_a);
        set(CUBLASLT_MATMUL_DESC_TRANSB, op_b);
        if (p.bias != nullptr) {
            const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
            set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
            set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, p.bias);
        }
        const auto layout = [&](cublasLtMatrixLayout_t& to, index_t rows, index_t columns, index_t ld) {
            check(cublasLtMatrixLayoutCreate(&to, k_type<T>, static_cast<std::uint64_t>(rows), static_cast<std::uint64_t>(columns), ld), op,
                  "cublasLtMatrixLayoutCreate");
        };
        layout(made->a, p.transpose_a ? p.k : p.m, p.transpose_a ? p.m : p.k, p.lda);
        layout(made->b, p.transpose_b ? p.n : p.k, p.transpose_b ? p.k : p.n, p.ldb);
        layout(made->d, p.m, p.n, p.ldd);
        choose_algorithm(op, *made, k);
        return made;
    }

    void choose_algorithm(const char* op, plan& made, const key& k) {
        cublasLtMatmulPreference_t preference = nullptr;
        check(cublasLtMatmulPreferenceCreate(&preference), op, "cublasLtMatmulPreferenceCreate");
        const std::unique_ptr<std::remove_pointer_t<cublasLtMatmulPreference_t>, decltype(&cublasLtMatmulPreferenceDestroy)> owner(
            preference, &cublasLtMatmulPreferenceDestroy);
        const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
            check(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value), op, "cublasLtMatmulPreferenceSetAttribute");
        };
        set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace_bytes_);
        const std::uint32_t align_a = k.align_a, align_b = k.align_b, align_d = k.align_d;
        set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, align_a);
        set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, align_b);
        set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, align_d);
        set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, align_d);
        cublasLtMatmulHeuristicResult_t result{};
        int n_results = 0;
        check(cublasLtMatmulAlgoGetHeuristic(handle_, made.operation, made.a, made.b, made.d, made.d, preference, 1, &result, &n_results), op,
              "cublasLtMatmulAlgoGetHeuristic");
        if (n_results == 0) throw device_error(std::string(op) + ": cuBLASLt has no algorithm for this shape");
        made.algorithm = result.algo;
    }

    cublasLtHandle_t handle_ = nullptr;
    void* workspace_ = nullptr;
    std::size_t workspace_bytes_ = 0;
    bool tf32_ = false;
    std::map<key, std::unique_ptr<plan>> plans_;
};

}  // namespace instar::cuda

#endif

#endif
