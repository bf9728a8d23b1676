// The gradient of the supervised contrastive loss against central differences in double.

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/ops/sup_con.hpp"
#include "support/gradient_check.hpp"

using namespace instar;

TEST_CASE("sup_con adds the gradient of its summed loss") {
    cpu_context ctx;
    for (const index_t n : {1, 2, 9, 23}) {
        CAPTURE(n);
        auto z = test::random_tensor<double, 2>({n, 5}, 1);
        tensor<std::int32_t, 1> labels({n});
        for (index_t i = 0; i < n; ++i) labels(i) = static_cast<std::int32_t>(i * i % 4) - (i == 5);
        const ops::sup_con_options options{.temperature = 0.7, .denominator = 3.0};
        tensor<double, 1> loss({n});
        tensor<double, 2> dz({n, 5}), unused({n, 5});
        ops::sup_con<double>(ctx, loss, dz, z, labels.view(), options);
        const auto f = [&] {
            ops::sup_con<double>(ctx, loss, unused, z, labels.view(), options);
            double sum = 0.0;
            for (const double l : loss) sum += l;
            return sum;
        };
        CHECK(test::gradient_error(z.view(), dz.view(), f) < 1e-7);
    }
}
