#ifndef INSTAR_EXAMPLES_COMMON_DEVICE_HPP
#define INSTAR_EXAMPLES_COMMON_DEVICE_HPP

// Where networks run: what --device names. The choice is made here and nowhere below; each branch is an instantiation of the same source.
//
//     examples::device device({settings.device, settings.threads, settings.bf16}, "dna_barcode", "tokens, nearest neighbours");
//     device.run([&](auto& ctx) {                                          // cpu_context, or cuda_context
//         auto&& model = examples::on_device(ctx, host_model);             // the model itself, or a copy in the device's memory
//         …
//     });
//     tokenizer.encode(device.cpu(), …);                                   // what is the CPU's whatever the device
//
// A program offers cpu and, where it was built for it, cuda (INSTAR_EXAMPLES_CUDA, set by CMake) or emulated (INSTAR_CUDA_EMULATED).

#include <cstddef>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "instar/core/cpu_context.hpp"
#include "instar/core/transfer.hpp"
#include "instar/nn/parameters.hpp"

#if defined(INSTAR_EXAMPLES_CUDA) || defined(INSTAR_CUDA_EMULATED)
#define INSTAR_EXAMPLES_DEVICE 1
#include "instar/cuda/cuda_context.hpp"
#endif

namespace examples {

using instar::cpu_context;
using instar::index_t;
using instar::tensor_view;

#if defined(INSTAR_EXAMPLES_DEVICE)
using device_memory = instar::device_memory;
#else
using device_memory = instar::host_memory;  // this program has no other
#endif

/// "cuda", "emulated", or empty: what this program offers besides cpu.
inline std::string other_device() {
#if defined(INSTAR_CUDA_EMULATED)
    return "emulated";
#elif defined(INSTAR_EXAMPLES_CUDA)
    return "cuda";
#else
    return "";
#endif
}

/// What a command line says of the device.
struct device_choice {
    std::string name = "cpu";
    int threads = 0;    ///< of the CPU; 0: all cores
    bool bf16 = false;  ///< the CPU's products round their inputs to bf16
};

/// The device of a run, and the CPU beside it.
class device {
public:
    /// Says on stderr, when it is not the CPU, which device it is and what runs on the CPU all the same (`on_the_cpu`).
    /// Throws value_error for a device that this program was not built for, device_error when there is none.
    device(const device_choice& choice, const std::string& program, [[maybe_unused]] const std::string& on_the_cpu)
        : cpu_(choice.threads > 0 ? cpu_context(choice.threads) : cpu_context()), networks_(cpu_.arena()) {
        const std::string& name = choice.name;
        networks_.allow_bf16(choice.bf16);
        if (choice.bf16 && name != "cpu") throw instar::value_error("--bf16 is for products of the CPU; --device " + name + " computes in float");
        if (name == "cpu") return;
        if (name != other_device()) {
            const std::string how = name == "cuda" ? "configure with --preset cuda, or -DINSTAR_BUILD_CUDA=ON, where nvcc is found"
                                                   : "configure with -DINSTAR_EXAMPLES_EMULATED=ON and run " + program + "_emulated";
            throw instar::value_error("--device " + name + ": this program was built without it; " + how);
        }
#if defined(INSTAR_EXAMPLES_DEVICE)
        other_ = std::make_unique<instar::cuda_context>();
        std::fprintf(stderr, "%s: runs on %s (%s); on the CPU: %s\n", program.c_str(), name.c_str(), other_->properties().name.c_str(), on_the_cpu.c_str());
#endif
    }

    /// For everything but networks: never in bf16.
    cpu_context& cpu() noexcept { return cpu_; }
    bool is_cpu() const noexcept { return other_ == nullptr; }

    /// f(ctx) with the device's context. f is compiled for both.
    template <class F>
    decltype(auto) run(F&& f) {
#if defined(INSTAR_EXAMPLES_DEVICE)
        if (other_) return f(*other_);
#endif
        return f(networks_);
    }

    /// The same for what is not a network: on the CPU never in bf16.
    template <class F>
    decltype(auto) run_in_float(F&& f) {
#if defined(INSTAR_EXAMPLES_DEVICE)
        if (other_) return f(*other_);
#endif
        return f(cpu_);
    }

private:
    cpu_context cpu_, networks_;  // of one arena
#if defined(INSTAR_EXAMPLES_DEVICE)
    std::unique_ptr<instar::cuda_context> other_;
#else
    std::nullptr_t other_ = nullptr;
#endif
};

/// The model where ctx computes: itself on the CPU, else a copy in the device's memory.
template <class Model>
Model& on_device(cpu_context&, Model& model) { return model; }
template <class Context, template <class, class> class Model>
    requires(!instar::is_host_memory<typename Context::memory>)
Model<float, typename Context::memory> on_device(Context& ctx, const Model<float, instar::host_memory>& model) {
    Model<float, typename Context::memory> there(model.config());
    instar::nn::copy_parameters(ctx, there, model);
    return there;
}

/// Host copies of ranges that change on a device: what checkpoints and model folders are made of. On the CPU a range is its own copy.
template <class Context>
class host_copies {
    using memory = typename Context::memory;

public:
    explicit host_copies(Context& ctx) : ctx_(&ctx) {}

    /// Returns the copy. `here`: a model's parameters, say; without it, memory of its own.
    tensor_view<float, 1> add(tensor_view<float, 1> there, tensor_view<float, 1> here = {}) {
        if constexpr (instar::is_host_memory<memory>) {
            return there;
        } else {
            if (here.data() == nullptr) {
                own_.emplace_back(instar::tensor<float, 1>({there.extent(0)}));
                here = own_.back().view();
            }
            ranges_.emplace_back(there, here);
            return here;
        }
    }
    void to_host() const {
        for (const auto& [there, here] : ranges_) instar::transfer<instar::host_memory, memory>(*ctx_, here, there);
    }
    void to_device() const {
        for (const auto& [there, here] : ranges_) instar::transfer<memory, instar::host_memory>(*ctx_, there, here);
    }

private:
    Context* ctx_;
    std::vector<std::pair<tensor_view<float, 1>, tensor_view<float, 1>>> ranges_;
    std::vector<instar::tensor<float, 1>> own_;
};

}  // namespace examples

#endif
