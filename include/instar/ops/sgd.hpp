#ifndef INSTAR_OPS_SGD_HPP
#define INSTAR_OPS_SGD_HPP

// One update of a flat range of parameters by gradient descent with momentum. The optimiser around it is optim/sgd.hpp.
//
//     ops::sgd_update(ctx, parameters, momentum, gradients, {.lr = 0.1, .momentum = 0.9});
//     ops::sgd_update(ctx, parameters, master, momentum, gradients, {.lr = 0.1, .momentum = 0.9, .step = 1});     // parameters in bf16

#include <limits>
#include <string>
#include <type_traits>

#include "instar/core/tensor_view.hpp"

namespace instar {
class cpu_context;
class cuda_context;
}  // namespace instar

namespace instar::ops {

struct sgd_options {
    double lr = 1e-3;
    double momentum = 0.0;
    double weight_decay = 0.0;  ///< added to the gradient (L2), as PyTorch does
    bool nesterov = false;
    index_t step = 1;           ///< 1 for the first update, which fills a copy in float; not read without one
};

/// PyTorch's rule (Sutskever et al. 2013), with b the running sum of gradients:
///
///     g ← g + wd·p;   b ← μ·b + g;   p ← p − lr·(nesterov ? g + μ·b : b)
///
/// b starts at zero, so the first step gives b = g.
///
/// | argument                         | shape          | element |
/// |----------------------------------|----------------|---------|
/// | parameters, momentum, gradients  | [n] contiguous | T       |
///
/// T: float or double; on a GPU float or bf16, computed in float. In bf16 an update of less than a 512th of a parameter is lost to rounding,
/// as such gradients are to the momentum; below is what loses none. None may alias another. Same bits for any number of threads. One pass: 20 bytes an
/// element of float read and written. Throws shape_error when a shape disagrees, value_error for an option out of range,
/// before anything is written.
template <class T>
void sgd_update(cpu_context& ctx, tensor_view<T, 1> parameters, out_view<T, 1> momentum, in_view<T, 1> gradients, sgd_options options);
template <class T>
void sgd_update(cuda_context& ctx, tensor_view<T, 1> parameters, out_view<T, 1> momentum, in_view<T, 1> gradients, sgd_options options);

/// The same for parameters that a model holds in bf16: the update is made on a copy in float (`master`), which bf16 could not follow, and the
/// parameters receive it rounded. The first update (options.step = 1) reads the parameters and fills the copy; later ones do not read them.
///
/// | argument               | shape          | element |
/// |------------------------|----------------|---------|
/// | parameters, gradients  | [n] contiguous | T: bf16 |
/// | master, momentum       | [n] contiguous | float   |
///
/// One pass: 20 bytes an element. Errors as above, and value_error for a step below 1. Micikevicius et al. 2018 (arXiv:1710.03740).
template <class T>
void sgd_update(cuda_context& ctx, tensor_view<T, 1> parameters, out_view<accumulator_t<T>, 1> master, out_view<accumulator_t<T>, 1> momentum,
                in_view<T, 1> gradients, sgd_options options);

namespace detail {

/// S: the type of the state, T's own or float. Without a copy in float, `master` is empty.
template <class T, class S>
void check_sgd(const tensor_view<T, 1>& parameters, const tensor_view<S, 1>& master, const tensor_view<S, 1>& momentum, const tensor_view<const T, 1>& gradients,
               const sgd_options& o) {
    static constexpr const char* k_op = "sgd_update";
    const index_t n = parameters.extent(0);
    if constexpr (!std::is_same_v<T, S>) {
        instar::detail::check_shape(k_op, "master", master, {n});
        instar::detail::check_contiguous(k_op, "master", master);
        if (o.step < 1) throw value_error(std::string(k_op) + ": options.step must be at least 1, is " + std::to_string(o.step));
    }
    instar::detail::check_shape(k_op, "momentum", momentum, {n});
    instar::detail::check_shape(k_op, "gradients", gradients, {n});
    instar::detail::check_contiguous(k_op, "parameters", parameters);
    instar::detail::check_contiguous(k_op, "momentum", momentum);
    instar::detail::check_contiguous(k_op, "gradients", gradients);
    const auto require = [](const char* name, double value) {
        if (value >= 0.0 && value < std::numeric_limits<double>::infinity()) return;
        throw value_error(std::string(k_op) + ": options." + name + " must be finite and at least 0, is " + std::to_string(value));
    };
    require("lr", o.lr);
    require("momentum", o.momentum);
    require("weight_decay", o.weight_decay);
}

}  // namespace detail

}  // namespace instar::ops

#if !defined(INSTAR_COMPILED)
#if !defined(__CUDACC__)
#include "instar/ops/cpu/sgd.hpp"
#endif
#if defined(__CUDACC__) || defined(INSTAR_CUDA_EMULATED)
#include "instar/ops/cuda/sgd.cuh"
#endif
#endif

#endif
