#ifndef INSTAR_CUDA_EMULATOR_SHARED_ARRAY_HPP
#define INSTAR_CUDA_EMULATOR_SHARED_ARRAY_HPP

// shared_array<T> of the emulator: what is a plain T* on the device checks every access here.
//
//     shared_memory memory;
//     shared_array<float> tile = memory.take<float>(32 * 33);
//     tile[i] = x;                 // bounds, race
//     float y = (tile + row)[j];   // bounds, race, uninitialised
//
// An element is a proxy: write `float v = tile[i]`, not `auto v = tile[i]`.

#include <typeinfo>

#include "instar/cuda/emulator/intrinsics.hpp"

namespace instar::cuda {

template <class T>
class shared_pointer;

/// A subscript that knows where it was written: operator[] takes no default arguments, a conversion does.
struct located_index {
    index_t value;
    std::source_location where;
    template <std::integral I>
    located_index(I i, const std::source_location& place = std::source_location::current()) : value(static_cast<index_t>(i)), where(place) {}
};

/// One element of shared memory, not yet read.
template <class T>
class shared_element {
public:
    shared_element(emulator::shared_record* record, std::size_t i, const std::source_location& where)
        : record_(record), index_(i), where_(where) {}
    shared_element(const shared_element&) = default;

    operator T() const {
        T value;
        emulator::running_block->note_access(*record_, index_, emulator::access::read, where_);
        std::memcpy(&value, record_->element(index_), sizeof(T));
        return value;
    }
    const shared_element& operator=(const T& value) const {
        emulator::running_block->note_access(*record_, index_, emulator::access::write, where_);
        std::memcpy(record_->element(index_), &value, sizeof(T));
        return *this;
    }
    // The left side is an element of memory, as in a T&: assigning copies the value.
    const shared_element& operator=(const shared_element& other) const { return *this = static_cast<T>(other); }
    const shared_element& operator+=(const T& value) const { return *this = static_cast<T>(static_cast<T>(*this) + value); }
    const shared_element& operator-=(const T& value) const { return *this = static_cast<T>(static_cast<T>(*this) - value); }
    const shared_element& operator*=(const T& value) const { return *this = static_cast<T>(static_cast<T>(*this) * value); }
    shared_pointer<T> operator&() const { return shared_pointer<T>(*this); }

private:
    friend class shared_pointer<T>;
    emulator::shared_record* record_;
    std::size_t index_;
    std::source_location where_;
};

/// `&tile[i]`, for atomics.
template <class T>
class shared_pointer {
public:
    explicit shared_pointer(const shared_element<T>& element) : element_(element) {}

    template <class F>
    T read_modify_write(F&& f) const {
        emulator::running_block->note_access(*element_.record_, element_.index_, emulator::access::atomic, element_.where_);
        T old;
        std::byte* const place = element_.record_->element(element_.index_);
        std::memcpy(&old, place, sizeof(T));
        const T now = f(old);
        std::memcpy(place, &now, sizeof(T));
        return old;
    }

private:
    shared_element<T> element_;
};

template <class T>
T atomicAdd(shared_pointer<T> place, std::type_identity_t<T> value) {
    return place.read_modify_write([=](T old) { return static_cast<T>(old + value); });
}
template <class T>
T atomicMax(shared_pointer<T> place, std::type_identity_t<T> value) {
    return place.read_modify_write([=](T old) { return old < value ? value : old; });
}
template <class T>
T atomicMin(shared_pointer<T> place, std::type_identity_t<T> value) {
    return place.read_modify_write([=](T old) { return value < old ? value : old; });
}

/// An array of the running block, or its end from an offset on.
template <class T>
class shared_array {
public:
    using element_type = T;

    shared_array() = default;
    shared_array(emulator::shared_record* record, index_t offset) : record_(record), offset_(offset) {}

    shared_element<T> operator[](const located_index& i) const {
        const index_t place = offset_ + i.value;
        check_range(place, i.where);
        return {record_, static_cast<std::size_t>(place), i.where};
    }
    shared_array operator+(index_t offset) const { return {record_, offset_ + offset}; }

    /// Sixteen bytes begin their way to the elements from i on: cuda/async_copy.cuh.
    void begin_copy(const located_index& i, const emulator::block_runner::copy_bytes& bytes) const {
        constexpr index_t n = sizeof(bytes) / sizeof(T);
        const index_t first = offset_ + i.value;
        check_range(first, i.where);
        check_range(first + n - 1, i.where);
        auto& block = emulator::this_block("cp.async");
        if (first % n != 0) block.fail("misaligned access of 16 bytes, element " + std::to_string(first) + " of a " + record_->describe() + ", at " + block.at(i.where));
        block.begin_copy(*record_, static_cast<std::size_t>(first), bytes, i.where);
    }

private:
    void check_range(index_t place, const std::source_location& where) const {
        if (record_ == nullptr || place < 0 || place >= static_cast<index_t>(record_->size())) out_of_range(place, where);
    }
    [[noreturn]] void out_of_range(index_t place, const std::source_location& where) const {
        const auto& block = emulator::this_block("shared memory");
        block.fail("index " + std::to_string(place) + " is outside " +
                   (record_ == nullptr ? std::string("an empty shared array") : "a " + record_->describe()) + ", at " +
                   emulator::block_runner::at(where));
    }

    emulator::shared_record* record_ = nullptr;
    index_t offset_ = 0;
};

/// Hands out the block's dynamic shared memory. Every thread takes the same arrays in the same order.
class shared_memory {
public:
    template <class T>
    shared_array<T> take(index_t n) {
        auto& block = emulator::this_block("shared memory");
        emulator::shared_record* record = block.shared().dynamic_array(taken_++, static_cast<std::size_t>(n), sizeof(T), element_name<T>());
        if (record == nullptr) {
            block.fail("dynamic shared memory: " + std::to_string(n) + " " + element_name<T>() + " do not fit: " +
                       std::to_string(block.shared().dynamic_used()) + " of " + std::to_string(block.shared().dynamic_bytes()) + " bytes are taken");
        }
        if (!record->has_shape(static_cast<std::size_t>(n), sizeof(T))) {
            block.fail("dynamic shared memory: this thread takes " + std::to_string(n) + " " + element_name<T>() + " where another took a " +
                       record->describe());
        }
        return {record, 0};
    }

private:
    std::size_t taken_ = 0;
};

namespace emulator {

template <class T>
shared_array<T> static_shared_array(const void* place, index_t n) {
    return {this_block("shared memory").shared().static_array(place, static_cast<std::size_t>(n), sizeof(T), element_name<T>()), 0};
}

}  // namespace emulator
}  // namespace instar::cuda

#endif
