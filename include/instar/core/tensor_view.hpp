#ifndef INSTAR_CORE_TENSOR_VIEW_HPP
#define INSTAR_CORE_TENSOR_VIEW_HPP

// A pointer with extents and strides: how every operator of instar takes its arguments. It owns nothing.
//
//     std::vector<float> buffer(6);
//     instar::tensor_view<float, 2> x(buffer.data(), {2, 3});   // row-major, contiguous
//     x(1, 2) = 4.0f;
//     auto second_row = x[1];                                    // tensor_view<float, 1>
//
// Batch first, sample = row, always. Trivially copyable, so it is passed to CUDA kernels as it is.

#include <string>
#include <type_traits>

#include "instar/core/element.hpp"
#include "instar/core/error.hpp"
#include "instar/core/version.hpp"

namespace instar {

/// Non-owning, row-major view of Rank dimensions. Strides are in elements.
template <class T, int Rank>
struct tensor_view {
    static_assert(Rank >= 1 && Rank <= 6);
    using element_type = T;
    using value_type = std::remove_const_t<T>;
    static constexpr int rank = Rank;

    T* data_ = nullptr;
    index_t extents_[Rank] = {};
    index_t strides_[Rank] = {};

    tensor_view() = default;

    /// Contiguous view of `data` with the given extents.
    INSTAR_HOST_DEVICE tensor_view(T* data, const index_t (&extents)[Rank]) : data_(data) {
        index_t stride = 1;
        for (int d = Rank - 1; d >= 0; --d) {
            extents_[d] = extents[d];
            strides_[d] = stride;
            stride *= extents[d];
        }
    }
    INSTAR_HOST_DEVICE tensor_view(T* data, const index_t (&extents)[Rank], const index_t (&strides)[Rank])
        : data_(data) {
        for (int d = 0; d < Rank; ++d) {
            extents_[d] = extents[d];
            strides_[d] = strides[d];
        }
    }
    /// A view of mutable elements converts to a view of const ones.
    template <class U>
        requires(std::is_const_v<T> && std::is_same_v<U, std::remove_const_t<T>>)
    INSTAR_HOST_DEVICE tensor_view(const tensor_view<U, Rank>& other) : data_(other.data_) {
        for (int d = 0; d < Rank; ++d) {
            extents_[d] = other.extents_[d];
            strides_[d] = other.strides_[d];
        }
    }

    INSTAR_HOST_DEVICE T* data() const { return data_; }
    INSTAR_HOST_DEVICE index_t extent(int d) const { return extents_[d]; }
    INSTAR_HOST_DEVICE index_t stride(int d) const { return strides_[d]; }
    INSTAR_HOST_DEVICE index_t size() const {
        index_t n = 1;
        for (int d = 0; d < Rank; ++d) n *= extents_[d];
        return n;
    }
    INSTAR_HOST_DEVICE bool empty() const { return size() == 0; }
    INSTAR_HOST_DEVICE bool contiguous() const {
        index_t stride = 1;
        for (int d = Rank - 1; d >= 0; --d) {
            if (extents_[d] > 1 && strides_[d] != stride) return false;
            stride *= extents_[d];
        }
        return true;
    }

    template <class... I>
    INSTAR_HOST_DEVICE T& operator()(I... i) const {
        static_assert(sizeof...(I) == Rank, "one index per dimension");
        const index_t idx[Rank] = {static_cast<index_t>(i)...};
        index_t offset = 0;
        for (int d = 0; d < Rank; ++d) offset += idx[d] * strides_[d];
        return data_[offset];
    }
    /// Sub-view at index i of the first dimension; an element for Rank 1.
    INSTAR_HOST_DEVICE decltype(auto) operator[](index_t i) const {
        if constexpr (Rank == 1) {
            return (data_[i * strides_[0]]);
        } else {
            tensor_view<T, Rank - 1> sub;
            sub.data_ = data_ + i * strides_[0];
            for (int d = 1; d < Rank; ++d) {
                sub.extents_[d - 1] = extents_[d];
                sub.strides_[d - 1] = strides_[d];
            }
            return sub;
        }
    }
    /// Rows [begin, end) of the first dimension.
    INSTAR_HOST_DEVICE tensor_view rows(index_t begin, index_t end) const {
        tensor_view sub = *this;
        sub.data_ += begin * strides_[0];
        sub.extents_[0] = end - begin;
        return sub;
    }
    /// The same elements under other extents; the view must be contiguous and the sizes equal.
    template <int NewRank>
    INSTAR_HOST_DEVICE tensor_view<T, NewRank> reshape(const index_t (&extents)[NewRank]) const {
        return tensor_view<T, NewRank>(data_, extents);
    }
};

template <class T, int Rank>
tensor_view(T*, const index_t (&)[Rank]) -> tensor_view<T, Rank>;

/// An argument that is read. Not deduced, so a mutable view converts: the element type comes from the output argument.
template <class T, int Rank>
using in_view = std::type_identity_t<tensor_view<const T, Rank>>;

/// An argument that is written and whose type is not deduced.
template <class T, int Rank>
using out_view = std::type_identity_t<tensor_view<T, Rank>>;

/// "[2, 3]"
template <class T, int Rank>
std::string shape_string(const tensor_view<T, Rank>& v) {
    std::string s = "[";
    for (int d = 0; d < Rank; ++d) s += (d ? ", " : "") + std::to_string(v.extent(d));
    return s + "]";
}

namespace detail {

/// Throws shape_error "layer_norm_forward: weight has shape [3], expected [4]" when extents differ.
template <class T, int Rank>
void check_shape(const char* op, const char* argument, const tensor_view<T, Rank>& v, const index_t (&expected)[Rank]) {
    bool same = true;
    for (int d = 0; d < Rank; ++d) same = same && v.extent(d) == expected[d];
    if (same) return;
    std::string s = "[";
    for (int d = 0; d < Rank; ++d) s += (d ? ", " : "") + std::to_string(expected[d]);
    throw shape_error(std::string(op) + ": " + argument + " has shape " + shape_string(v) + ", expected " + s + "]");
}

/// Throws shape_error when the last dimension is not contiguous, which every kernel relies on.
template <class T, int Rank>
void check_unit_stride(const char* op, const char* argument, const tensor_view<T, Rank>& v) {
    if (v.extent(Rank - 1) > 1 && v.stride(Rank - 1) != 1) {
        throw shape_error(std::string(op) + ": " + argument + " must have stride 1 in its last dimension, has " +
                          std::to_string(v.stride(Rank - 1)));
    }
}

/// Throws shape_error when a view has gaps; operators over flat ranges need none.
template <class T, int Rank>
void check_contiguous(const char* op, const char* argument, const tensor_view<T, Rank>& v) {
    if (!v.contiguous()) throw shape_error(std::string(op) + ": " + argument + " must be contiguous");
}

}  // namespace detail
}  // namespace instar

#endif
