#ifndef INSTAR_BENCHMARKS_GPU_MODELS_HPP
#define INSTAR_BENCHMARKS_GPU_MODELS_HPP

// What the benchmarks of whole models share: parameters from a float model on the host, and the two checks.
//
//     gpu::put(r.ctx, model.parameters(), initial.parameters());      // rounds to the model's element
//     if (!gpu::learns(r, step, loss, guessing)) return;

#include <limits>

#include "harness.hpp"

namespace instar::bench::gpu {

/// Elements of floats, rounded to T, to the device.
template <class T>
void put(cuda_context& ctx, tensor_view<T, 1> to, tensor_view<const float, 1> from) {
    tensor<T, 1> rounded({from.size()});
    for (index_t i = 0; i < from.size(); ++i) rounded(i) = T(from(i));
    ctx.upload(to, std::as_const(rounded).view());
}

/// What a model of many layers adds to the error of one operator in this precision.
inline double model_slack(precision p) { return p == precision::bf16 ? 10.0 : p == precision::tf32 ? 10.0 : 1.0; }

/// Steps on one batch: the first loss is near that of guessing, and it falls. Gradients and updates are the tests' part.
template <class Step>
bool learns(run& r, Step&& step, tensor_view<const float, 1> loss, double guessing) {
    tensor<float, 1> host({loss.size()});
    const auto total = [&] {
        step();
        r.ctx.download(host.view(), loss);
        double sum = 0.0;
        for (const float l : host) sum += static_cast<double>(l);
        return sum;
    };
    const double first = total();
    double last = first;
    for (int i = 0; i < 4; ++i) last = total();
    return r.require(std::fabs(first - guessing) < 0.2 * guessing, "the first loss is not that of guessing") &&
           r.require(last < first, "the loss does not fall");
}

}  // namespace instar::bench::gpu

#endif
