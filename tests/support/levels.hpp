#ifndef INSTAR_TESTS_SUPPORT_LEVELS_HPP
#define INSTAR_TESTS_SUPPORT_LEVELS_HPP

// Runs a check once with each instruction set that this CPU has.
//
//     TEST_CASE("softmax …") { test::for_each_level([] { check_softmax<float>(1e-11); }); }

#include <string>

#include <doctest/doctest.h>

#include "instar/ops/cpu/simd/isa.hpp"

namespace instar::test {

template <class F>
void for_each_level(F&& f) {
    namespace simd = ops::cpu::simd;
    for (const simd::level l : {simd::level::v4, simd::level::v3, simd::level::base}) {
        if (!simd::supports(l)) continue;
        const simd::scoped_level scope(l);
        const std::string instruction_set = simd::level_name(l);
        CAPTURE(instruction_set);
        f();
    }
}

}  // namespace instar::test

#endif
