#ifndef INSTAR_EXAMPLES_IMAGE_CLASSIFIER_SAMPLES_HPP
#define INSTAR_EXAMPLES_IMAGE_CLASSIFIER_SAMPLES_HPP

// From files to a network's input: decoding with all threads, small copies kept in memory where they fit, augmentation by (seed, epoch, index).
//
//     image_cache cache(ctx, set, facts, {.strict = true});            // decodes, shrinks and keeps; or decodes each time it is asked
//     data::image_loader loader = batches(ctx, cache, facts, augmentation::strong, 32, true);
//     loader.start(train::epoch_order(n, philox{.seed = 1}, epoch), philox{.seed = 2}.fork(epoch));
//     while (const data::image_batch* batch = loader.next()) …

#include <unistd.h>

#include <cstdio>
#include <optional>

#include "instar/core/cpu_context.hpp"
#include "instar/core/parallel_for.hpp"
#include "instar/core/tensor.hpp"
#include "instar/data/image_file.hpp"
#include "instar/data/image_loader.hpp"
#include "instar/data/image_resize.hpp"
#include "instar/data/image_warp.hpp"
#include "instar/data/localize.hpp"

#include "image_model.hpp"
#include "image_set.hpp"

namespace image_classifier {

/// none: the centre of every image. flip: the paper's, a random crop of crop_size from an image of image_size and a mirror. strong: area 35
/// to 100 %, both mirrors, rotation, brightness.
enum class augmentation { none, flip, strong };

struct cache_options {
    bool strict = true;              // an image that cannot be read ends the program; otherwise it is named, counted and left out
    std::string where = "auto";      // memory: all images, shrunk; none: each is decoded whenever it is used; auto: memory, if that takes less than half of it
};

/// Whole images at about the size they are used at, in memory or where they come from.
class image_cache {
public:
    /// With memory: decodes every image of the set whose split is used. A file that is missing or broken is reported by name on stderr, counted,
    /// and gets the split `none`; throws when no image is left, or strict and one is broken. Without: reads nothing yet.
    image_cache(cpu_context& ctx, image_set& set, const image_facts& facts, const cache_options& o) : set_(&set), image_size_(facts.image_size), crop_to_specimen_(facts.crop_to_specimen), strict_(o.strict) {
        if (!set.pixels.empty()) {
            images_ = std::move(set.pixels);
            return;
        }
        index_t n_used = 0;
        for (const split_of s : set.splits) n_used += s != split_of::none;
        const double bytes = 4.2 * static_cast<double>(n_used) * static_cast<double>(facts.image_size) * static_cast<double>(facts.image_size);  // photographs are some 4:3
        const double memory = static_cast<double>(::sysconf(_SC_PHYS_PAGES)) * static_cast<double>(::sysconf(_SC_PAGESIZE));
        if (o.where == "none" || (o.where == "auto" && bytes > 0.5 * memory)) return;
        images_.resize(static_cast<std::size_t>(set.size()));
        std::vector<std::string> errors(images_.size());
        parallel_for(ctx, set.size(), 1, [&](index_t begin, index_t end) {
            for (index_t i = begin; i < end; ++i) {
                const auto at = static_cast<std::size_t>(i);
                if (set.splits[at] == split_of::none) continue;
                try {
                    images_[at] = decode(i);
                } catch (const error& e) {
                    errors[at] = e.what();
                }
            }
        });
        for (std::size_t i = 0; i < errors.size(); ++i) {
            if (errors[i].empty()) continue;
            if (strict_) throw error(errors[i] + k_hint);
            std::fprintf(stderr, "left out: %s\n", errors[i].c_str());
            set.splits[i] = split_of::none;
            ++n_broken_;
        }
        if (n_broken_ == n_used) throw value_error("none of the " + std::to_string(n_used) + " images can be read");
    }

    /// Calls f with an image. Throws what reading it throws, where images are not kept.
    template <class F>
    void with(index_t i, F&& f) const {
        if (!images_.empty()) f(images_[static_cast<std::size_t>(i)]);
        else f(decode(i));
    }
    bool in_memory() const noexcept { return !images_.empty(); }
    bool strict() const noexcept { return strict_; }
    index_t n_broken() const noexcept { return n_broken_; }
    /// Names what a loader could not read, the first few, and counts all.
    void report(const data::image_loader& loader) {
        for (const std::string& e : loader.errors()) std::fprintf(stderr, "left out: %s\n", e.c_str());
        n_broken_ += loader.n_broken();
    }

    static constexpr const char* k_hint = " (--skip-broken leaves such images out)";

private:
    data::image decode(index_t i) const {
        data::image image = data::read_image(*set_->files, set_->paths[static_cast<std::size_t>(i)]);
        if (crop_to_specimen_) {
            if (const auto found = data::localize_specimen(image)) image = data::crop_specimen(image, found->box);
        }
        return data::shrink_to(image, image_size_);
    }

    const image_set* set_;
    index_t image_size_;
    bool crop_to_specimen_;
    bool strict_;
    std::vector<data::image> images_;
    index_t n_broken_ = 0;
};

/// One image, augmented, as the network takes it: [channels, crop_size, crop_size].
inline void fill_input(tensor_view<float, 3> x, const data::image& image, const image_facts& facts, augmentation how, philox rng) {
    data::warp_options options;
    for (std::size_t c = 0; c < facts.mean.size(); ++c) {
        options.mean[c] = static_cast<float>(facts.mean[c]);
        options.deviation[c] = static_cast<float>(facts.deviation[c]);
    }
    const index_t size = facts.crop_size;
    const auto shorter = static_cast<float>(std::min(image.height, image.width));
    // In the image's own pixels: the network's crop is crop_size of image_size.
    const float side = shorter * static_cast<float>(size) / static_cast<float>(facts.image_size);
    data::affine_map map;
    if (how == augmentation::none) {
        map = data::square_map(0.5f * static_cast<float>(image.width - 1), 0.5f * static_cast<float>(image.height - 1), side, size);
    } else if (how == augmentation::flip) {
        const float free_x = static_cast<float>(image.width) - side, free_y = static_cast<float>(image.height) - side;
        map = data::square_map(0.5f * (side - 1.0f) + free_x * rng.uniform(0), 0.5f * (side - 1.0f) + free_y * rng.uniform(1), side, size);
        if (rng.uniform(2) < 0.5f) {
            map.x0 += map.xx * static_cast<float>(size - 1);
            map.xx = -map.xx;
        }
    } else {
        map = data::random_affine(image, size, {.scale_min = 0.35f, .rotation = 25.0f, .mirror = true, .flip = true}, rng.fork(1));
        options.brightness = 0.75f + 0.5f * rng.uniform(3);
    }
    data::warp_image(x, image, map, options);
}

/// A loader of the cache's images, on as many threads as the context has. The cache and facts must outlive it.
inline data::image_loader batches(const cpu_context& ctx, const image_cache& cache, const image_facts& facts, augmentation how, index_t batch_size, bool drop_last) {
    return data::image_loader({.batch_size = batch_size, .n_channels = facts.n_channels, .height = facts.crop_size, .width = facts.crop_size, .threads = ctx.max_threads(), .drop_last = drop_last,
                               .broken = cache.strict() ? data::broken_items::fatal : data::broken_items::skip},
                              [&cache, &facts, how](index_t item, tensor_view<float, 3> x, philox rng) {
                                  cache.with(item, [&](const data::image& image) { fill_input(x, image, facts, how, rng); });
                              });
}

/// Counts of 8 × 8 × 8 colours, their square roots: the baseline's features. An image that cannot be read counts nothing.
inline tensor<float, 2> color_histograms(cpu_context& ctx, const image_cache& cache, std::span<const index_t> rows) {
    tensor<float, 2> h({static_cast<index_t>(rows.size()), 512});
    parallel_for(ctx, h.extent(0), 4, [&](index_t begin, index_t end) {
        for (index_t i = begin; i < end; ++i) {
            float* bins = &h(i, 0);
            std::fill_n(bins, 512, 0.0f);
            try {
                cache.with(rows[static_cast<std::size_t>(i)], [&](const data::image& image) {
                    for (std::size_t p = 0; p + 2 < image.pixels.size(); p += 3) bins[(image.pixels[p] >> 5) * 64 + (image.pixels[p + 1] >> 5) * 8 + (image.pixels[p + 2] >> 5)] += 1.0f;
                    const float scale = 3.0f / static_cast<float>(image.pixels.size());
                    for (int b = 0; b < 512; ++b) bins[b] = std::sqrt(bins[b] * scale);
                });
            } catch (const error&) {
                if (cache.strict()) throw;
            }
        }
    });
    return h;
}

}  // namespace image_classifier

#endif
