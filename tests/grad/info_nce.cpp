// The gradients of InfoNCE against central differences in double.

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/ops/info_nce.hpp"
#include "support/gradient_check.hpp"
#include "support/info_nce.hpp"

using namespace instar;

namespace {

void check(const test::info_nce_case& c, const ops::info_nce_options& options) {
    const std::string problem = c.text();
    CAPTURE(problem);
    cpu_context ctx;
    test::info_nce_problem<double> p(c);
    test::info_nce_results<double> r(c, 0.0);
    ops::info_nce_forward<double>(ctx, r.views(), p.a, p.b, p.logit_scale, p.targets());
    ops::info_nce_backward<double>(ctx, r.da, r.db, r.d_logit_scale, r.views(), p.a, p.b, p.logit_scale, p.targets(),
                                   options);
    test::info_nce_results<double> moved(c);
    const auto f = [&] {
        ops::info_nce_forward<double>(ctx, moved.views(), p.a, p.b, p.logit_scale, p.targets());
        ops::info_nce_loss<double>(ctx, moved.row_loss, moved.column_loss, moved.views(), options);
        double sum = 0.0;
        for (const double l : moved.row_loss) sum += l;
        for (const double l : moved.column_loss) sum += l;
        return sum;
    };
    CHECK(test::gradient_error(p.a.view(), r.da.view(), f) < 1e-7);
    CHECK(test::gradient_error(p.b.view(), r.db.view(), f) < 1e-7);
    CHECK(test::gradient_error(p.logit_scale.view(), r.d_logit_scale.view(), f) < 1e-7);
}

}  // namespace

TEST_CASE("info_nce has the gradients of both features and of the temperature") {
    for (const index_t n : {1, 2, 9, 22}) check({.n = n, .m = n, .d = 5}, {});
    check({.n = 8, .m = 21, .d = 4, .diagonal = 6}, {.row_weight = 0.3, .column_weight = 0.1, .mean = false});
}
TEST_CASE("info_nce has the gradients of several partners, by their mean and by their sum") {
    for (const bool normalize : {true, false}) {
        for (const bool masked : {true, false}) {
            check({.n = 20, .m = 20, .d = 4, .logit_scale = 1.0, .labelled = true, .masked = masked},
                  {.normalize_targets = normalize});
            check({.n = 11, .m = 19, .d = 4, .logit_scale = 1.0, .labelled = true, .masked = masked},
                  {.row_weight = 1.0, .column_weight = 0.0, .normalize_targets = normalize});
        }
    }
}
TEST_CASE("info_nce has the gradients of a batch with missing modalities") {
    check({.n = 19, .m = 19, .d = 4, .masked = true}, {});
}
