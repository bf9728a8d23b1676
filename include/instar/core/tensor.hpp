#ifndef INSTAR_CORE_TENSOR_HPP
#define INSTAR_CORE_TENSOR_HPP

// An owning, contiguous, row-major tensor.
//
//     instar::tensor<float, 2> x({4, 768});     // zero-filled
//     some_operator(ctx, x.view(), …);
//     float first = x(0, 0);                    // host memory only

#include <algorithm>
#include <type_traits>

#include "instar/core/memory.hpp"
#include "instar/core/tensor_view.hpp"

namespace instar {

/// Owning tensor; elements start at zero. Move only: a copy is written out, `x.clone()`.
template <class T, int Rank, class Memory = host_memory>
class tensor {
    static_assert(std::is_trivially_copyable_v<T>);

public:
    using value_type = T;
    static constexpr int rank = Rank;

    tensor() = default;
    explicit tensor(const index_t (&extents)[Rank]) {
        index_t n = 1;
        for (int d = 0; d < Rank; ++d) {
            if (extents[d] < 0) throw shape_error("tensor: extent " + std::to_string(d) + " is negative");
            if (extents[d] != 0 && n > (index_t{1} << 62) / extents[d]) throw memory_error("tensor: the number of elements overflows");
            n *= extents[d];
        }
        block_ = memory_block<Memory>(static_cast<std::size_t>(n) * sizeof(T));
        Memory::zero(block_.data(), block_.bytes());
        view_ = tensor_view<T, Rank>(static_cast<T*>(block_.data()), extents);
    }
    tensor(tensor&& o) noexcept : block_(std::move(o.block_)), view_(std::exchange(o.view_, {})) {}
    tensor& operator=(tensor&& o) noexcept {
        block_ = std::move(o.block_);
        view_ = std::exchange(o.view_, {});
        return *this;
    }

    tensor_view<T, Rank> view() noexcept { return view_; }
    tensor_view<const T, Rank> view() const noexcept { return view_; }
    operator tensor_view<T, Rank>() noexcept { return view_; }
    operator tensor_view<const T, Rank>() const noexcept { return view_; }

    T* data() noexcept { return view_.data(); }
    const T* data() const noexcept { return view_.data(); }
    index_t extent(int d) const noexcept { return view_.extent(d); }
    index_t size() const noexcept { return block_.data() == nullptr ? 0 : view_.size(); }
    bool empty() const noexcept { return size() == 0; }

    template <class... I>
    T& operator()(I... i) { return view_(i...); }
    template <class... I>
    const T& operator()(I... i) const { return view_(i...); }
    decltype(auto) operator[](index_t i) { return view_[i]; }
    decltype(auto) operator[](index_t i) const { return tensor_view<const T, Rank>(view_)[i]; }

    T* begin() noexcept { return data(); }
    T* end() noexcept { return data() + size(); }
    const T* begin() const noexcept { return data(); }
    const T* end() const noexcept { return data() + size(); }

    tensor clone() const requires std::same_as<Memory, host_memory> {
        tensor copy(view_.extents_);
        std::copy(begin(), end(), copy.begin());
        return copy;
    }

private:
    memory_block<Memory> block_;
    tensor_view<T, Rank> view_;
};

}  // namespace instar

#endif
