#ifndef INSTAR_CUDA_CUDA_CONTEXT_HPP
#define INSTAR_CUDA_CUDA_CONTEXT_HPP

// Where GPU work runs. The first argument of every operator.
//
//     instar::cuda_context ctx;                            // device 0, a stream of its own
//     instar::cuda_context on_mine(1, my_stream);          // the caller's stream; it must outlive the context
//     instar::tensor<float, 2, instar::device_memory> x({64, 768});
//     ctx.upload(x.view(), host_x.view());
//     ops::gelu_forward(ctx, y, x);                        // queued; returns at once
//     ctx.download(host_y.view(), y.view());               // waits: host_y is complete
//     ctx.upload_async(x.view(), pinned_x.view());         // does not wait: pinned_x must stay as it is until synchronize()
//
// Compiles with a plain host compiler when the CUDA toolkit's headers are there. With INSTAR_CUDA_EMULATED the class runs
// kernels on the host (cuda/emulator), and device memory is host memory; every file of a program must agree on that macro.
// A context may be used by one thread at a time.

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <string>

#include "instar/core/tensor.hpp"
#include "instar/cuda/grid.hpp"
#include "instar/cuda/memory.hpp"

#if defined(INSTAR_CUDA_EMULATED)
#include "instar/cuda/emulator/block_runner.hpp"
#else
#include "instar/cuda/blas.hpp"
#include "instar/cuda/runtime.hpp"
#endif

namespace instar {

namespace cuda {

class graph;

/// What launchers ask of a device, read once.
struct device_properties {
    std::string name;
    int compute_major = 0;
    int compute_minor = 0;
    int n_multiprocessors = 0;
    std::size_t shared_bytes_per_block = 0;  ///< the largest that a kernel may opt in to
    std::size_t memory_bytes = 0;
};

/// Checks that a copy's views agree and can be copied as rows: contiguous, or of rank 2 with strided rows.
template <class D, class S, int Rank>
void check_copy(const char* op, const tensor_view<D, Rank>& to, const tensor_view<S, Rank>& from) {
    instar::detail::check_shape(op, "from", from, to.extents_);
    if constexpr (Rank == 2) {
        instar::detail::check_unit_stride(op, "to", to);
        instar::detail::check_unit_stride(op, "from", from);
    } else {
        instar::detail::check_contiguous(op, "to", to);
        instar::detail::check_contiguous(op, "from", from);
    }
}

/// Rows, bytes a row, and the distances between rows.
struct copy_plan {
    std::size_t rows, row_bytes, to_pitch, from_pitch;

    template <class D, class S, int Rank>
    copy_plan(const tensor_view<D, Rank>& to, const tensor_view<S, Rank>& from)
        : rows(1), row_bytes(static_cast<std::size_t>(to.size()) * sizeof(D)), to_pitch(row_bytes), from_pitch(row_bytes) {
        if (Rank == 2 && !(to.contiguous() && from.contiguous())) {
            rows = static_cast<std::size_t>(to.extent(0));
            row_bytes = static_cast<std::size_t>(to.extent(Rank - 1)) * sizeof(D);
            to_pitch = static_cast<std::size_t>(to.stride(0)) * sizeof(D);
            from_pitch = static_cast<std::size_t>(from.stride(0)) * sizeof(D);
        }
    }
};

/// Kernels use what came with compute capability 8.0: bf16, mma.sync on it, cp.async.
inline void check_capability(const device_properties& p) {
    if (p.compute_major >= 8) return;
    throw device_error("cuda_context: " + p.name + " has compute capability " + std::to_string(p.compute_major) + "." +
                       std::to_string(p.compute_minor) + ", expected at least 8.0");
}

[[noreturn]] inline void throw_wrong_memory(const char* op, int device, const std::string& found) {
    throw device_error(std::string(op) + ": an argument lies in " + found + ", expected memory of device " + std::to_string(device));
}
[[noreturn]] inline void throw_not_pinned(const char* op) {
    throw value_error(std::string(op) + ": the host memory is not pinned (instar::pinned_memory)");
}
inline void check_may_wait(const char* op, bool capturing) {
    if (capturing) throw device_error(std::string(op) + ": waits for the device, which a graph that is captured cannot");
}

}  // namespace cuda

#if defined(INSTAR_CUDA_EMULATED)

/// The emulator's context. Same interface as the real one; what is queued there has happened here.
class cuda_context {
public:
    using memory = device_memory;

    explicit cuda_context(int device = 0, cuda::emulator::options options = {})
        : options_(options), runner_(std::make_unique<cuda::emulator::block_runner>(options)) {
        if (device != 0) throw device_error("cuda_context: device " + std::to_string(device) + ", the emulator has one, 0");
        properties_ = {.name = "instar emulator", .compute_major = options.compute_major, .compute_minor = options.compute_minor,
                       .n_multiprocessors = 4, .shared_bytes_per_block = 163 << 10, .memory_bytes = options.memory_bytes};
        cuda::check_capability(properties_);
    }

    int device() const noexcept { return 0; }
    const cuda::device_properties& properties() const noexcept { return properties_; }
    cuda::emulator::block_runner& emulator() noexcept { return *runner_; }
    void activate() const noexcept {}
    void synchronize() { cuda::check_may_wait("cuda_context.synchronize", cuda::emulator::graph_running); }
    void allow_tf32(bool) noexcept {}
    void check_memory(bool check) noexcept { options_.check_memory = check; }
    void check_on_device(const char* op, const void* p) const {
        if (!options_.check_memory || p == nullptr || cuda::emulator::device_heap::holds(p, cuda::emulator::memory_kind::device)) return;
        cuda::throw_wrong_memory(op, 0, "host memory");
    }

    /// Memory for an operator's temporaries, filled with NaN bits: whoever reads what was never written shows it.
    void* allocate(std::size_t bytes, const char* op) {
        if (bytes == 0) return nullptr;
        const std::size_t free = options_.memory_bytes - allocated_bytes_;
        if (++n_allocations_ == options_.fail_allocation) cuda::throw_out_of_memory(op, bytes, 0, options_.memory_bytes);
        if (bytes > free) cuda::throw_out_of_memory(op, bytes, free, options_.memory_bytes);
        void* const p = host_memory::allocate(bytes);
        std::memset(p, 0xff, bytes);
        cuda::emulator::device_heap::add(p, bytes, cuda::emulator::memory_kind::device);
        temporaries_[p] = bytes;
        allocated_bytes_ += bytes;
        return p;
    }
    void deallocate(void* p) noexcept {
        const auto place = temporaries_.find(p);
        if (place == temporaries_.end()) return;
        allocated_bytes_ -= place->second;
        temporaries_.erase(place);
        cuda::emulator::device_heap::remove(p);
        host_memory::deallocate(p, 0);
    }
    /// Temporaries that were taken and not given back.
    std::size_t n_temporaries() const noexcept { return temporaries_.size(); }

    template <class T, int Rank>
    void upload(const tensor_view<T, Rank>& to, const in_view<T, Rank>& from) {
        cuda::check_may_wait("cuda_context.upload", cuda::emulator::graph_running);
        copy("cuda_context.upload", to, from);
    }
    template <class T, int Rank>
    void download(const tensor_view<T, Rank>& to, const in_view<T, Rank>& from) {
        cuda::check_may_wait("cuda_context.download", cuda::emulator::graph_running);
        copy("cuda_context.download", to, from);
    }
    template <class T, int Rank>
    void upload_async(const tensor_view<T, Rank>& to, const in_view<T, Rank>& from) {
        static constexpr const char* k_op = "cuda_context.upload_async";
        if (from.size() != 0) check_pinned(k_op, from.data());
        copy(k_op, to, from);
    }
    template <class T, int Rank>
    void download_async(const tensor_view<T, Rank>& to, const in_view<T, Rank>& from) {
        static constexpr const char* k_op = "cuda_context.download_async";
        if (to.size() != 0) check_pinned(k_op, to.data());
        copy(k_op, to, from);
    }

private:
    static void check_pinned(const char* op, const void* p) {
        if (!cuda::emulator::device_heap::holds(p, cuda::emulator::memory_kind::pinned)) cuda::throw_not_pinned(op);
    }
    template <class T, int Rank>
    static void copy(const char* op, const tensor_view<T, Rank>& to, const tensor_view<const T, Rank>& from) {
        cuda::check_copy(op, to, from);
        const cuda::copy_plan plan(to, from);
        if (plan.row_bytes == 0) return;
        for (std::size_t r = 0; r < plan.rows; ++r) {
            std::memcpy(reinterpret_cast<std::byte*>(to.data()) + r * plan.to_pitch,
                        reinterpret_cast<const std::byte*>(from.data()) + r * plan.from_pitch, plan.row_bytes);
        }
    }
    cuda::emulator::options options_;
    std::unique_ptr<cuda::emulator::block_runner> runner_;
    cuda::device_properties properties_;
    std::map<void*, std::size_t> temporaries_;
    std::size_t allocated_bytes_ = 0;
    int n_allocations_ = 0;
};

#elif defined(INSTAR_CUDA_HEADERS)

/// Execution context of one CUDA device: a stream, a memory pool for temporaries, and cuBLASLt with its plans.
class cuda_context {
public:
    using memory = device_memory;

    /// Throws device_error when there is no driver, no such device, or one whose compute capability is below 8.0.
    explicit cuda_context(int device = 0) : cuda_context(device, nullptr, true) {}
    /// Work goes to the caller's stream, which belongs to `device`.
    cuda_context(int device, cudaStream_t stream) : cuda_context(device, stream, false) {}
    cuda_context(const cuda_context&) = delete;
    cuda_context& operator=(const cuda_context&) = delete;
    ~cuda_context() {
        (void)cudaSetDevice(device_);
        blas_.reset();
        if (workspace_ != nullptr) (void)cudaFreeAsync(workspace_, stream_);
        (void)cudaStreamSynchronize(stream_);
        (void)cudaMemPoolDestroy(pool_);
        if (owns_stream_) (void)cudaStreamDestroy(stream_);
    }

    int device() const noexcept { return device_; }
    cudaStream_t stream() const noexcept { return stream_; }
    const cuda::device_properties& properties() const noexcept { return properties_; }

    /// Makes the device current on this thread; every operator does so first.
    void activate() const { cuda::check(cudaSetDevice(device_), "cuda_context", "cudaSetDevice"); }
    /// Waits for all that was queued, and reports what went wrong in it.
    void synchronize() {
        cuda::check_may_wait("cuda_context.synchronize", capturing_);
        cuda::check(cudaStreamSynchronize(stream_), "cuda_context.synchronize", "cudaStreamSynchronize");
    }

    /// Lets float products use TF32 tensor cores: about 1e-3 relative error instead of 1e-7, and several times the speed.
    void allow_tf32(bool allow) noexcept { blas_->allow_tf32(allow); }

    /// Whether operators refuse arguments that are not memory of this device, with device_error, before they queue anything. On
    /// by default: the driver is asked about each pointer. Without it such
    /// an argument is an illegal access that ends the process's use of the device, or, where the device reads host memory,
    /// slow work that nobody notices.
    void check_memory(bool check) noexcept { check_memory_ = check; }
    void check_on_device(const char* op, const void* p) const {
        if (!check_memory_ || capturing_ || p == nullptr) return;
        cudaPointerAttributes found{};
        cuda::check(cudaPointerGetAttributes(&found, p), op, "cudaPointerGetAttributes");
        if (found.type == cudaMemoryTypeManaged || (found.type == cudaMemoryTypeDevice && found.device == device_)) return;
        cuda::throw_wrong_memory(op, device_, found.type == cudaMemoryTypeDevice ? "memory of device " + std::to_string(found.device) : "host memory");
    }

    /// Stream-ordered memory for an operator's temporaries: the pool keeps it, so a step in steady state allocates nothing.
    void* allocate(std::size_t bytes, const char* op) {
        if (bytes == 0) return nullptr;
        void* p = nullptr;
        const cudaError_t status = cudaMallocFromPoolAsync(&p, bytes, pool_, stream_);
        if (status == cudaErrorMemoryAllocation) {
            (void)cudaGetLastError();
            std::size_t free = 0, total = 0;
            (void)cudaMemGetInfo(&free, &total);
            cuda::throw_out_of_memory(op, bytes, free, total);
        }
        cuda::check(status, op, "cudaMallocFromPoolAsync");
        return p;
    }
    void deallocate(void* p) noexcept {
        if (p != nullptr) (void)cudaFreeAsync(p, stream_);
    }

    /// Copies host memory to the device. The host memory may be reused when this returns.
    template <class T, int Rank>
    void upload(const tensor_view<T, Rank>& to, const in_view<T, Rank>& from) {
        copy("cuda_context.upload", to, from, cudaMemcpyHostToDevice, true);
    }
    /// Copies device memory to the host, after all that was queued before. The data is there when this returns.
    template <class T, int Rank>
    void download(const tensor_view<T, Rank>& to, const in_view<T, Rank>& from) {
        copy("cuda_context.download", to, from, cudaMemcpyDeviceToHost, true);
    }
    /// Queues a copy from pinned memory and returns. `from` must be neither changed nor freed until synchronize() has returned, or
    /// a cuda::event recorded after this call has been waited for; what is queued later on this context sees the copy.
    /// Throws value_error when `from` is not pinned.
    template <class T, int Rank>
    void upload_async(const tensor_view<T, Rank>& to, const in_view<T, Rank>& from) {
        static constexpr const char* k_op = "cuda_context.upload_async";
        if (from.size() != 0) check_pinned(k_op, from.data());
        copy(k_op, to, from, cudaMemcpyHostToDevice, false);
    }
    /// Queues a copy to pinned memory and returns. `to` may be neither read, changed nor freed until then. Errors as upload_async.
    template <class T, int Rank>
    void download_async(const tensor_view<T, Rank>& to, const in_view<T, Rank>& from) {
        static constexpr const char* k_op = "cuda_context.download_async";
        if (to.size() != 0) check_pinned(k_op, to.data());
        copy(k_op, to, from, cudaMemcpyDeviceToHost, false);
    }

    cuda::blas& blas() noexcept { return *blas_; }

private:
    friend class cuda::graph;  // sets capturing_

    cuda_context(int device, cudaStream_t stream, bool own) : device_(device), stream_(stream), owns_stream_(own) {
        int n_devices = 0;
        const cudaError_t status = cudaGetDeviceCount(&n_devices);
        if (status != cudaSuccess) (void)cudaGetLastError();
        if (status != cudaErrorNoDevice && status != cudaErrorInsufficientDriver) cuda::check(status, "cuda_context", "cudaGetDeviceCount");
        if (device < 0 || device >= n_devices) {
            throw device_error("cuda_context: device " + std::to_string(device) + " of " + std::to_string(n_devices) +
                               (status == cudaErrorInsufficientDriver ? " (no usable driver)" : status == cudaErrorNoDevice ? " (no device)" : ""));
        }
        activate();
        read_properties();
        cuda::check_capability(properties_);
        if (own) cuda::check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cuda_context", "cudaStreamCreateWithFlags");
        try {
            make_pool();
            blas_ = std::make_unique<cuda::blas>();
            const std::size_t bytes = properties_.compute_major >= 9 ? std::size_t{32} << 20 : std::size_t{4} << 20;
            workspace_ = allocate(bytes, "cuda_context");
            blas_->set_workspace(workspace_, bytes);
        } catch (...) {
            if (pool_ != nullptr) (void)cudaMemPoolDestroy(pool_);
            if (owns_stream_) (void)cudaStreamDestroy(stream_);
            throw;
        }
    }
    void read_properties() {
        cudaDeviceProp p{};
        cuda::check(cudaGetDeviceProperties(&p, device_), "cuda_context", "cudaGetDeviceProperties");
        properties_ = {.name = p.name, .compute_major = p.major, .compute_minor = p.minor, .n_multiprocessors = p.multiProcessorCount,
                       .shared_bytes_per_block = p.sharedMemPerBlockOptin, .memory_bytes = p.totalGlobalMem};
    }
    void make_pool() {
        cudaMemPoolProps props{};
        props.allocType = cudaMemAllocationTypePinned;
        props.location.type = cudaMemLocationTypeDevice;
        props.location.id = device_;
        cuda::check(cudaMemPoolCreate(&pool_, &props), "cuda_context", "cudaMemPoolCreate");
        // Without this the pool gives everything back at each synchronisation.
        std::uint64_t keep = ~std::uint64_t{0};
        cuda::check(cudaMemPoolSetAttribute(pool_, cudaMemPoolAttrReleaseThreshold, &keep), "cuda_context", "cudaMemPoolSetAttribute");
    }
    template <class T, int Rank>
    void copy(const char* op, const tensor_view<T, Rank>& to, const tensor_view<const T, Rank>& from, cudaMemcpyKind kind, bool wait) {
        cuda::check_copy(op, to, from);
        cuda::check_may_wait(op, capturing_ && wait);
        const cuda::copy_plan plan(to, from);
        if (plan.row_bytes == 0 || plan.rows == 0) return;
        activate();
        if (plan.rows == 1) {  // a pitch is limited to 2 GiB, a plain copy is not
            cuda::check(cudaMemcpyAsync(to.data(), from.data(), plan.row_bytes, kind, stream_), op, "cudaMemcpyAsync");
        } else {
            cuda::check(cudaMemcpy2DAsync(to.data(), plan.to_pitch, from.data(), plan.from_pitch, plan.row_bytes, plan.rows, kind, stream_), op,
                        "cudaMemcpy2DAsync");
        }
        if (wait) cuda::check(cudaStreamSynchronize(stream_), op, "cudaStreamSynchronize");
    }
    static void check_pinned(const char* op, const void* p) {
        cudaPointerAttributes found{};
        cuda::check(cudaPointerGetAttributes(&found, p), op, "cudaPointerGetAttributes");
        if (found.type != cudaMemoryTypeHost) cuda::throw_not_pinned(op);
    }

    int device_;
    cudaStream_t stream_;
    bool owns_stream_;
    cuda::device_properties properties_;
    cudaMemPool_t pool_ = nullptr;
    void* workspace_ = nullptr;
    std::unique_ptr<cuda::blas> blas_;
    bool check_memory_ = true;
    bool capturing_ = false;
};

#endif

#if defined(INSTAR_CUDA_EMULATED) || defined(INSTAR_CUDA_HEADERS)

namespace cuda {

/// Refuses a kernel's argument that is a pointer or a view of memory elsewhere; other arguments pass.
template <class T>
void check_argument(const cuda_context&, const char*, const T&) {}
template <class T>
void check_argument(const cuda_context& ctx, const char* op, T* const& p) {
    ctx.check_on_device(op, p);
}
template <class T, int Rank>
void check_argument(const cuda_context& ctx, const char* op, const tensor_view<T, Rank>& v) {
    if (v.size() != 0) ctx.check_on_device(op, v.data());
}

/// An operator's temporary array: taken from the context's pool, given back when the launcher returns (in stream order, so
/// the kernels just queued may still use it).
template <class T>
class scratch {
public:
    scratch(cuda_context& ctx, index_t n, const char* op)
        : ctx_(ctx), data_(static_cast<T*>(ctx.allocate(static_cast<std::size_t>(n) * sizeof(T), op))) {}
    scratch(const scratch&) = delete;
    scratch& operator=(const scratch&) = delete;
    ~scratch() { ctx_.deallocate(data_); }
    T* data() const noexcept { return data_; }

private:
    cuda_context& ctx_;
    T* data_;
};

}  // namespace cuda

#endif

}  // namespace instar

#endif
