#ifndef INSTAR_CLUSTER_DETAIL_KNN_SEARCH_HPP
#define INSTAR_CLUSTER_DETAIL_KNN_SEARCH_HPP

// The search of cluster/knn.hpp: which products are computed when, by whom, and where they stay.
//
//     knn_search search(ctx, space, n_queries, n_references, {.k = 10});
//     search.run(index, distance);
//
// References are packed a chunk at a time (16 MiB), for all threads. A task takes a block of queries (as many as a matrix
// product packs at once), goes through the chunk 256 references at a time, and compares the products with the thresholds of its
// queries while they lie in the second-level cache. Few queries: tasks share the references too, with lists of their own.
//
// When queries and references are the same rows, a product serves both of its rows: half the products suffice. Then tasks meet in
// lists, which are locked 256 at a time. What a list keeps may depend on who came first, the k nearest never do.

#include <algorithm>
#include <memory>
#include <mutex>
#include <vector>

#include "instar/cluster/detail/knn_candidates.hpp"
#include "instar/core/cpu_context.hpp"
#include "instar/core/parallel_for.hpp"
#include "instar/core/tensor.hpp"

namespace instar::cluster::detail {

class knn_search {
public:
    struct settings {
        index_t k = 1;
        bool exclude_self = false;                ///< reference i is query i, and left out
        bool same_rows = false;                   ///< reference i is query i, for all i
        index_t chunk_floats = index_t{1} << 22;  ///< of packed references at a time
    };

    knn_search(cpu_context& ctx, const knn_kernels& kernels, const knn_space& space, index_t n_queries,
               index_t n_references, settings s)
        : ctx_(ctx),
          kernels_(kernels),
          space_(space),
          n_queries_(n_queries),
          n_references_(n_references),
          settings_(s) {
        const index_t depth = std::max<index_t>(space.depth(), 1);
        block_ = std::clamp(k_block_floats / depth, kernels.cut.tile_rows, kernels.cut.block_rows) /
                 kernels.cut.tile_rows * kernels.cut.tile_rows;
        chunk_ = std::min(round_up(std::max<index_t>(s.chunk_floats / depth, k_group)), round_up(n_references));
        base_ = tensor<float, 1>({settings_.same_rows ? round_up(n_references) : chunk_});
        norm_ = tensor<float, 1>({base_.size()});
        packed_ = tensor<float, 1>({chunk_ * space.depth()});
    }

    /// Whether halves are worth their lists, which then are held for all queries at once.
    static bool halves_pay(index_t n, index_t k) {
        constexpr index_t k_most_bytes = index_t{1} << 29;
        return n >= 2 * k_group && n <= k_most_bytes / knn_candidates::list_bytes(k);
    }

    void run(tensor_view<std::int32_t, 2> index, tensor_view<float, 2> distance) {
        if (settings_.same_rows) return run_halves(index, distance);
        // Lists for some thousands of queries at a time: enough to repay packing the references again.
        constexpr index_t k_list_bytes = index_t{32} << 20;
        const index_t at_once =
            std::clamp<index_t>(k_list_bytes / knn_candidates::list_bytes(settings_.k), 4 * block_, 8192);
        for (index_t first = 0; first < n_queries_; first += at_once)
            run_queries(first, std::min(n_queries_, first + at_once), index, distance);
    }

private:
    static constexpr index_t k_group = 256;                      // references between comparisons, queries under a lock
    static constexpr index_t k_block_floats = index_t{1} << 21;  // of a task's packed queries, at most

    /// First row of block b of n_blocks: cut at whole tiles, so that they are as tall as they can be.
    index_t block_begin(index_t n, index_t b, index_t n_blocks) const {
        const index_t tile = kernels_.cut.tile_rows, n_tiles = (n + tile - 1) / tile;
        return std::min(n, n_tiles * b / n_blocks * tile);
    }
    static index_t round_up(index_t n) { return (n + k_group - 1) / k_group * k_group; }

    /// Memory of a task.
    struct scratch {
        tensor<float, 1> rows, packed, products, lows;
        tensor<std::int32_t, 1> columns;
        knn_batch batch;
    };
    class borrowed_scratch {
    public:
        explicit borrowed_scratch(knn_search& owner) : owner_(owner) {
            const std::lock_guard lock(owner.mutex_);
            if (!owner.free_.empty()) {
                memory_ = std::move(owner.free_.back());
                owner.free_.pop_back();
            } else {
                const index_t depth = owner.space_.depth();
                memory_ = std::make_unique<scratch>(
                    scratch{tensor<float, 1>({std::max(owner.block_, k_group) * depth}),
                            tensor<float, 1>({owner.block_ * depth + 16}), tensor<float, 1>({owner.block_ * k_group}),
                            tensor<float, 1>({knn_batch::k_most}), tensor<std::int32_t, 1>({knn_batch::k_most}),
                            knn_batch(owner.settings_.k)});
            }
        }
        ~borrowed_scratch() {
            const std::lock_guard lock(owner_.mutex_);
            owner_.free_.push_back(std::move(memory_));
        }
        borrowed_scratch(const borrowed_scratch&) = delete;
        borrowed_scratch& operator=(const borrowed_scratch&) = delete;
        scratch* operator->() const { return memory_.get(); }

    private:
        knn_search& owner_;
        std::unique_ptr<scratch> memory_;
    };

    /// Packs references [c0, c0 + n) and what goes with them, from place `at` of base_ and norm_ on.
    void pack_chunk(index_t c0, index_t n, index_t at) {
        const index_t depth = space_.depth();
        parallel_for(ctx_, (n + k_group - 1) / k_group, 1, [&](index_t begin, index_t end) {
            const borrowed_scratch s(*this);
            for (index_t g = begin; g < end; ++g) {
                const index_t first = g * k_group, here = std::min(k_group, n - first);
                for (index_t j = 0; j < k_group; ++j) {
                    const index_t to = at + first + j;
                    if (j < here) {
                        const auto numbers = space_.reference(c0 + first + j, s->rows.data() + j * depth);
                        base_(to) = numbers.base;
                        norm_(to) = numbers.norm;
                    } else {
                        base_(to) = std::numeric_limits<float>::infinity();
                        norm_(to) = 0.0f;
                    }
                }
                if (depth > 0)
                    kernels_.pack_references(packed_.data() + first * depth, s->rows.data(), here, k_group, depth);
            }
        });
    }

    void pack_block(const borrowed_scratch& s, index_t first, index_t n) {
        for (index_t i = 0; i < n; ++i) (void)space_.query(first + i, s->rows.data() + i * space_.depth());
        if (space_.depth() > 0) kernels_.pack_queries(s->packed.data(), s->rows.data(), n, space_.depth());
    }

    /// Products of the packed block with columns [j0, j0 + 256) of the chunk, which ends at n; returns how many there are, in whole
    /// panels.
    index_t multiply(const borrowed_scratch& s, index_t rows, index_t j0, index_t n) {
        const index_t width = kernels_.cut.tile_columns,
                      columns = std::min(k_group, (n - j0 + width - 1) / width * width);
        kernels_.products(s->products.data(), k_group, rows, columns, space_.depth(), s->packed.data(),
                          packed_.data() + j0 * space_.depth(), k_group);
        return columns;
    }

    /// The error bounds of queries [first, first + n); their norms go into the lists.
    std::vector<float> set_numbers(std::vector<knn_candidates>& parts, index_t first, index_t n) {
        std::vector<float> errors(static_cast<std::size_t>(round_up(n)), 0.0f);
        parallel_for(ctx_, n, 64, [&](index_t begin, index_t end) {
            const borrowed_scratch s(*this);
            for (index_t i = begin; i < end; ++i) {
                const auto numbers = space_.query(first + i, s->rows.data());
                errors[static_cast<std::size_t>(i)] = numbers.error;
                for (knn_candidates& lists : parts) lists.set_squared_norm(i, numbers.squared_norm);
            }
        });
        return errors;
    }

    /// Compares a row of products with columns [j0, j0 + columns) of the chunk, the first of which is `reference`, and adds to list i
    /// those that `keep` wants.
    template <class Keep>
    void compare_row(const borrowed_scratch& s, index_t row, index_t j0, index_t columns, index_t reference,
                     knn_candidates& lists, index_t i, float error, Keep keep) const {
        knn_batch& batch = s->batch;
        const float* const norms = norm_.data() + j0;
        const index_t hits = kernels_.scan(s->products.data() + row * k_group, base_.data() + j0, norms, error,
                                           lists.threshold(i), columns, batch.columns.data(), batch.lows.data());
        if (hits == 0) return;
        batch.n = 0;
        for (std::size_t h = 0; h < static_cast<std::size_t>(hits); ++h) {
            const auto at = static_cast<std::size_t>(batch.n);
            const std::int32_t column = batch.columns[h];
            batch.lows[at] = batch.lows[h];
            batch.highs[at] = space_.high(batch.lows[h], error, norms[column]);
            batch.references[at] = static_cast<std::int32_t>(reference + column);
            batch.n += keep(reference + column) ? 1 : 0;
        }
        lists.add(i, batch);
    }

    /// Compares a row of products, of reference i, with queries [j0, j0 + columns): those above i.
    void compare_column(const borrowed_scratch& s, index_t row, index_t i, index_t j0, index_t columns,
                        knn_candidates& lists, const std::vector<float>& errors) const {
        knn_batch& batch = s->batch;
        const index_t hits =
            kernels_.scan_queries(s->products.data() + row * k_group, base_(i), norm_(i), errors.data() + j0,
                                  lists.thresholds() + j0, columns, s->columns.data(), s->lows.data());
        for (index_t h = 0; h < hits; ++h) {
            const index_t j = j0 + s->columns(h);
            const float low = s->lows(h);
            if (j > i)
                lists.add(j, low, space_.high(low, errors[static_cast<std::size_t>(j)], norm_(i)),
                          static_cast<std::int32_t>(i), batch);
        }
    }

    void write(index_t q, std::vector<knn_exact>& found, tensor_view<std::int32_t, 2> index,
               tensor_view<float, 2> distance) const {
        std::partial_sort(found.begin(), found.begin() + static_cast<std::ptrdiff_t>(settings_.k), found.end());
        for (index_t j = 0; j < settings_.k; ++j) {
            const auto& [d, r] = found[static_cast<std::size_t>(j)];
            index(q, j) = r;
            distance(q, j) = space_.reported(d);
        }
    }

    void run_queries(index_t q0, index_t q1, tensor_view<std::int32_t, 2> index, tensor_view<float, 2> distance) {
        const index_t n = q1 - q0, threads = ctx_.max_threads();
        const index_t n_blocks =
            std::max({(n + block_ - 1) / block_, std::min(2 * threads, n / (2 * kernels_.cut.tile_rows)), index_t{1}});
        const index_t n_parts = std::min((2 * threads + n_blocks - 1) / n_blocks, chunk_ / k_group);
        std::vector<knn_candidates> parts;
        parts.reserve(static_cast<std::size_t>(n_parts));
        for (index_t p = 0; p < n_parts; ++p) parts.emplace_back(space_, settings_.k, q0, n, true);
        const std::vector<float> errors = set_numbers(parts, q0, n);
        for (index_t c0 = 0; c0 < n_references_; c0 += chunk_) {
            const index_t n_columns = std::min(chunk_, n_references_ - c0),
                          n_groups = (n_columns + k_group - 1) / k_group;
            pack_chunk(c0, n_columns, 0);
            parallel_for(ctx_, n_blocks * n_parts, 1, [&](index_t begin, index_t end) {
                const borrowed_scratch s(*this);
                for (index_t task = begin; task < end; ++task) {
                    const index_t b = task / n_parts, p = task % n_parts, i0 = block_begin(n, b, n_blocks),
                                  i1 = block_begin(n, b + 1, n_blocks);
                    const index_t g0 = n_groups * p / n_parts, g1 = n_groups * (p + 1) / n_parts;
                    knn_candidates& lists = parts[static_cast<std::size_t>(p)];
                    if (g0 < g1) pack_block(s, q0 + i0, i1 - i0);
                    for (index_t j0 = g0 * k_group; j0 < g1 * k_group; j0 += k_group) {
                        const index_t columns = multiply(s, i1 - i0, j0, n_columns);
                        for (index_t i = i0; i < i1; ++i) {
                            const index_t left_out = settings_.exclude_self ? q0 + i : -1;
                            compare_row(s, i - i0, j0, columns, c0 + j0, lists, i, errors[static_cast<std::size_t>(i)],
                                        [=](index_t j) { return j != left_out; });
                        }
                    }
                }
            });
        }
        parallel_for(ctx_, n, 32, [&](index_t begin, index_t end) {
            const borrowed_scratch s(*this);
            std::vector<knn_exact> found;
            for (index_t i = begin; i < end; ++i) {
                found.clear();
                for (knn_candidates& lists : parts) lists.finish(i, found, s->batch);
                write(q0 + i, found, index, distance);
            }
        });
    }

    void run_halves(tensor_view<std::int32_t, 2> index, tensor_view<float, 2> distance) {
        const index_t n = n_queries_;
        std::vector<knn_candidates> one;
        one.emplace_back(space_, settings_.k, 0, n, false);
        knn_candidates& lists = one.front();
        const std::vector<float> errors = set_numbers(one, 0, n);
        std::vector<std::mutex> locks(static_cast<std::size_t>(round_up(n) / k_group));
        for (index_t c0 = 0; c0 < n; c0 += chunk_) {
            const index_t c1 = std::min(n, c0 + chunk_), n_groups = (c1 - c0 + k_group - 1) / k_group,
                          n_blocks = (c1 + block_ - 1) / block_;
            pack_chunk(c0, c1 - c0, c0);
            parallel_for(ctx_, n_blocks, 1, [&](index_t begin, index_t end) {
                const borrowed_scratch s(*this);
                for (index_t b = begin; b < end; ++b) {
                    const index_t i0 = block_begin(c1, b, n_blocks), i1 = block_begin(c1, b + 1, n_blocks),
                                  skipped = std::max<index_t>(0, i0 - c0) / k_group;
                    pack_block(s, i0, i1 - i0);
                    for (index_t g = skipped; g < n_groups; ++g) {
                        // Blocks begin at different groups, so that threads seldom want the same lists.
                        const index_t j0 = c0 + (skipped + (g - skipped + 7 * b) % (n_groups - skipped)) * k_group;
                        const index_t columns = multiply(s, i1 - i0, j0 - c0, c1 - c0),
                                      rows_end = std::min({i1, j0 + k_group, c1});
                        // Of each pair i < j, here or in another tile, both sides are looked at in the same tile; i = j once.
                        for (index_t i = i0; i < rows_end;) {
                            const std::lock_guard lock(locks[static_cast<std::size_t>(i / k_group)]);
                            for (const index_t stop = std::min(rows_end, (i / k_group + 1) * k_group); i < stop; ++i) {
                                const index_t from = settings_.exclude_self ? i + 1 : i;
                                compare_row(s, i - i0, j0, columns, j0, lists, i, errors[static_cast<std::size_t>(i)],
                                            [=](index_t j) { return j >= from; });
                            }
                        }
                        const std::lock_guard lock(locks[static_cast<std::size_t>(j0 / k_group)]);
                        for (index_t i = i0; i < rows_end; ++i)
                            compare_column(s, i - i0, i, j0, columns, lists, errors);
                    }
                }
            });
        }
        parallel_for(ctx_, n, 32, [&](index_t begin, index_t end) {
            const borrowed_scratch s(*this);
            std::vector<knn_exact> found;
            for (index_t i = begin; i < end; ++i) {
                found.clear();
                lists.finish(i, found, s->batch);
                write(i, found, index, distance);
            }
        });
    }

    cpu_context& ctx_;
    knn_kernels kernels_;
    const knn_space& space_;
    index_t n_queries_, n_references_;
    settings settings_;
    index_t block_ = 0, chunk_ = 0;
    tensor<float, 1> base_, norm_, packed_;
    std::mutex mutex_;
    std::vector<std::unique_ptr<scratch>> free_;
};

}  // namespace instar::cluster::detail

#endif
