#ifndef INSTAR_CORE_TRANSFER_HPP
#define INSTAR_CORE_TRANSFER_HPP

// Host data for the operators of a context, and their results for the host. On the CPU nothing is copied: the views pass through.
//
//     device_input<std::int32_t, 2, Memory> ids;                      // members: they keep their memory from step to step
//     host_output<float, 1, Memory> loss;
//     auto hidden = model.forward(ctx, memory, ids(ctx, batch.ids.view()), {});
//     const auto rows = loss(ctx, device_loss);                       // rows(i) may be read here
//
// Memory is the context's: `typename Context::memory`. Both wait until the copy is done.

#include <concepts>
#include <cstddef>

#include "instar/core/tensor.hpp"

namespace instar {

/// Whether operators of a context with this memory read and write host memory. The emulator's device counts as another place, as a GPU does.
template <class Memory>
inline constexpr bool is_host_memory = std::same_as<Memory, host_memory>;

/// A copy of host data where operators can read it; on the host, the data itself. A view without data stays one.
template <class T, int Rank, class Memory = host_memory>
class device_input {
public:
    /// Valid until the next call, and no longer than `host`.
    template <class Context>
    tensor_view<const T, Rank> operator()(Context& ctx, std::type_identity_t<tensor_view<const T, Rank>> host) {
        if constexpr (is_host_memory<Memory>) {
            return host;
        } else {
            if (host.data() == nullptr || host.empty()) return host;
            const auto bytes = static_cast<std::size_t>(host.size()) * sizeof(T);
            if (bytes > block_.bytes()) {
                block_ = {};  // the old one goes before the new one comes
                block_ = memory_block<Memory>(bytes);
            }
            const tensor_view<T, Rank> there(static_cast<T*>(block_.data()), host.extents_);
            ctx.upload(there, host);
            return there;
        }
    }
    std::size_t bytes() const noexcept { return block_.bytes(); }

private:
    memory_block<Memory> block_;
};

/// A copy of an operator's result that the host can read; on the host, the result itself.
template <class T, int Rank, class Memory = host_memory>
class host_output {
public:
    /// Valid until the next call, and no longer than `device`.
    template <class Context>
    tensor_view<const T, Rank> operator()(Context& ctx, std::type_identity_t<tensor_view<const T, Rank>> device) {
        if constexpr (is_host_memory<Memory>) {
            return device;
        } else {
            if (device.data() == nullptr || device.empty()) return device;
            const auto bytes = static_cast<std::size_t>(device.size()) * sizeof(T);
            if (bytes > block_.bytes()) block_ = memory_block<host_memory>(bytes);
            const tensor_view<T, Rank> here(static_cast<T*>(block_.data()), device.extents_);
            ctx.download(here, device);
            return here;
        }
    }

private:
    memory_block<host_memory> block_;
};

/// to = from, both [n], between the host and the device of ctx, or on the host. Complete when it returns.
template <class ToMemory, class FromMemory, class Context, class T>
void transfer(Context& ctx, tensor_view<T, 1> to, in_view<T, 1> from) {
    static_assert(is_host_memory<ToMemory> || is_host_memory<FromMemory>, "transfer: one side must be the host");
    if constexpr (is_host_memory<ToMemory> && is_host_memory<FromMemory>) {
        detail::check_shape("transfer", "from", from, {to.extent(0)});
        for (index_t i = 0; i < to.extent(0); ++i) to(i) = from(i);
    } else if constexpr (is_host_memory<ToMemory>) {
        ctx.download(to, from);
    } else {
        ctx.upload(to, from);
    }
}

}  // namespace instar

#endif
