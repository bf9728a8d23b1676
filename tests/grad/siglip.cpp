// The gradients of the sigmoid loss against central differences in double.

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/ops/siglip.hpp"
#include "support/gradient_check.hpp"
#include "support/info_nce.hpp"

using namespace instar;

TEST_CASE("siglip has the gradients of its features, its temperature and its bias") {
    cpu_context ctx;
    for (const test::info_nce_case& c : {test::info_nce_case{.n = 1, .m = 1, .d = 3},
                                         {.n = 13, .m = 13, .d = 4},
                                         {.n = 8, .m = 15, .d = 4, .diagonal = 5},
                                         {.n = 16, .m = 16, .d = 4, .labelled = true, .masked = true}}) {
        const std::string problem = c.text();
        CAPTURE(problem);
        test::info_nce_problem<double> p(c);
        test::info_nce_results<double> r(c, 0.0);
        tensor<double, 1> bias({1}), d_bias({1}), loss({c.n});
        bias(0) = -1.5;
        ops::siglip<double>(ctx, loss, r.da, r.db, r.d_logit_scale, d_bias, p.a, p.b, p.logit_scale, bias, p.targets(),
                            {.weight = 0.7});
        const auto f = [&] {
            ops::siglip<double>(ctx, loss, {}, {}, {}, {}, p.a, p.b, p.logit_scale, bias, p.targets(), {.weight = 0.7});
            double sum = 0.0;
            for (const double l : loss) sum += l;
            return sum;
        };
        CHECK(test::gradient_error(p.a.view(), r.da.view(), f) < 1e-7);
        CHECK(test::gradient_error(p.b.view(), r.db.view(), f) < 1e-7);
        CHECK(test::gradient_error(p.logit_scale.view(), r.d_logit_scale.view(), f) < 1e-7);
        CHECK(test::gradient_error(bias.view(), d_bias.view(), f) < 1e-7);
    }
}
