#ifndef INSTAR_CORE_ISA_HPP
#define INSTAR_CORE_ISA_HPP

// Which instruction set the CPU kernels use, found once at run time. No compiler flag is needed or exported.
//
//     instar::isa::active_level();                              // isa::level::v4 on a CPU with AVX-512
//     instar::isa::scoped_level slow(instar::isa::level::base);  // a test's override, for its scope
//
// How kernels are written and chosen: ops/cpu/simd/isa.hpp.

#include <atomic>
#include <string>

#include "instar/core/error.hpp"

#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))
#define INSTAR_SIMD_X86 1
#if defined(__linux__) && defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#else
#define INSTAR_SIMD_X86 0
#endif

namespace instar::isa {

/// v4: 64-byte vectors, AVX-512 F, BW, DQ, VL (x86-64-v4). v3: 32 bytes, AVX2 and FMA (x86-64-v3). base: 16 bytes, whatever
/// the compiler's flags allow (SSE2, NEON).
enum class level : int { base = 0, v3 = 3, v4 = 4 };

constexpr const char* level_name(level l) {
    switch (l) {
        case level::v4: return "x86-64-v4 (AVX-512)";
        case level::v3: return "x86-64-v3 (AVX2, FMA)";
        default: return "base (128-bit vectors)";
    }
}

/// The best level that the CPU and the operating system support.
inline level detect_level() {
#if INSTAR_SIMD_X86
    __builtin_cpu_init();
    const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (v4) return level::v4;
    if (v3) return level::v3;
#endif
    return level::base;
}

/// detect_level(), asked once.
inline level best_level() {
    static const level l = detect_level();
    return l;
}

/// How products in bf16 are computed (cpu_context::allow_bf16). tiles: Intel's AMX, 16 × 16 sums of 32 depths an instruction. pairs:
/// AVX512-BF16, two depths a lane. as_float: inputs are rounded all the same, then multiplied as floats.
enum class bf16_products : int { as_float = 0, pairs = 1, tiles = 2 };

constexpr const char* bf16_products_name(bf16_products p) {
    switch (p) {
        case bf16_products::tiles: return "bf16 by AMX tiles";
        case bf16_products::pairs: return "bf16 by AVX512-BF16";
        default: return "bf16 rounded";
    }
}

/// Whether this CPU can compute them so. For tiles Linux is asked to let the process use them, which it remembers.
inline bool supports(bf16_products p) {
    if (p == bf16_products::as_float) return true;
#if INSTAR_SIMD_X86
    if (best_level() != level::v4) return false;
    if (p == bf16_products::pairs) return __builtin_cpu_supports("avx512bf16");
#if defined(__linux__) && defined(__x86_64__)
    static const bool tiles = [] {
        unsigned a = 0, b = 0, c = 0, d = 0;
        if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
        constexpr unsigned k_amx_bf16 = 1u << 22, k_amx_tile = 1u << 24;
        if ((d & k_amx_bf16) == 0 || (d & k_amx_tile) == 0) return false;
        constexpr long k_request_permission = 0x1023, k_tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILE_DATA
        return syscall(SYS_arch_prctl, k_request_permission, k_tile_data) == 0;
    }();
    return tiles;
#else
    return false;
#endif
#else
    return false;
#endif
}

/// The fastest of them here. On an Intel processor products by pairs took twice as long as of floats (a Xeon with AMX, one core: 83 beside
/// 154 GFLOP/s), so on Intel's it is tiles or floats.
inline bf16_products best_bf16() {
    static const bf16_products best = [] {
        if (supports(bf16_products::tiles)) return bf16_products::tiles;
#if INSTAR_SIMD_X86
        if (supports(bf16_products::pairs) && !__builtin_cpu_is("intel")) return bf16_products::pairs;
#endif
        return bf16_products::as_float;
    }();
    return best;
}

namespace detail {

inline std::atomic<bf16_products>& bf16_in_use() {
    static std::atomic<bf16_products> use{best_bf16()};
    return use;
}
inline std::atomic<level>& active() {
    static std::atomic<level> l{best_level()};
    return l;
}

}  // namespace detail

/// The level in use: the best one, unless set_level chose another.
inline level active_level() { return detail::active().load(std::memory_order_relaxed); }

/// How products in bf16 are computed now: the best way, unless scoped_bf16 chose another; as floats below v4.
inline bf16_products active_bf16() {
    return active_level() == level::v4 ? detail::bf16_in_use().load(std::memory_order_relaxed) : bf16_products::as_float;
}

/// Has products in bf16 computed so, for a scope: a test's or a measurement's override. Throws value_error when the CPU cannot.
class scoped_bf16 {
public:
    explicit scoped_bf16(bf16_products p) {
        if (!supports(p)) throw value_error(std::string("isa::scoped_bf16: this CPU cannot compute products as ") + bf16_products_name(p));
        before_ = detail::bf16_in_use().exchange(p);
    }
    ~scoped_bf16() { detail::bf16_in_use().store(before_); }
    scoped_bf16(const scoped_bf16&) = delete;
    scoped_bf16& operator=(const scoped_bf16&) = delete;

private:
    bf16_products before_;
};

/// Whether this CPU can run a level.
inline bool supports(level l) { return static_cast<int>(l) <= static_cast<int>(best_level()); }

/// Chooses a level for the whole process, for tests and measurements. Results may differ in their last bits between levels.
/// Throws value_error when the CPU lacks it. Not while operators run in other threads.
inline void set_level(level l) {
    if (!supports(l)) {
        throw value_error(std::string("isa::set_level: this CPU supports ") + level_name(best_level()) + ", not " + level_name(l));
    }
    detail::active().store(l, std::memory_order_relaxed);
}

/// set_level for a scope.
class scoped_level {
public:
    explicit scoped_level(level l) : before_(active_level()) { set_level(l); }
    ~scoped_level() { detail::active().store(before_, std::memory_order_relaxed); }
    scoped_level(const scoped_level&) = delete;
    scoped_level& operator=(const scoped_level&) = delete;

private:
    level before_;
};

}  // namespace instar::isa

#endif
