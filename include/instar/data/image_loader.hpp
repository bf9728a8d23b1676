#ifndef INSTAR_DATA_IMAGE_LOADER_HPP
#define INSTAR_DATA_IMAGE_LOADER_HPP

// Batches of images that are read, decoded and augmented in the background, ahead of the training that takes them.
//
//     const io::file_source files({"train.zip"});
//     data::image_loader loader({.batch_size = 64, .height = 224, .width = 224}, [&](index_t item, tensor_view<float, 3> x, philox rng) {
//         const data::image photo = data::read_image(files, paths[item]);
//         data::warp_image(x, photo, data::random_affine(photo, 224, {}, rng));
//     });
//     for (index_t epoch = 0; epoch < n_epochs; ++epoch) {
//         loader.start(train::epoch_order(n, philox{.seed = 7}, epoch), philox{.seed = 8}.fork(epoch));
//         while (const data::image_batch* batch = loader.next()) step(batch->pixels(), batch->items);
//     }
//
// What a batch holds depends on order and random numbers alone: an item's are rng.fork(item), whatever thread reads it and when.

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "instar/core/background_task.hpp"
#include "instar/core/parallel_for.hpp"
#include "instar/core/philox.hpp"
#include "instar/core/tensor.hpp"

namespace instar::data {

/// What happens when an item cannot be read.
enum class broken_items {
    skip,  ///< it is left out of its batch, counted, and its error kept
    fatal  ///< next() throws its error
};

struct image_loader_options {
    index_t batch_size = 32;
    index_t n_channels = 3, height = 224, width = 224;
    index_t n_ahead = 2;      ///< batches made ready beside the one in use; memory: (n_ahead + 1) · batch_size · image
    int threads = 0;          ///< that read; 0: as many as there are cores
    bool drop_last = false;   ///< leave out a last batch that is not full
    broken_items broken = broken_items::skip;
    index_t n_errors_kept = 10;
};

/// A batch; valid until the loader's next call.
struct image_batch {
    std::vector<index_t> items;  ///< in the order asked for, without those that could not be read

    index_t size() const noexcept { return static_cast<index_t>(items.size()); }
    /// [size(), n_channels, height, width]
    tensor_view<float, 4> pixels() const { return {memory.data(), {size(), memory.extent(1), memory.extent(2), memory.extent(3)}}; }

    tensor_view<float, 4> memory;
};

class image_loader {
public:
    /// Fills x, [n_channels, height, width], with an item. Called from several threads at once. What it throws, if derived from instar::error,
    /// makes the item broken; anything else comes out of next().
    using load_function = std::function<void(index_t item, tensor_view<float, 3> x, philox rng)>;

    /// Throws value_error for sizes that are not positive.
    image_loader(const image_loader_options& options, load_function load)
        : options_(options), load_(std::move(load)), ctx_(options.threads > 0 ? std::make_unique<cpu_context>(options.threads) : std::make_unique<cpu_context>()) {
        if (options.batch_size < 1 || options.n_channels < 1 || options.height < 1 || options.width < 1 || options.n_ahead < 0 || options.threads < 0) {
            throw value_error("image_loader: batch_size, n_channels, height and width must be at least 1, n_ahead and threads not negative");
        }
        for (index_t i = 0; i <= options.n_ahead; ++i) slots_.push_back(std::make_unique<slot>(*ctx_, options));
    }

    /// Begins an epoch at its batch number `first_batch`; an unfinished one is dropped. The items are any numbers that `load` understands.
    void start(std::vector<index_t> order, philox rng, index_t first_batch = 0) {
        stop();
        order_ = std::move(order);
        rng_ = rng;
        const auto n = static_cast<index_t>(order_.size());
        n_batches_ = options_.drop_last ? n / options_.batch_size : (n + options_.batch_size - 1) / options_.batch_size;
        if (first_batch < 0 || first_batch > n_batches_) throw value_error("image_loader.start: first_batch is " + std::to_string(first_batch) + ", there are " + std::to_string(n_batches_));
        next_ = requested_ = first_batch;
        while (requested_ < n_batches_ && requested_ - next_ < static_cast<index_t>(slots_.size())) request();
    }

    /// The next batch, or null after the last; a batch of which nothing could be read is empty. Waits until it is ready, and helps.
    /// Throws the first error of a batch when broken items are fatal; the loader can be started anew then.
    const image_batch* next() {
        if (next_ >= n_batches_) return nullptr;
        // The slot of the batch that the caller has done with.
        if (in_use_ && requested_ < n_batches_) request();
        slot& s = *slots_[static_cast<std::size_t>(next_) % slots_.size()];
        try {
            s.task.wait();
        } catch (...) {
            stop();
            throw;
        }
        s.batch.items.clear();
        const index_t image = options_.n_channels * options_.height * options_.width;
        for (std::size_t i = 0; i < s.asked.size(); ++i) {
            if (!s.errors[i].empty()) {
                if (options_.broken == broken_items::fatal) {
                    const std::string why = s.errors[i];
                    stop();
                    throw error(why);
                }
                if (n_broken_++ < options_.n_errors_kept) errors_.push_back(s.errors[i]);
                continue;
            }
            const auto to = static_cast<index_t>(s.batch.items.size());
            if (to != static_cast<index_t>(i)) std::copy_n(s.pixels.data() + static_cast<index_t>(i) * image, image, s.pixels.data() + to * image);
            s.batch.items.push_back(s.asked[i]);
        }
        ++next_;
        in_use_ = true;
        return &s.batch;
    }

    index_t n_batches() const noexcept { return n_batches_; }
    index_t n_broken() const noexcept { return n_broken_; }                    ///< since the loader was made
    const std::vector<std::string>& errors() const noexcept { return errors_; }  ///< of the first of them

private:
    struct slot {
        slot(cpu_context& ctx, const image_loader_options& o) : pixels({o.batch_size, o.n_channels, o.height, o.width}), task(ctx) { batch.memory = pixels.view(); }
        tensor<float, 4> pixels;
        std::vector<index_t> asked;
        std::vector<std::string> errors;
        image_batch batch;
        background_task task;  // last: it ends before what it writes to
    };

    void request() {
        slot& s = *slots_[static_cast<std::size_t>(requested_) % slots_.size()];
        const auto begin = order_.begin() + requested_ * options_.batch_size;
        s.asked.assign(begin, begin + std::min(options_.batch_size, static_cast<index_t>(order_.end() - begin)));
        s.errors.assign(s.asked.size(), {});
        ++requested_;
        s.task.start([this, &s] {
            parallel_for(*ctx_, static_cast<index_t>(s.asked.size()), 1, [&](index_t from, index_t to) {
                for (index_t i = from; i < to; ++i) {
                    const auto at = static_cast<std::size_t>(i);
                    try {
                        load_(s.asked[at], s.pixels.view()[i], rng_.fork(static_cast<std::uint64_t>(s.asked[at])));
                    } catch (const error& e) {
                        s.errors[at] = e.what();
                        if (s.errors[at].empty()) s.errors[at] = "item " + std::to_string(s.asked[at]) + " cannot be read";
                    }
                }
            });
        });
    }

    /// Waits for what is under way; nothing is left to give.
    void stop() noexcept {
        for (auto& s : slots_) {
            try {
                s->task.wait();
            } catch (...) {
            }
        }
        next_ = requested_ = n_batches_ = 0;
        in_use_ = false;
    }

    image_loader_options options_;
    load_function load_;
    std::unique_ptr<cpu_context> ctx_;
    std::vector<std::unique_ptr<slot>> slots_;
    std::vector<index_t> order_;
    philox rng_{};
    index_t next_ = 0, requested_ = 0, n_batches_ = 0, n_broken_ = 0;
    bool in_use_ = false;
    std::vector<std::string> errors_;
};

}  // namespace instar::data

#endif
