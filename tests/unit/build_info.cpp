// build_info and the choice of an instruction set.

#include <doctest/doctest.h>

#include "instar/core/build_info.hpp"
#include "support/compare.hpp"

using namespace instar;

TEST_CASE("build_info: names what was compiled and what runs") {
    const build_information b = build_info();
    CHECK(b.version == std::to_string(INSTAR_VERSION / 10000) + "." + std::to_string(INSTAR_VERSION / 100 % 100) + "." + std::to_string(INSTAR_VERSION % 100));
    CHECK(b.running == isa::active_level());
    CHECK(b.bf16 == isa::active_bf16());
    CHECK(b.cplusplus >= 202002L);
#if defined(__clang__)
    CHECK(b.compiler.rfind("Clang " + std::to_string(__clang_major__) + ".", 0) == 0);
#elif defined(__GNUC__)
    CHECK(b.compiler.rfind("GNU " + std::to_string(__GNUC__) + ".", 0) == 0);
#endif
#if defined(INSTAR_HAVE_ZLIB)
    CHECK(b.zlib);
#else
    CHECK_FALSE(b.zlib);
#endif
#if defined(__AVX512F__)
    CHECK(b.compiled_for.find("AVX-512") != std::string::npos);
    CHECK(b.running == isa::level::v4);  // or this would not run
#else
    CHECK(b.compiled_for.find("AVX-512") == std::string::npos);
#endif
    const std::string text = b.text();
    CHECK(text.find('\n') == std::string::npos);
    for (const std::string& part : {b.version, b.compiler, b.compiled_for, b.gemm_backend, std::string(isa::level_name(b.running))}) {
        CAPTURE(part);
        CHECK(text.find(part) != std::string::npos);
    }
    MESSAGE(text);
}

TEST_CASE("build_info: follows a level that was chosen, and the choice ends with its scope") {
    const isa::level before = isa::active_level();
    {
        const isa::scoped_level scope(isa::level::base);
        CHECK(build_info().running == isa::level::base);
    }
    CHECK(build_info().running == before);
    CHECK(isa::supports(isa::best_level()));
    CHECK(isa::supports(isa::level::base));
}

TEST_CASE("build_info: a level that the CPU lacks is refused") {
    if (isa::supports(isa::level::v4)) {
        MESSAGE("this CPU has every level: nothing to refuse");
        return;
    }
    CHECK(test::error_text<value_error>([] { isa::set_level(isa::level::v4); }).find("isa::set_level: this CPU supports ") == 0);
}
