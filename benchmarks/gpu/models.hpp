#ifndef INSTAR_BENCHMARKS_GPU_MODELS_HPP
#define INSTAR_BENCHMARKS_GPU_MODELS_HPP

// What the benchmarks of whole models share: parameters from a float model on the host, and the two checks.
//
//     auto& start = gpu::initial<nn::vit<float>>("base16", config);
//     gpu::put(r.ctx, model.parameters(), start.parameters());        // rounds to the model's element
//     if (!gpu::learns(r, step, loss, guessing)) return;

#include <limits>
#include <memory>

#include "harness.hpp"

namespace instar::bench::gpu {

/// The model that works of this name start from, on the host. It is kept until one of another name is asked for: a hundred million normal
/// numbers take seconds, and a model is wanted in three precisions.
template <class Model, class Config>
Model& initial(const std::string& name, const Config& config) {
    static std::string held;
    static std::unique_ptr<Model> model;
    if (held != name || !model) {
        model.reset();
        model = std::make_unique<Model>(config, philox{.seed = 1});
        held = name;
    }
    return *model;
}

/// Elements of floats, rounded to T, to the device.
template <class T>
void put(cuda_context& ctx, tensor_view<T, 1> to, tensor_view<const float, 1> from) {
    tensor<T, 1> rounded({from.size()});
    for (index_t i = 0; i < from.size(); ++i) rounded(i) = T(from(i));
    ctx.upload(to, std::as_const(rounded).view());
}

/// What a model of many layers adds to the error of one operator in this precision.
inline double model_slack(precision p) { return p == precision::bf16 ? 10.0 : p == precision::tf32 ? 10.0 : 1.0; }

/// Steps on one batch, each returning its loss: the first is near that of guessing, and it falls. Gradients and updates are the tests' part.
template <class Step>
bool learns(run& r, Step&& step, double guessing) {
    const double first = step();
    double last = first;
    for (int i = 0; i < 4; ++i) last = step();
    return r.require(std::fabs(first - guessing) < 0.2 * guessing, "the first loss is not that of guessing") &&
           r.require(last < first, "the loss does not fall");
}
/// The same of a step that leaves its loss, in parts, on the device.
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
    return learns(r, total, guessing);
}

}  // namespace instar::bench::gpu

#endif
