#ifndef INSTAR_NN_PARAMETERS_HPP
#define INSTAR_NN_PARAMETERS_HPP

// How modules name their parameters and find them in one flat buffer.
//
//     parameter_layout layout;
//     linear head(layout, "classifier", {.d_in = 768, .d_out = 256});     // registers classifier.weight, classifier.bias
//     tensor<float, 1> values({layout.size()}), gradients({layout.size()});
//     initialise(layout, values.view(), philox{.seed = 1});
//     head.forward(ctx, values.view(), y, x);
//
// A module holds offsets, never memory: the same module object serves float and double, values and gradients, CPU and
// GPU. Optimisers, checkpoints and gradient norms see one contiguous range.

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "instar/core/philox.hpp"
#include "instar/core/tensor.hpp"
#include "instar/core/transfer.hpp"

namespace instar::nn {

/// How a parameter starts: zeros, ones, N(0, scale²), or U(−scale, scale).
enum class init { zeros, ones, normal, uniform };

/// Place of one parameter in the flat buffer. `T` and the device come with the buffer.
template <int Rank>
struct parameter {
    index_t offset = 0;
    index_t extents[Rank] = {};

    template <class T>
    tensor_view<T, Rank> operator()(tensor_view<T, 1> flat) const {
        return tensor_view<T, Rank>(flat.data() + offset, extents);
    }
};

/// What a file or an optimiser needs to know of one parameter.
struct parameter_info {
    std::string name;
    std::vector<index_t> shape;
    index_t offset = 0;
    index_t size = 0;
    init kind = init::zeros;
    double scale = 0.0;
    index_t zero_row = -1;  ///< this row starts and stays at zero (an embedding's padding row); −1 = none
};

/// Collects parameters while modules are constructed. Each starts at a multiple of 16 elements (64 bytes of float).
class parameter_layout {
public:
    template <int Rank>
    parameter<Rank> add(std::string name, const index_t (&extents)[Rank], init kind, double scale = 0.0, index_t zero_row = -1) {
        return add_fused<Rank>({std::move(name)}, extents, kind, scale, zero_row);
    }

    /// Several parameters of equal shape, adjacent in memory, seen by the module as one with a longer first dimension:
    /// query, key and value projections become a single product, and keep their own names in files.
    template <int Rank>
    parameter<Rank> add_fused(std::vector<std::string> names, const index_t (&extents)[Rank], init kind, double scale = 0.0,
                              index_t zero_row = -1) {
        size_ = (size_ + 15) / 16 * 16;
        parameter<Rank> p;
        p.offset = size_;
        index_t each = 1;
        for (int d = 0; d < Rank; ++d) {
            p.extents[d] = extents[d];
            each *= extents[d];
        }
        for (std::string& name : names) {
            const bool taken = std::any_of(infos_.begin(), infos_.end(), [&](const parameter_info& i) { return i.name == name; });
            if (taken) throw value_error("parameter_layout: the name " + name + " is registered twice");
            infos_.push_back({std::move(name), std::vector<index_t>(extents, extents + Rank), size_, each, kind, scale, zero_row});
            size_ += each;
        }
        p.extents[0] *= static_cast<index_t>(names.size());
        return p;
    }

    const std::vector<parameter_info>& infos() const noexcept { return infos_; }
    /// Elements of the flat buffer, alignment gaps included.
    index_t size() const noexcept { return (size_ + 15) / 16 * 16; }
    /// Elements of the parameters themselves.
    index_t count() const noexcept {
        index_t n = 0;
        for (const parameter_info& i : infos_) n += i.size;
        return n;
    }

private:
    std::vector<parameter_info> infos_;
    index_t size_ = 0;
};

/// Fills host values as each parameter asks. Depends on (seed, name, element) alone: adding a module changes no other.
template <class T>
void initialise(const parameter_layout& layout, tensor_view<T, 1> values, philox rng) {
    detail::check_shape("initialise", "values", values, {layout.size()});
    for (const parameter_info& info : layout.infos()) {
        std::uint64_t tag = 1469598103934665603ull;  // FNV-1a of the name
        for (char c : info.name) tag = (tag ^ static_cast<unsigned char>(c)) * 1099511628211ull;
        const philox own = rng.fork(tag);
        T* p = values.data() + info.offset;
        for (index_t i = 0; i < info.size; ++i) {
            const auto u = static_cast<std::uint64_t>(i);
            switch (info.kind) {
                case init::zeros: p[i] = T(0); break;
                case init::ones: p[i] = T(1); break;
                case init::normal: p[i] = static_cast<T>(static_cast<accumulator_t<T>>(info.scale * static_cast<double>(own.normal(u)))); break;
                case init::uniform: p[i] = static_cast<T>(static_cast<accumulator_t<T>>(info.scale * (2.0 * static_cast<double>(own.uniform(u)) - 1.0))); break;
            }
        }
        if (info.zero_row >= 0) {
            const index_t row = info.size / info.shape[0];
            std::fill_n(p + info.zero_row * row, row, T(0));
        }
    }
}

/// The parameters of one model, and its running statistics if it has any, into another of the same configuration: host to the device of ctx, back, or host to host.
///
///     nn::bert<float, device_memory> there(model.config());
///     nn::copy_parameters(ctx, there, model);
///
/// Complete when it returns. Throws shape_error when the numbers of parameters differ.
template <class Context, class To, class From>
    requires requires(To& to, const From& from) { to.parameters(), from.parameters(); }
void copy_parameters(Context& ctx, To& to, const From& from) {
    instar::detail::check_shape("copy_parameters", "from", from.parameters(), {to.parameters().extent(0)});
    transfer<typename To::memory, typename From::memory>(ctx, to.parameters(), from.parameters());
    if constexpr (requires { to.buffers(), from.buffers(); }) transfer<typename To::memory, typename From::memory>(ctx, to.buffers(), from.buffers());
}

}  // namespace instar::nn

#endif
