// Cross-entropy's gradient against central differences in double.

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/ops/cross_entropy.hpp"
#include "support/gradient_check.hpp"

using namespace instar;

TEST_CASE("cross_entropy writes the gradient of its summed loss") {
    cpu_context ctx;
    for (const index_t n_classes : {1, 2, 5, 35}) {
        for (const double smoothing : {0.0, 0.1, 1.0}) {
            for (const bool weighted : {false, true}) {
                CAPTURE(n_classes);
                CAPTURE(smoothing);
                CAPTURE(weighted);
                auto x = test::random_tensor<double, 2>({4, n_classes}, 1, -3.0, 3.0);
                const auto weights = test::random_tensor<float, 1>({weighted ? 4 : 0}, 2, 0.5, 2.0);
                tensor<std::int32_t, 1> targets({4});
                targets(1) = -1;
                targets(2) = static_cast<std::int32_t>(n_classes - 1);
                const ops::cross_entropy_options options{.denominator = 3.0, .label_smoothing = smoothing};
                tensor<double, 1> loss({4});
                tensor<double, 2> dx({4, n_classes});
                ops::softmax_cross_entropy<double>(ctx, loss, dx, x, targets.view(), weights.view(), options);
                const auto f = [&] {
                    ops::softmax_cross_entropy<double>(ctx, loss, {}, x, targets.view(), weights.view(), options);
                    double sum = 0.0;
                    for (const double l : loss) sum += l;
                    return sum;
                };
                CHECK(test::gradient_error(x.view(), dx.view(), f) < 1e-8);
            }
        }
    }
}
