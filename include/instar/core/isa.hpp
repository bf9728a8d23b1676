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

/// Whether the processor multiplies pairs of bf16 (AVX512-BF16).
inline bool detect_bf16() {
#if INSTAR_SIMD_X86
    __builtin_cpu_init();
    return detect_level() == level::v4 && __builtin_cpu_supports("avx512bf16");
#else
    return false;
#endif
}

namespace detail {

inline std::atomic<bool>& bf16_in_use() {
    static std::atomic<bool> use{detect_bf16()};
    return use;
}
inline std::atomic<level>& active() {
    static std::atomic<level> l{best_level()};
    return l;
}

}  // namespace detail

/// The level in use: the best one, unless set_level chose another.
inline level active_level() { return detail::active().load(std::memory_order_relaxed); }

/// Whether products in bf16 use the processor's instructions for it: at v4, where it has them.
inline bool native_bf16() { return active_level() == level::v4 && detail::bf16_in_use().load(std::memory_order_relaxed); }

/// Has products in bf16 multiply as floats, for a scope: a test's or a measurement's override.
class scoped_no_native_bf16 {
public:
    scoped_no_native_bf16() : before_(detail::bf16_in_use().exchange(false)) {}
    ~scoped_no_native_bf16() { detail::bf16_in_use().store(before_); }
    scoped_no_native_bf16(const scoped_no_native_bf16&) = delete;
    scoped_no_native_bf16& operator=(const scoped_no_native_bf16&) = delete;

private:
    bool before_;
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
