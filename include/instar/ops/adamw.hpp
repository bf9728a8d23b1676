#ifndef INSTAR_OPS_ADAMW_HPP
#define INSTAR_OPS_ADAMW_HPP

// One AdamW update of a flat range of parameters. The optimiser around it is optim/adamw.hpp.
//
//     ops::adamw_update(ctx, parameters, m, v, gradients, {.lr = 1e-4f, .step = 1});

#include <limits>
#include <string>
#include <type_traits>

#include "instar/core/tensor_view.hpp"

namespace instar {
class cpu_context;
class cuda_context;
}  // namespace instar

namespace instar::ops {

struct adamw_options {
    double lr = 1e-3;
    double beta1 = 0.9;
    double beta2 = 0.999;
    double eps = 1e-8;
    double weight_decay = 0.0;
    index_t step = 1;           ///< 1 for the first update; the bias corrections use it
    double grad_scale = 1.0;    ///< multiplies the gradient first (clipping, averaging over micro-batches)
};

/// Decoupled weight decay (Loshchilov, Hutter 2019, arXiv:1711.05101), in PyTorch's order:
///
///     p −= lr·wd·p;  m = β₁m + (1−β₁)g;  v = β₂v + (1−β₂)g²;  p −= lr/(1−β₁ᵗ) · m / (√v/√(1−β₂ᵗ) + eps)
///
/// parameters, m, v, gradients: [n] contiguous, T float or double (CPU), float (CUDA); for bf16 see below. One pass: 28 bytes an element of float read and
/// written. Throws shape_error and value_error before anything is written.
template <class T>
void adamw_update(cpu_context& ctx, tensor_view<T, 1> parameters, out_view<T, 1> m, out_view<T, 1> v, in_view<T, 1> gradients, adamw_options options);
template <class T>
void adamw_update(cuda_context& ctx, tensor_view<T, 1> parameters, out_view<T, 1> m, out_view<T, 1> v, in_view<T, 1> gradients, adamw_options options);

/// The same for parameters that a model holds in bf16: the update is made on a copy in float (`master`), which bf16 could not follow, and the
/// parameters receive it rounded. The first update (options.step = 1) reads the parameters and fills the copy.
///
/// | argument               | shape          | element |
/// |------------------------|----------------|---------|
/// | parameters, gradients  | [n] contiguous | T: bf16 |
/// | master, m, v           | [n] contiguous | float   |
///
/// One pass: 28 bytes an element. Micikevicius et al. 2018 (arXiv:1710.03740).
template <class T>
void adamw_update(cpu_context& ctx, tensor_view<T, 1> parameters, out_view<accumulator_t<T>, 1> master, out_view<accumulator_t<T>, 1> m,
                  out_view<accumulator_t<T>, 1> v, in_view<T, 1> gradients, adamw_options options);
template <class T>
void adamw_update(cuda_context& ctx, tensor_view<T, 1> parameters, out_view<accumulator_t<T>, 1> master, out_view<accumulator_t<T>, 1> m,
                  out_view<accumulator_t<T>, 1> v, in_view<T, 1> gradients, adamw_options options);

/// Σ g², in double, over fixed ranges added in order. gradients: [n] contiguous.
template <class T>
double squared_norm(cpu_context& ctx, tensor_view<const T, 1> gradients);
template <class T>
double squared_norm(cuda_context& ctx, tensor_view<const T, 1> gradients);

namespace detail {

inline void check_adamw_options(const adamw_options& o) {
    const auto require = [](bool ok, const char* name, const char* expected, double value) {
        if (!ok) throw value_error(std::string("adamw_update: options.") + name + " must be " + expected + ", is " + std::to_string(value));
    };
    constexpr double k_infinity = std::numeric_limits<double>::infinity();
    require(o.lr >= 0.0 && o.lr < k_infinity, "lr", "finite and at least 0", o.lr);
    require(o.beta1 >= 0.0 && o.beta1 < 1.0, "beta1", "in [0, 1)", o.beta1);
    require(o.beta2 >= 0.0 && o.beta2 < 1.0, "beta2", "in [0, 1)", o.beta2);
    require(o.eps >= 0.0 && o.eps < k_infinity, "eps", "finite and at least 0", o.eps);
    require(o.weight_decay >= 0.0 && o.weight_decay < k_infinity, "weight_decay", "finite and at least 0", o.weight_decay);
    if (o.step < 1) throw value_error("adamw_update: options.step must be at least 1, is " + std::to_string(o.step));
}

/// S: the type of the state, T's own or float. Without a copy in float, `master` is empty.
template <class T, class S>
void check_adamw(const tensor_view<T, 1>& parameters, const tensor_view<S, 1>& master, const tensor_view<S, 1>& m, const tensor_view<S, 1>& v,
                 const tensor_view<const T, 1>& gradients, const adamw_options& options) {
    static constexpr const char* k_op = "adamw_update";
    const index_t n = parameters.extent(0);
    const auto state = [&](const char* name, const tensor_view<S, 1>& x) {
        instar::detail::check_shape(k_op, name, x, {n});
        instar::detail::check_contiguous(k_op, name, x);
    };
    if constexpr (!std::is_same_v<T, S>) state("master", master);
    state("m", m);
    state("v", v);
    instar::detail::check_shape(k_op, "gradients", gradients, {n});
    instar::detail::check_contiguous(k_op, "parameters", parameters);
    instar::detail::check_contiguous(k_op, "gradients", gradients);
    check_adamw_options(options);
}

}  // namespace detail

}  // namespace instar::ops

#if !defined(INSTAR_COMPILED)
#if !defined(__CUDACC__)
#include "instar/ops/cpu/adamw.hpp"
#endif
#if defined(__CUDACC__) || defined(INSTAR_CUDA_EMULATED)
#include "instar/ops/cuda/adamw.cuh"
#endif
#endif

#endif
