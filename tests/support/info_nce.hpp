#ifndef INSTAR_TESTS_SUPPORT_INFO_NCE_HPP
#define INSTAR_TESTS_SUPPORT_INFO_NCE_HPP

// Problems for tests of the contrastive losses: unit rows, labels with repetitions and gaps, masks.
//
//     test::info_nce_problem<float> p({.n = 40, .m = 40, .d = 16, .labelled = true});
//     ops::info_nce_forward<float>(ctx, saved, p.a, p.b, p.logit_scale, p.targets());

#include <cmath>
#include <string>

#include "instar/ops/info_nce.hpp"
#include "support/compare.hpp"

namespace instar::test {

struct info_nce_case {
    index_t n, m, d;
    double logit_scale = 2.6592600;  ///< log(1 / 0.07), where CLIP begins
    index_t diagonal = 0;
    bool labelled = false, masked = false;

    std::string text() const {
        return std::to_string(n) + " x " + std::to_string(m) + " x " + std::to_string(d) +
               (labelled ? ", labelled" : "") + (masked ? ", masked" : "") + ", diagonal " + std::to_string(diagonal);
    }
};

template <class T>
struct info_nce_problem {
    using A = accumulator_t<T>;
    info_nce_case c;
    tensor<T, 2> a, b;
    tensor<A, 1> logit_scale;
    tensor<std::int32_t, 1> row_labels, column_labels;
    tensor<std::uint8_t, 1> row_mask, column_mask;

    explicit info_nce_problem(const info_nce_case& from)
        : c(from),
          a(rows(c.n, c.d, 1)),
          b(rows(c.m, c.d, 2)),
          logit_scale({1}) {
        logit_scale(0) = static_cast<A>(c.logit_scale);
        const philox rng{.seed = 3};
        if (c.labelled) {
            const auto n_labels = static_cast<std::uint32_t>(c.n / 3 + 1);
            row_labels = tensor<std::int32_t, 1>({c.n});
            column_labels = tensor<std::int32_t, 1>({c.m});
            for (index_t i = 0; i < c.n; ++i)
                row_labels(i) = static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(i), n_labels + 1)) - 1;
            // Mostly the same samples as the rows; −1 meets −1, which must not count.
            for (index_t j = 0; j < c.m; ++j) {
                column_labels(j) =
                    j < c.n && j % 5 != 4
                        ? row_labels(j)
                        : static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(j) + 99999, n_labels + 1)) - 1;
            }
        }
        if (c.masked) {
            row_mask = tensor<std::uint8_t, 1>({c.n});
            column_mask = tensor<std::uint8_t, 1>({c.m});
            for (index_t i = 0; i < c.n; ++i) row_mask(i) = i % 4 != 1;
            for (index_t j = 0; j < c.m; ++j) column_mask(j) = j % 7 != 2 ? 255 : 0;
        }
    }
    static tensor<T, 2> rows(index_t n, index_t d, std::uint64_t seed) {
        tensor<double, 2> x = random_tensor<double, 2>({n, d}, seed);
        tensor<T, 2> unit({n, d});
        for (index_t i = 0; i < n; ++i) {
            // A common part, so that similarities are not all near 0.
            double norm = 0.0;
            for (index_t k = 0; k < d; ++k) {
                x(i, k) += 0.3 + 0.8 * std::sin(static_cast<double>((i + 1) * (k + 2)));
                norm += x(i, k) * x(i, k);
            }
            for (index_t k = 0; k < d; ++k) {
                const double v = x(i, k) / std::sqrt(norm);
                if constexpr (std::is_same_v<T, bf16>) unit(i, k) = bf16(static_cast<float>(v));
                else unit(i, k) = static_cast<T>(v);
            }
        }
        return unit;
    }
    /// The same numbers in double: the reference keeps its statistics exact there.
    info_nce_problem<double> in_double() const {
        info_nce_problem<double> p(c);
        const auto copy = [](auto& to, const auto& from) {
            for (index_t i = 0; i < to.size(); ++i) to.data()[i] = to_double(from.data()[i]);
        };
        copy(p.a, a);
        copy(p.b, b);
        copy(p.logit_scale, logit_scale);
        return p;
    }
    ops::info_nce_targets targets() const {
        return {.diagonal = c.diagonal,
                .row_labels = row_labels.view(),
                .column_labels = column_labels.view(),
                .row_mask = row_mask.view(),
                .column_mask = column_mask.view()};
    }
};

/// Everything that the three functions write.
template <class T>
struct info_nce_results {
    using A = accumulator_t<T>;
    index_t n, m;
    tensor<A, 1> saved, row_loss, column_loss, d_logit_scale;
    tensor<T, 2> da, db;

    /// Gradients accumulate: they start from something that every type holds exactly.
    explicit info_nce_results(const info_nce_case& c, double start = 0x1.0p-7)
        : n(c.n),
          m(c.m),
          saved({ops::info_nce_saved<A>::size(c.n, c.m)}),
          row_loss({c.n}),
          column_loss({c.m}),
          d_logit_scale({1}),
          da({c.n, c.d}),
          db({c.m, c.d}) {
        d_logit_scale(0) = static_cast<A>(start);
        for (T& x : da) x = T(static_cast<A>(start));
        for (T& x : db) x = T(static_cast<A>(-start));
    }
    ops::info_nce_saved<A> views() { return {saved.view(), n, m}; }
};

}  // namespace instar::test

#endif
