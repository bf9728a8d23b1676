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
//
// Compiles with a plain host compiler when the CUDA toolkit's headers are there. With INSTAR_CUDA_EMULATED the class runs
// kernels on the host (cuda/emulator), and device memory is host memory; every file of a program must agree on that macro.
// A context may be used by one thread at a time.

#include <algorithm>
#include <cstring>
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

}  // namespace cuda

#if defined(INSTAR_CUDA_EMULATED)

/// The emulator's context. Same interface as the real one; what is queued there has happened here.
class cuda_context {
public:
    using memory = device_memory;

    explicit cuda_context(int device = 0, cuda::emulator::options options = {}) : runner_(std::make_unique<cuda::emulator::block_runner>(options)) {
        if (device != 0) throw device_error("cuda_context: device " + std::to_string(device) + ", the emulator has one, 0");
        properties_ = {.name = "instar emulator", .compute_major = 8, .compute_minor = 0, .n_multiprocessors = 4,
                       .shared_bytes_per_block = 163 << 10, .memory_bytes = std::size_t{1} << 34};
    }

    int device() const noexcept { return 0; }
    const cuda::device_properties& properties() const noexcept { return properties_; }
    cuda::emulator::block_runner& emulator() noexcept { return *runner_; }
    void activate() const noexcept {}
    void synchronize() noexcept {}
    void allow_tf32(bool) noexcept {}

    /// Memory for an operator's temporaries, filled with NaN bits: whoever reads what was never written shows it.
    void* allocate(std::size_t bytes, const char*) {
        void* p = host_memory::allocate(bytes);
        if (bytes > 0) std::memset(p, 0xff, bytes);
        return p;
    }
    void deallocate(void* p) noexcept { host_memory::deallocate(p, 0); }

    template <class T, int Rank>
    void upload(const tensor_view<T, Rank>& to, const in_view<T, Rank>& from) { copy("cuda_context.upload", to, from); }
    template <class T, int Rank>
    void download(const tensor_view<T, Rank>& to, const in_view<T, Rank>& from) { copy("cuda_context.download", to, from); }

private:
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
    std::unique_ptr<cuda::emulator::block_runner> runner_;
    cuda::device_properties properties_;
};

#elif defined(INSTAR_CUDA_HEADERS)

/// Execution context of one CUDA device: a stream, a memory pool for temporaries, and cuBLASLt with its plans.
class cuda_context {
public:
    using memory = device_memory;

    /// Throws device_error when there is no such device.
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
    void synchronize() { cuda::check(cudaStreamSynchronize(stream_), "cuda_context.synchronize", "cudaStreamSynchronize"); }

    /// Lets float products use TF32 tensor cores: about 1e-3 relative error instead of 1e-7, and several times the speed.
    void allow_tf32(bool allow) noexcept { blas_->allow_tf32(allow); }

    /// Stream-ordered memory for an operator's temporaries: the pool keeps it, so a step in steady state allocates nothing.
    void* allocate(std::size_t bytes, const char* op) {
        if (bytes == 0) return nullptr;
        void* p = nullptr;
        const cudaError_t status = cudaMallocFromPoolAsync(&p, bytes, pool_, stream_);
        if (status == cudaErrorMemoryAllocation) {
            (void)cudaGetLastError();
            throw memory_error(std::string(op) + ": cannot allocate " + std::to_string(bytes) + " bytes of device memory");
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
        copy("cuda_context.upload", to, from, cudaMemcpyHostToDevice);
    }
    /// Copies device memory to the host, after all that was queued before. The data is there when this returns.
    template <class T, int Rank>
    void download(const tensor_view<T, Rank>& to, const in_view<T, Rank>& from) {
        copy("cuda_context.download", to, from, cudaMemcpyDeviceToHost);
    }

    cuda::blas& blas() noexcept { return *blas_; }

private:
    cuda_context(int device, cudaStream_t stream, bool own) : device_(device), stream_(stream), owns_stream_(own) {
        int n_devices = 0;
        const cudaError_t status = cudaGetDeviceCount(&n_devices);
        if (status != cudaSuccess) (void)cudaGetLastError();
        if (status != cudaErrorNoDevice && status != cudaErrorInsufficientDriver) cuda::check(status, "cuda_context", "cudaGetDeviceCount");
        if (device < 0 || device >= n_devices) {
            throw device_error("cuda_context: device " + std::to_string(device) + " of " + std::to_string(n_devices) +
                               (status == cudaErrorInsufficientDriver ? " (no usable driver)" : ""));
        }
        activate();
        read_properties();
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
    void copy(const char* op, const tensor_view<T, Rank>& to, const tensor_view<const T, Rank>& from, cudaMemcpyKind kind) {
        cuda::check_copy(op, to, from);
        const cuda::copy_plan plan(to, from);
        if (plan.row_bytes == 0 || plan.rows == 0) return;
        activate();
        if (plan.rows == 1) {  // a pitch is limited to 2 GiB, a plain copy is not
            cuda::check(cudaMemcpyAsync(to.data(), from.data(), plan.row_bytes, kind, stream_), op, "cudaMemcpyAsync");
        } else {
            cuda::check(cudaMemcpy2DAsync(to.data(), plan.to_pitch, from.data(), plan.from_pitch, plan.row_bytes, plan.rows, kind, stream_), op,
                        "cudaMemcpy2DAsync");
        }
        cuda::check(cudaStreamSynchronize(stream_), op, "cudaStreamSynchronize");
    }

    int device_;
    cudaStream_t stream_;
    bool owns_stream_;
    cuda::device_properties properties_;
    cudaMemPool_t pool_ = nullptr;
    void* workspace_ = nullptr;
    std::unique_ptr<cuda::blas> blas_;
};

#endif

#if defined(INSTAR_CUDA_EMULATED) || defined(INSTAR_CUDA_HEADERS)

namespace cuda {

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
