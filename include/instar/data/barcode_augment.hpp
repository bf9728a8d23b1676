#ifndef INSTAR_DATA_BARCODE_AUGMENT_HPP
#define INSTAR_DATA_BARCODE_AUGMENT_HPP

// Random variants of a barcode for training: sequencing errors, missing ends.
//
//     data::barcode_augment augment{.substitution = 0.02f, .crop = 60};
//     int cut = augment.apply(variant, barcode, philox{seed, sample});    // variant: the changed copy; cut: bases lost in front
//
// The result depends on (options, barcode, rng) alone.

#include <algorithm>
#include <string>
#include <string_view>

#include "instar/core/philox.hpp"

namespace instar::data {

struct barcode_augment {
    float substitution = 0.0f;  ///< probability that a base is replaced by one of the other three
    float ambiguity = 0.0f;     ///< probability that a base becomes N
    int crop = 0;               ///< up to this many bases are cut from each end, independently and uniformly
    int min_length = 150;       ///< no cropping below this length

    /// Writes the variant and returns how many bases were cut from the front.
    int apply(std::string& variant, std::string_view barcode, philox rng) const {
        const philox ends = rng.fork(1);
        int front = crop > 0 ? static_cast<int>(ends.below(0, static_cast<std::uint32_t>(crop) + 1)) : 0;
        int back = crop > 0 ? static_cast<int>(ends.below(1, static_cast<std::uint32_t>(crop) + 1)) : 0;
        const int spare = std::max(0, static_cast<int>(barcode.size()) - min_length);
        front = std::min(front, spare);
        back = std::min(back, spare - front);
        variant.assign(barcode.substr(static_cast<std::size_t>(front), barcode.size() - static_cast<std::size_t>(front + back)));
        if (substitution <= 0.0f && ambiguity <= 0.0f) return front;
        const philox bases = rng.fork(2);
        for (std::size_t i = 0; i < variant.size(); ++i) {
            const float u = bases.uniform(i);
            if (u < ambiguity) {
                variant[i] = 'N';
            } else if (u < ambiguity + substitution) {
                constexpr std::string_view k_bases = "ACGT";
                const std::size_t old = k_bases.find(variant[i]);
                if (old == std::string_view::npos) continue;
                variant[i] = k_bases[(old + 1 + bases.fork(i + 1).below(0, 3)) % 4];
            }
        }
        return front;
    }
};

}  // namespace instar::data

#endif
