#ifndef INSTAR_EXAMPLES_IMAGE_CLASSIFIER_SAMPLES_HPP
#define INSTAR_EXAMPLES_IMAGE_CLASSIFIER_SAMPLES_HPP

// From files to a network's input: decoding with all threads, small copies kept in memory, augmentation by (seed, epoch, index).
//
//     image_cache cache(ctx, set, rows, facts);                    // decodes, shrinks, keeps; unreadable files are named and left out
//     fill_batch(ctx, x.view(), cache, rows, facts, augmentation::strong, philox{.seed = 1, .stream = epoch});

#include <cstdio>
#include <mutex>
#include <optional>

#include "instar/core/cpu_context.hpp"
#include "instar/core/parallel_for.hpp"
#include "instar/core/tensor.hpp"
#include "instar/data/image_file.hpp"
#include "instar/data/image_resize.hpp"
#include "instar/data/image_warp.hpp"

#include "image_model.hpp"
#include "image_set.hpp"

namespace image_classifier {

/// none: the centre of every image. flip: the paper's, a random crop of crop_size from an image of image_size and a mirror. strong: area 35
/// to 100 %, both mirrors, rotation, brightness.
enum class augmentation { none, flip, strong };

/// Whole images at about the size they are used at.
class image_cache {
public:
    /// Decodes every image of the set whose split is used. A file that is missing or broken is reported by name on stderr, counted, and gets
    /// the split `none`; throws when no image is left, or strict and one is broken.
    image_cache(cpu_context& ctx, image_set& set, const image_facts& facts, bool strict) : images_(static_cast<std::size_t>(set.size())) {
        if (!set.pixels.empty()) {
            images_ = std::move(set.pixels);
            return;
        }
        std::vector<std::string> errors(images_.size());
        parallel_for(ctx, set.size(), 1, [&](index_t begin, index_t end) {
            for (index_t i = begin; i < end; ++i) {
                const auto at = static_cast<std::size_t>(i);
                if (set.splits[at] == split_of::none) continue;
                try {
                    images_[at] = data::shrink_to(data::read_image(set.paths[at]), facts.image_size);
                } catch (const error& e) {
                    errors[at] = e.what();
                }
            }
        });
        for (std::size_t i = 0; i < errors.size(); ++i) {
            if (errors[i].empty()) continue;
            if (strict) throw error(errors[i] + " (--skip-broken leaves such images out)");
            std::fprintf(stderr, "left out: %s\n", errors[i].c_str());
            set.splits[i] = split_of::none;
            ++n_broken_;
        }
        if (n_broken_ == set.size()) throw value_error("none of the " + std::to_string(set.size()) + " images can be read");
    }

    const data::image& operator[](index_t i) const { return images_[static_cast<std::size_t>(i)]; }
    index_t n_broken() const noexcept { return n_broken_; }

private:
    std::vector<data::image> images_;
    index_t n_broken_ = 0;
};

/// x[i] = the image rows[i], augmented, as the network takes it. The same for any number of threads.
inline void fill_batch(cpu_context& ctx, tensor_view<float, 4> x, const image_cache& cache, std::span<const index_t> rows, const image_facts& facts, augmentation how, philox rng) {
    data::warp_options base;
    for (std::size_t c = 0; c < facts.mean.size(); ++c) {
        base.mean[c] = static_cast<float>(facts.mean[c]);
        base.deviation[c] = static_cast<float>(facts.deviation[c]);
    }
    const index_t size = facts.crop_size;
    parallel_for(ctx, static_cast<index_t>(rows.size()), 1, [&](index_t begin, index_t end) {
        for (index_t i = begin; i < end; ++i) {
            const data::image& image = cache[rows[static_cast<std::size_t>(i)]];
            const philox own = rng.fork(static_cast<std::uint64_t>(rows[static_cast<std::size_t>(i)]));
            const auto shorter = static_cast<float>(std::min(image.height, image.width));
            // In the image's own pixels: the network's crop is crop_size of image_size.
            const float side = shorter * static_cast<float>(size) / static_cast<float>(facts.image_size);
            data::warp_options options = base;
            data::affine_map map;
            if (how == augmentation::none) {
                map = data::square_map(0.5f * static_cast<float>(image.width - 1), 0.5f * static_cast<float>(image.height - 1), side, size);
            } else if (how == augmentation::flip) {
                const float free_x = static_cast<float>(image.width) - side, free_y = static_cast<float>(image.height) - side;
                map = data::square_map(0.5f * (side - 1.0f) + free_x * own.uniform(0), 0.5f * (side - 1.0f) + free_y * own.uniform(1), side, size);
                if (own.uniform(2) < 0.5f) {
                    map.x0 += map.xx * static_cast<float>(size - 1);
                    map.xx = -map.xx;
                }
            } else {
                map = data::random_affine(image, size, {.scale_min = 0.35f, .rotation = 25.0f, .mirror = true, .flip = true}, own.fork(1));
                options.brightness = 0.75f + 0.5f * own.uniform(3);
            }
            data::warp_image(tensor_view<float, 3>(&x(i, 0, 0, 0), {x.extent(1), size, size}), image, map, options);
        }
    });
}

/// Counts of 8 × 8 × 8 colours, their square roots: the baseline's features.
inline tensor<float, 2> color_histograms(cpu_context& ctx, const image_cache& cache, std::span<const index_t> rows) {
    tensor<float, 2> h({static_cast<index_t>(rows.size()), 512});
    parallel_for(ctx, h.extent(0), 4, [&](index_t begin, index_t end) {
        for (index_t i = begin; i < end; ++i) {
            const data::image& image = cache[rows[static_cast<std::size_t>(i)]];
            float* bins = &h(i, 0);
            std::fill_n(bins, 512, 0.0f);
            for (std::size_t p = 0; p + 2 < image.pixels.size(); p += 3) bins[(image.pixels[p] >> 5) * 64 + (image.pixels[p + 1] >> 5) * 8 + (image.pixels[p + 2] >> 5)] += 1.0f;
            const float scale = 3.0f / static_cast<float>(image.pixels.size());
            for (int b = 0; b < 512; ++b) bins[b] = std::sqrt(bins[b] * scale);
        }
    });
    return h;
}

}  // namespace image_classifier

#endif
