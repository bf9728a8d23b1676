#ifndef INSTAR_CORE_BUILD_INFO_HPP
#define INSTAR_CORE_BUILD_INFO_HPP

// What was compiled, and what runs: the first thing to put into a bug report or beside a measurement.
//
//     std::cout << instar::build_info().text() << '\n';
//     // instar 0.1.0; GNU 12.2.0, C++20, compiled for x86-64; running x86-64-v4 (AVX-512); products: packed, bf16 by AVX512-BF16; with zlib; without CUDA

#include <string>

#include "instar/core/isa.hpp"
#include "instar/core/version.hpp"

namespace instar {

/// See build_info().
struct build_information {
    std::string version;        ///< "0.1.0"
    std::string compiler;       ///< "GNU 12.2.0"
    std::string compiled_for;   ///< the instruction sets that the compiler's flags allowed everywhere: "x86-64", "x86-64 + AVX2 FMA"
    isa::level running;         ///< the level the kernels use, see core/isa.hpp
    std::string gemm_backend;   ///< float products on the CPU: "packed" or "eigen"
    isa::bf16_products bf16;    ///< how products in bf16 (cpu_context::allow_bf16) are computed
    long cplusplus = 0;         ///< __cplusplus
    bool optimized = false;     ///< compiled with optimisation
    bool assertions = false;    ///< NDEBUG is not defined
    bool sanitized = false;     ///< under AddressSanitizer or ThreadSanitizer
    bool zlib = false;          ///< gz files can be read
    bool cuda = false;          ///< this file was compiled by a CUDA compiler
    bool cuda_emulated = false; ///< CUDA kernels run on the host's emulator

    /// One line.
    std::string text() const {
        std::string s = "instar " + version + "; " + compiler + ", C++" + std::to_string(cplusplus / 100 % 100) + ", compiled for " + compiled_for;
        if (!optimized) s += ", not optimised";
        if (sanitized) s += ", under a sanitizer";
        s += std::string("; running ") + isa::level_name(running) + "; products: " + gemm_backend + ", " + isa::bf16_products_name(bf16);
        s += zlib ? "; with zlib" : "; without zlib";
        s += cuda ? "; with CUDA" : cuda_emulated ? "; CUDA emulated" : "; without CUDA";
        return s;
    }
};

/// Describes the file that calls it: two files of a program may be compiled with different flags. Hence static, not inline.
[[maybe_unused]] static build_information build_info() {
    build_information b;
    b.version = std::to_string(INSTAR_VERSION_MAJOR) + "." + std::to_string(INSTAR_VERSION_MINOR) + "." + std::to_string(INSTAR_VERSION_PATCH);
#if defined(__clang__)
    b.compiler = "Clang " + std::to_string(__clang_major__) + "." + std::to_string(__clang_minor__) + "." + std::to_string(__clang_patchlevel__);
#elif defined(__GNUC__)
    b.compiler = "GNU " + std::to_string(__GNUC__) + "." + std::to_string(__GNUC_MINOR__) + "." + std::to_string(__GNUC_PATCHLEVEL__);
#else
    b.compiler = "unknown compiler";
#endif
#if defined(__CUDACC_VER_MAJOR__)
    b.compiler += " under nvcc " + std::to_string(__CUDACC_VER_MAJOR__) + "." + std::to_string(__CUDACC_VER_MINOR__);
#endif
#if defined(__x86_64__)
    b.compiled_for = "x86-64";
#elif defined(__aarch64__)
    b.compiled_for = "aarch64";
#else
    b.compiled_for = "another architecture";
#endif
    std::string features;
#if defined(__AVX2__)
    features += " AVX2";
#elif defined(__AVX__)
    features += " AVX";
#endif
#if defined(__FMA__)
    features += " FMA";
#endif
#if defined(__AVX512F__)
    features += " AVX-512";
#endif
#if defined(__AVX512BF16__)
    features += " AVX512-BF16";
#endif
    if (!features.empty()) b.compiled_for += " +" + features;
    b.running = isa::active_level();
#if defined(INSTAR_GEMM_EIGEN)
    b.gemm_backend = "eigen";  // which keeps floats as they are
#else
    b.gemm_backend = "packed";
#endif
    b.bf16 = isa::active_bf16();
    b.cplusplus = __cplusplus;
#if defined(__OPTIMIZE__)
    b.optimized = true;
#endif
#if !defined(NDEBUG)
    b.assertions = true;
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    b.sanitized = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
    b.sanitized = true;
#endif
#endif
#if defined(INSTAR_HAVE_ZLIB)
    b.zlib = true;
#endif
#if defined(__CUDACC__)
    b.cuda = true;
#endif
#if defined(INSTAR_CUDA_EMULATED)
    b.cuda_emulated = true;
#endif
    return b;
}

}  // namespace instar

#endif
