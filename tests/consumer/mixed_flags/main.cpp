#include <cmath>
#include <cstdio>

#include "instar/core/cpu_context.hpp"
#include "instar/core/tensor.hpp"

instar::tensor<float, 2> plain_work(instar::cpu_context& ctx);
instar::tensor<float, 2> native_work(instar::cpu_context& ctx);

int main() {
    instar::cpu_context ctx;
    const auto a = plain_work(ctx);
    const auto b = native_work(ctx);
    double largest = 0;
    for (instar::index_t i = 0; i < a.size(); ++i) {
        largest = std::fmax(largest, std::abs(static_cast<double>(a.data()[i]) - static_cast<double>(b.data()[i])));
    }
    std::printf("largest difference between the halves: %g\n", largest);
    return largest < 1e-5 ? 0 : 1;
}
