// One iteration of k-means (Lloyd's): every point to its nearest centre, every centre to the mean of its points. From the definition to the
// library's, each step checked, then timed.
//
//     kernels kmeans [n]        n points of 128 dimensions in groups of groups, 500 centres (n / 2 when that is less); default 20,000
//
// The text that goes with it is docs/kernels/kmeans.md.
#include <limits>

#include "grouped_points.hpp"
#include "ladder.hpp"
#include "tile.hpp"

#include "instar/cluster/kmeans.hpp"
#include "instar/ops/cpu/gemm_serial.hpp"

namespace kernels {

namespace {

using instar::index_t;
using instar::cluster::detail::kmeans_points;

constexpr index_t k_d = 128;
constexpr float k_infinity = std::numeric_limits<float>::infinity();

// What an iteration works on: points, and centres that it moves; labels are its other result.
struct clustering {
    const float* x;
    index_t n, k;
    std::vector<float> centers;
    std::vector<std::int32_t> labels;

    const float* point(index_t i) const { return x + i * k_d; }
    const float* center(index_t c) const { return centers.data() + c * k_d; }
    std::int32_t& label(index_t i) { return labels[static_cast<std::size_t>(i)]; }
};

// Every centre to the mean of its points. Each sum is in double and in the order of the points. The library sorts points by label first and
// gives whole centres to threads: the same sums, whatever the number of threads.
void move_centers(clustering& g) {
    std::vector<double> sum(g.centers.size(), 0.0);
    std::vector<index_t> count(static_cast<std::size_t>(g.k), 0);
    for (index_t i = 0; i < g.n; ++i) {
        double* to = sum.data() + g.label(i) * k_d;
        for (index_t p = 0; p < k_d; ++p) to[p] += static_cast<double>(g.point(i)[p]);
        ++count[static_cast<std::size_t>(g.label(i))];
    }
    for (std::size_t e = 0; e < sum.size(); ++e) {
        const auto n = static_cast<double>(count[e / static_cast<std::size_t>(k_d)]);
        if (n > 0.0) g.centers[e] = static_cast<float>(sum[e] / n);
    }
}

// 1. The definition: all distances from differences. One sum is a chain of 128 additions.
void direct_distances(clustering& g) {
    for (index_t i = 0; i < g.n; ++i) {
        float least = k_infinity;
        for (index_t c = 0; c < g.k; ++c) {
            float distance = 0.0f;
            for (index_t p = 0; p < k_d; ++p) distance += (g.point(i)[p] - g.center(c)[p]) * (g.point(i)[p] - g.center(c)[p]);
            if (distance < least) {
                least = distance;
                g.label(i) = static_cast<std::int32_t>(c);
            }
        }
    }
    move_centers(g);
}

// 2. Four vectors of sums. A subtraction and a multiply-add for each coordinate, and two loads: nothing is used twice.
void direct_vectors(clustering& g) {
    for (index_t i = 0; i < g.n; ++i) {
        float least = k_infinity;
        for (index_t c = 0; c < g.k; ++c) {
            vec s[4] = {};
            for (index_t p = 0; p < k_d; p += 4 * k_lanes) {
                for (index_t u = 0; u < 4; ++u) {
                    const vec d = at(g.point(i) + p + u * k_lanes) - at(g.center(c) + p + u * k_lanes);
                    s[u] += d * d;
                }
            }
            const float distance = total((s[0] + s[1]) + (s[2] + s[3]));
            if (distance < least) {
                least = distance;
                g.label(i) = static_cast<std::int32_t>(c);
            }
        }
    }
    move_centers(g);
}

// −‖c‖²/2 of each centre: the nearest centre is the one of largest x·c − ‖c‖²/2, since ‖x − c‖² = ‖x‖² − 2 (x·c − ‖c‖²/2).
std::vector<float> half_norms(const clustering& g) {
    std::vector<float> h(static_cast<std::size_t>(g.k));
    for (index_t c = 0; c < g.k; ++c) {
        double norm = 0.0;
        for (index_t p = 0; p < k_d; ++p) norm += static_cast<double>(g.center(c)[p]) * static_cast<double>(g.center(c)[p]);
        h[static_cast<std::size_t>(c)] = static_cast<float>(-0.5 * norm);
    }
    return h;
}

// scores[i, c] = x_i · c − ‖c‖²/2 for rows of x and all of `centers`: the product of docs/kernels/gemm.md on this thread.
void scores_of(float* scores, const float* x, index_t n_rows, const float* centers, index_t n_centers, const float* half_norm) {
    instar::ops::cpu::gemm_serial({.m = n_rows, .n = n_centers, .k = k_d, .a = x, .lda = k_d, .b = centers, .ldb = k_d, .transpose_b = true,
                                   .c = scores, .ldc = n_centers, .bias = half_norm});
}

// 3. All scores as one matrix product, then the largest of each row. The matrix (40 MB) goes to memory and comes back.
void whole_product(clustering& g) {
    const std::vector<float> half_norm = half_norms(g);
    std::vector<float> scores(static_cast<std::size_t>(g.n * g.k));
    scores_of(scores.data(), g.x, g.n, g.centers.data(), g.k, half_norm.data());
    for (index_t i = 0; i < g.n; ++i) {
        const float* row = scores.data() + i * g.k;
        g.label(i) = static_cast<std::int32_t>(std::max_element(row, row + g.k) - row);
    }
    move_centers(g);
}

// The first of the largest of row[0, n): sixteen at a time with their places, then the best of the sixteen.
index_t place_of_largest(const float* row, index_t n) {
    using places = int __attribute__((vector_size(64), aligned(4), may_alias));
    float best = row[0];
    index_t place = 0, j = 0;
    if (n >= k_lanes) {
        vec high = at(row);
        places where = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, now = where;
        for (j = k_lanes; j + k_lanes <= n; j += k_lanes) {
            now += static_cast<int>(k_lanes);
            const places larger = at(row + j) > high;  // strictly: the first of equals stays
            high = larger ? at(row + j) : high;
            where = larger ? now : where;
        }
        best = high[0];
        place = where[0];
        for (index_t l = 1; l < k_lanes; ++l) {
            if (high[l] > best || (high[l] == best && where[l] < place)) best = high[l], place = where[l];
        }
    }
    for (; j < n; ++j) {
        if (row[j] > best) best = row[j], place = j;
    }
    return place;
}

constexpr index_t k_block = 128;  // points whose scores (256 KiB for 500 centres) stay in the second-level cache

// 4. Blocks of points: the largest scores are found while they are in the cache, sixteen at a time.
void blocked_product(clustering& g) {
    const std::vector<float> half_norm = half_norms(g);
    std::vector<float> scores(static_cast<std::size_t>(k_block * g.k));
    for (index_t i0 = 0; i0 < g.n; i0 += k_block) {
        const index_t rows = std::min(k_block, g.n - i0);
        scores_of(scores.data(), g.point(i0), rows, g.centers.data(), g.k, half_norm.data());
        for (index_t i = 0; i < rows; ++i) g.label(i0 + i) = static_cast<std::int32_t>(place_of_largest(scores.data() + i * g.k, g.k));
    }
    move_centers(g);
}

// 5. Filtering. The points of a block lie within R of p. A centre c can be nearest to one of them only when ‖c − p‖ ≤ least + 2R, where
// `least` is the distance of the centre nearest to p: by the triangle inequality that one is within least + R of every point of the block,
// and c at least ‖c − p‖ − R away. Blocks must be compact for that: kmeans_points sorts points once a run, as a k-d tree does.
void filtered_product(clustering& g, const kmeans_points& sorted) {
    const std::vector<float> half_norm = half_norms(g);
    std::vector<float> scores(static_cast<std::size_t>(k_block * g.k)), near(static_cast<std::size_t>(g.k * k_d)), near_norm(half_norm.size());
    std::vector<std::int32_t> names(half_norm.size());
    const double longest = std::sqrt(-2.0 * static_cast<double>(*std::min_element(half_norm.begin(), half_norm.end())));
    for (index_t b = 0; b < sorted.n_blocks(); ++b) {
        const float* p = sorted.block_center(b);
        double norm = 0.0;
        for (index_t e = 0; e < k_d; ++e) norm += static_cast<double>(p[e]) * static_cast<double>(p[e]);
        scores_of(scores.data(), p, 1, g.centers.data(), g.k, half_norm.data());
        // ‖c − p‖² = ‖p‖² − 2 · score, to the rounding of the product: k_d products and a bound on their sizes. The limit is loosened by it.
        const double reach = std::sqrt(norm) + longest, slack = 2.0 * static_cast<double>(k_d + 16) * 0x1.0p-24 * reach * reach;
        const double top = static_cast<double>(*std::max_element(scores.data(), scores.data() + g.k));
        const double limit = std::sqrt(std::max(0.0, norm - 2.0 * top) + slack) + 2.0 * sorted.block_radius(b);
        index_t n_near = 0;
        for (index_t c = 0; c < g.k; ++c) {
            if (norm - 2.0 * static_cast<double>(scores[static_cast<std::size_t>(c)]) > limit * limit + slack) continue;
            std::copy_n(g.center(c), k_d, near.data() + n_near * k_d);
            near_norm[static_cast<std::size_t>(n_near)] = half_norm[static_cast<std::size_t>(c)];
            names[static_cast<std::size_t>(n_near++)] = static_cast<std::int32_t>(c);
        }
        const index_t first = sorted.first(b), rows = sorted.last(b) - first;
        scores_of(scores.data(), sorted.row(first), rows, near.data(), n_near, near_norm.data());
        for (index_t i = 0; i < rows; ++i) g.label(sorted.original(first + i)) = names[static_cast<std::size_t>(place_of_largest(scores.data() + i * n_near, n_near))];
    }
    move_centers(g);
}

}  // namespace

int run_kmeans(index_t n) {
    const index_t k = std::max<index_t>(1, std::min<index_t>(500, n / 2));
    const std::vector<float> x = grouped_points(n, k_d), start(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(k * k_d));
    clustering g{x.data(), n, k, start, std::vector<std::int32_t>(static_cast<std::size_t>(n), -1)};
    const auto squared = [&](index_t i, const float* c) {
        double s = 0.0;
        for (index_t p = 0; p < k_d; ++p) s += (static_cast<double>(g.point(i)[p]) - static_cast<double>(c[p])) * (static_cast<double>(g.point(i)[p]) - static_cast<double>(c[p]));
        return s;
    };
    std::vector<double> least(static_cast<std::size_t>(n), std::numeric_limits<double>::infinity());
    double scale = 0.0;  // mean of ‖x‖², which is what scores are rounded relative to
    for (index_t i = 0; i < n; ++i) {
        for (index_t c = 0; c < k; ++c) least[static_cast<std::size_t>(i)] = std::min(least[static_cast<std::size_t>(i)], squared(i, start.data() + c * k_d));
        for (index_t p = 0; p < k_d; ++p) scale += static_cast<double>(g.point(i)[p]) * static_cast<double>(g.point(i)[p]) / static_cast<double>(n);
    }
    // How much farther than the nearest the chosen centre is, at most; and how far centres are from the means of the points they were given.
    const auto error = [&] {
        std::vector<double> mean(g.centers.size(), 0.0), count(static_cast<std::size_t>(k), 0.0);
        double worst = 0.0;
        for (index_t i = 0; i < n; ++i) {
            if (g.label(i) < 0 || g.label(i) >= k) return 1.0;
            worst = std::max(worst, (squared(i, start.data() + g.label(i) * k_d) - least[static_cast<std::size_t>(i)]) / scale);
            for (index_t p = 0; p < k_d; ++p) mean[static_cast<std::size_t>(g.label(i) * k_d + p)] += static_cast<double>(g.point(i)[p]);
            count[static_cast<std::size_t>(g.label(i))] += 1.0;
        }
        for (std::size_t e = 0; e < mean.size(); ++e) {
            const double c = count[e / static_cast<std::size_t>(k_d)], expected = c > 0.0 ? mean[e] / c : static_cast<double>(start[e]);
            const double off = std::fabs(static_cast<double>(g.centers[e]) - expected);
            worst = off <= worst ? worst : off;  // a NaN counts
        }
        return worst;
    };
    ladder steps("k-means, one iteration, " + std::to_string(n) + " points of 128, " + std::to_string(k) + " centres",
                 {.flop = 2.0 * static_cast<double>(n) * static_cast<double>(k) * static_cast<double>(k_d)});
    const auto rung = [&](const char* name, int threads, auto&& f) {
        steps.rung(name, threads, [&] { g.centers = start; std::fill(g.labels.begin(), g.labels.end(), -1); f(); }, error);
    };
    rung("1 direct distances", 1, [&] { direct_distances(g); });
    rung("2 vectors of sums", 1, [&] { direct_vectors(g); });
    rung("3 matrix product", 1, [&] { whole_product(g); });
    rung("4 blocks, fused maximum", 1, [&] { blocked_product(g); });
    instar::cpu_context one(1), all;
    const kmeans_points points(all, {x.data(), {n, k_d}}, false);
    rung("5 filtering", 1, [&] { filtered_product(g, points); });
    // What cluster::kmeans does in each iteration, over points that it sorts once.
    const auto run = [&](instar::cpu_context& ctx) {
        instar::cluster::detail::kmeans_lloyd lloyd(points, k, false);
        lloyd.assign(ctx, {g.centers.data(), {k, k_d}}, instar::cluster::kmeans_algorithm::automatic);
        lloyd.update(ctx, {g.centers.data(), {k, k_d}});
        for (index_t i = 0; i < n; ++i) g.label(points.original(i)) = lloyd.labels()[static_cast<std::size_t>(i)];
    };
    rung("6 instar, one thread", 1, [&] { run(one); });
    rung("7 instar, all threads", all.max_threads(), [&] { run(all); });
    return steps.finish();
}

}  // namespace kernels
