#ifndef INSTAR_TESTS_SUPPORT_GRADIENT_CHECK_HPP
#define INSTAR_TESTS_SUPPORT_GRADIENT_CHECK_HPP

// Central differences in double against a hand-written backward.
//
//     auto x = test::random_tensor<double, 2>({3, 5}, 1);
//     auto dy = test::random_tensor<double, 2>({3, 5}, 2);
//     auto f = [&] { ops::softmax_forward<double>(ctx, y, x); return test::dot(y.view(), dy.view()); };
//     ops::softmax_backward<double>(ctx, dx, dy, y_of_x);
//     CHECK(test::gradient_error(x.view(), dx.view(), f) < 1e-7);
//
// f reads x through its own reference to it: the check moves one element at a time and puts it back.

#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "support/compare.hpp"

namespace instar::test {

/// Σ a · b: turns an output into a scalar whose gradient at the output is b.
template <class A, class B, int Rank>
double dot(const tensor_view<A, Rank>& a, const tensor_view<B, Rank>& b) {
    std::vector<double> values;
    for_each_element(a, [&](const A* p) { values.push_back(to_double(*p)); });
    double sum = 0.0;
    std::size_t i = 0;
    for_each_element(b, [&](const B* p) { sum += values[i++] * to_double(*p); });
    return sum;
}

/// Largest |numeric − analytic| over max(1, largest |analytic|). `argument` is moved by ±h, one element at a time; with
/// `every` > 1 only each every-th element is tried (large modules). f() → the scalar. Error of the method: h² · f'''/6.
template <class Analytic, int Rank, class F>
double gradient_error(const tensor_view<double, Rank>& argument, const tensor_view<Analytic, Rank>& analytic, F&& f, double h = 1e-5,
                      index_t every = 1) {
    if (argument.size() != analytic.size()) return std::numeric_limits<double>::infinity();
    std::vector<double*> places;
    std::vector<double> expected;
    for_each_element(argument, [&](double* p) { places.push_back(p); });
    for_each_element(analytic, [&](const double* p) { expected.push_back(*p); });
    double largest = 1.0, error = 0.0;
    for (const double e : expected) largest = std::fmax(largest, std::fabs(e));
    for (std::size_t i = 0; i < places.size(); i += static_cast<std::size_t>(every)) {
        const double kept = *places[i];
        *places[i] = kept + h;
        const double above = f();
        *places[i] = kept - h;
        const double below = f();
        *places[i] = kept;
        const double difference = std::fabs((above - below) / (2.0 * h) - expected[i]);
        if (!(difference <= error)) error = difference;  // a NaN counts as an error
        if (std::isnan(error)) return std::numeric_limits<double>::infinity();
    }
    return error / largest;
}

}  // namespace instar::test

#endif
