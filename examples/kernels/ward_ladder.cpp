// Ward's tree of merges, from a stored matrix that is searched whole for each merge to the library's, each step checked, then timed.
//
//     kernels ward [n] [large]       n points of 64 dimensions in groups of groups, default 2,000; the last steps again with 10,000
//
// The text that goes with it is docs/kernels/ward.md.
#include <limits>
#include <numeric>

#include "grouped_points.hpp"
#include "ladder.hpp"

#include "instar/cluster/agglomerative.hpp"
#include "instar/ops/cpu/gemm_serial.hpp"

namespace kernels {

namespace {

using instar::index_t;
using instar::cluster::dendrogram;
using merge_list = std::vector<instar::cluster::detail::merge_record>;  // any point of one cluster, any of the other, the height

constexpr index_t k_d = 64;
constexpr double k_infinity = std::numeric_limits<double>::infinity();

// ‖a − b‖², in eight chains of additions.
double squared_distance(const double* a, const double* b) {
    using vec = double __attribute__((vector_size(64), aligned(8), may_alias));
    vec sum = {};
    for (index_t p = 0; p < k_d; p += 8) {
        const vec d = *reinterpret_cast<const vec*>(a + p) - *reinterpret_cast<const vec*>(b + p);
        sum += d * d;
    }
    return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}

// Clusters as sizes and means. The squared height of merging A and B: D = 2·|A|·|B| / (|A| + |B|) · ‖mean A − mean B‖².
struct clusters {
    std::vector<double> mean, size;
    std::vector<index_t> alive;

    explicit clusters(const std::vector<float>& x) : mean(x.begin(), x.end()), size(x.size() / k_d, 1.0), alive(size.size()) { std::iota(alive.begin(), alive.end(), index_t{0}); }
    index_t n() const { return static_cast<index_t>(size.size()); }
    double of(index_t a) const { return size[static_cast<std::size_t>(a)]; }
    const double* mean_of(index_t a) const { return mean.data() + a * k_d; }
    double distance(index_t a, index_t b) const { return 2.0 * of(a) * of(b) / (of(a) + of(b)) * squared_distance(mean_of(a), mean_of(b)); }

    /// b becomes the union, a is gone (size 0).
    void merge(index_t a, index_t b) {
        for (index_t p = 0; p < k_d; ++p) {
            double& to = mean[static_cast<std::size_t>(b * k_d + p)];
            to = (of(a) * mean_of(a)[p] + of(b) * to) / (of(a) + of(b));
        }
        size[static_cast<std::size_t>(b)] += of(a);
        size[static_cast<std::size_t>(a)] = 0.0;
    }
    void forget(index_t a) { alive.erase(std::lower_bound(alive.begin(), alive.end(), a)); }
};

instar::cluster::detail::merge_record record(index_t a, index_t b, double squared_height) {
    return {static_cast<std::int32_t>(a), static_cast<std::int32_t>(b), std::sqrt(squared_height)};
}

// The matrix of D between points, and what becomes of it when a merges into b: Lance and Williams' formula, no coordinates needed.
std::vector<double> matrix_of(const clusters& c) {
    std::vector<double> m(static_cast<std::size_t>(c.n() * c.n()), k_infinity);
    for (index_t i = 0; i < c.n(); ++i) {
        for (index_t j = 0; j < i; ++j) m[static_cast<std::size_t>(i * c.n() + j)] = m[static_cast<std::size_t>(j * c.n() + i)] = c.distance(i, j);
    }
    return m;
}
void lance_williams(std::vector<double>& m, clusters& c, index_t a, index_t b) {
    const index_t n = c.n();
    const auto at = [&](index_t i, index_t j) -> double& { return m[static_cast<std::size_t>(i * n + j)]; };
    for (const index_t i : c.alive) {
        if (i == a || i == b) continue;
        at(b, i) = at(i, b) = ((c.of(a) + c.of(i)) * at(a, i) + (c.of(b) + c.of(i)) * at(b, i) - c.of(i) * at(a, b)) / (c.of(a) + c.of(b) + c.of(i));
    }
    for (index_t i = 0; i < n; ++i) at(a, i) = at(i, a) = k_infinity;
    c.size[static_cast<std::size_t>(b)] += c.of(a);
    c.forget(a);
}

// 1. The definition: search the whole matrix for the closest pair, merge it, n − 1 times. n³/6 comparisons.
merge_list whole_search(const std::vector<float>& x) {
    clusters c(x);
    std::vector<double> m = matrix_of(c);
    merge_list merges;
    while (c.alive.size() > 1) {
        index_t a = 0, b = 0;
        double least = k_infinity;
        for (std::size_t i = 1; i < c.alive.size(); ++i) {
            const double* row = m.data() + c.alive[i] * c.n();
            for (std::size_t j = 0; j < i; ++j) {
                if (row[c.alive[j]] < least) least = row[c.alive[j]], a = c.alive[j], b = c.alive[i];
            }
        }
        merges.push_back(record(a, b, least));
        lance_williams(m, c, a, b);
    }
    return merges;
}

// 2. Every cluster remembers its nearest. A merge changes that only for those whose nearest was a or b: a union is never nearer to a third
// cluster than the nearer of its parts was. They search their row again; about n² operations in all, n² numbers.
merge_list remembered_nearest(const std::vector<float>& x) {
    clusters c(x);
    std::vector<double> m = matrix_of(c);
    std::vector<index_t> nearest(c.size.size());
    const auto to_nearest = [&](index_t i) { return m[static_cast<std::size_t>(i * c.n() + nearest[static_cast<std::size_t>(i)])]; };
    const auto search = [&](index_t i) {
        const double* row = m.data() + i * c.n();
        nearest[static_cast<std::size_t>(i)] = std::min_element(row, row + c.n()) - row;
    };
    for (const index_t i : c.alive) search(i);
    merge_list merges;
    while (c.alive.size() > 1) {
        const index_t b = *std::min_element(c.alive.begin(), c.alive.end(), [&](index_t i, index_t j) { return to_nearest(i) < to_nearest(j); });
        const index_t a = nearest[static_cast<std::size_t>(b)];
        merges.push_back(record(a, b, to_nearest(b)));
        lance_williams(m, c, a, b);
        for (const index_t i : c.alive) {
            if (i == b || nearest[static_cast<std::size_t>(i)] == a || nearest[static_cast<std::size_t>(i)] == b) search(i);
        }
    }
    return merges;
}

// 3. The nearest-neighbour chain over means: walk from a cluster to its nearest until two are each other's nearest, merge these, walk on
// from where the chain was. No matrix: distances come from means when they are asked for.
merge_list neighbour_chain(const std::vector<float>& x) {
    clusters c(x);
    std::vector<index_t> chain;
    merge_list merges;
    while (c.alive.size() > 1) {
        if (chain.empty()) chain.push_back(c.alive[0]);
        const index_t from = chain.back(), previous = chain.size() > 1 ? chain[chain.size() - 2] : -1;
        index_t to = previous;
        double least = previous < 0 ? k_infinity : c.distance(from, previous);
        for (const index_t i : c.alive) {
            if (i == from) continue;
            const double d = c.distance(from, i);
            if (d < least) least = d, to = i;
        }
        if (to != previous) {
            chain.push_back(to);
            continue;
        }
        chain.resize(chain.size() - 2);
        merges.push_back(record(from, to, least));
        c.merge(from, to);
        c.forget(from);
    }
    return merges;
}

// For step 4: the nearest clusters of many at once. ‖a‖² + ‖b‖² − 2·a·b as a product of floats tells, to its rounding, who is too far away;
// whoever may be nearer than the best so far is measured in double.
struct neighbour {
    double distance = k_infinity;
    index_t slot = -1;
    bool operator<(const neighbour& o) const { return distance < o.distance || (distance == o.distance && slot < o.slot); }
};
void find_nearest(std::vector<neighbour>& nearest, const clusters& c, const std::vector<index_t>& ask) {
    constexpr index_t k_rows = 112, k_columns = 512;
    constexpr float k_rounding = 4.0f * static_cast<float>(k_d + 16) * 0x1.0p-24f;  // of a product of k_d, and some
    const auto gather = [&](std::vector<float>& rows, std::vector<float>& norms, std::vector<float>& sizes, const index_t* slots, index_t n) {
        for (index_t i = 0; i < n; ++i) {
            double norm = 0.0;
            for (index_t p = 0; p < k_d; ++p) {
                norm += c.mean_of(slots[i])[p] * c.mean_of(slots[i])[p];
                rows[static_cast<std::size_t>(i * k_d + p)] = static_cast<float>(c.mean_of(slots[i])[p]);
            }
            norms[static_cast<std::size_t>(i)] = static_cast<float>(norm);
            sizes[static_cast<std::size_t>(i)] = static_cast<float>(c.of(slots[i]));
        }
    };
    const auto n = static_cast<index_t>(c.alive.size()), m = static_cast<index_t>(ask.size());
    std::vector<float> all(c.alive.size() * k_d), all_norms(c.alive.size()), all_sizes(c.alive.size());
    gather(all, all_norms, all_sizes, c.alive.data(), n);
    std::vector<float> rows(k_rows * k_d), norms(k_rows), sizes(k_rows), least(k_rows * k_columns);
    for (index_t i0 = 0; i0 < m; i0 += k_rows) {
        const index_t height = std::min(k_rows, m - i0);
        gather(rows, norms, sizes, ask.data() + i0, height);
        for (index_t j0 = 0; j0 < n; j0 += k_columns) {
            const index_t width = std::min(k_columns, n - j0);
            instar::ops::cpu::gemm_serial({.m = height, .n = width, .k = k_d, .a = rows.data(), .lda = k_d, .b = all.data() + j0 * k_d, .ldb = k_d, .transpose_b = true,
                                           .c = least.data(), .ldc = k_columns});
            for (index_t i = 0; i < height; ++i) {
                const index_t slot = ask[static_cast<std::size_t>(i0 + i)];
                float* row = least.data() + i * k_columns;
                const float *to_norm = all_norms.data() + j0, *to_size = all_sizes.data() + j0;
                const float norm = norms[static_cast<std::size_t>(i)], size = sizes[static_cast<std::size_t>(i)];
                for (index_t j = 0; j < width; ++j) {  // D, less what rounding may have added
                    const float both = norm + to_norm[j];
                    row[j] = 2.0f * size * to_size[j] / (size + to_size[j]) * (both - 2.0f * row[j] - k_rounding * both);
                }
                neighbour& best = nearest[static_cast<std::size_t>(slot)];
                for (index_t j = 0; j < width; ++j) {
                    const index_t other = c.alive[static_cast<std::size_t>(j0 + j)];
                    if (static_cast<double>(row[j]) <= best.distance && other != slot) best = std::min(best, {c.distance(slot, other), other});
                }
            }
        }
    }
}

// 4. Rounds: all pairs that are each other's nearest merge at once, which changes no later merge, for the same reason as in step 2. Then
// unions, and clusters whose nearest merged, search together: a matrix product. For all others the nearest of before is it still.
merge_list mutual_rounds(const std::vector<float>& x) {
    clusters c(x);
    std::vector<neighbour> nearest(c.size.size());
    std::vector<index_t> ask = c.alive;
    merge_list merges;
    while (c.alive.size() > 1) {
        for (const index_t i : ask) nearest[static_cast<std::size_t>(i)] = {};
        find_nearest(nearest, c, ask);
        std::vector<char> changed(c.size.size(), 0);
        for (const index_t a : c.alive) {
            const auto [distance, b] = nearest[static_cast<std::size_t>(a)];
            if (a > b || nearest[static_cast<std::size_t>(b)].slot != a) continue;
            merges.push_back(record(a, b, distance));
            changed[static_cast<std::size_t>(a)] = changed[static_cast<std::size_t>(b)] = 1;
        }
        for (const index_t a : c.alive) {
            if (changed[static_cast<std::size_t>(a)] && a < nearest[static_cast<std::size_t>(a)].slot) c.merge(a, nearest[static_cast<std::size_t>(a)].slot);
        }
        std::erase_if(c.alive, [&](index_t a) { return c.of(a) == 0.0; });
        ask.clear();
        for (const index_t a : c.alive) {
            if (changed[static_cast<std::size_t>(a)] || changed[static_cast<std::size_t>(nearest[static_cast<std::size_t>(a)].slot)]) ask.push_back(a);
        }
    }
    return merges;
}

// What trees are checked against: always the closest pair, all distances from means in double, one row at a time.
merge_list closest_pairs(const std::vector<float>& x) {
    clusters c(x);
    std::vector<neighbour> nearest(c.size.size());
    const auto search = [&](index_t i) {
        neighbour best;
        for (const index_t j : c.alive) {
            if (j != i) best = std::min(best, {c.distance(i, j), j});
        }
        nearest[static_cast<std::size_t>(i)] = best;
    };
    for (const index_t i : c.alive) search(i);
    merge_list merges;
    while (c.alive.size() > 1) {
        const index_t b = *std::min_element(c.alive.begin(), c.alive.end(), [&](index_t i, index_t j) { return nearest[static_cast<std::size_t>(i)] < nearest[static_cast<std::size_t>(j)]; });
        const index_t a = nearest[static_cast<std::size_t>(b)].slot;
        merges.push_back(record(a, b, nearest[static_cast<std::size_t>(b)].distance));
        c.merge(a, b);
        c.forget(a);
        for (const index_t i : c.alive) {
            if (i == b || nearest[static_cast<std::size_t>(i)].slot == a || nearest[static_cast<std::size_t>(i)].slot == b) search(i);
        }
    }
    return merges;
}

dendrogram tree_of(index_t n, const merge_list& merges) {
    return instar::cluster::detail::make_dendrogram(n, merges, true, instar::cluster::detail::child_order::ascending);
}

// Clusters of a cut, named by their first point, so that partitions can be compared.
std::vector<std::int32_t> partition(const dendrogram& tree, index_t n_clusters) {
    const auto labels = tree.cut({.n_clusters = n_clusters});
    std::vector<std::int32_t> first(static_cast<std::size_t>(n_clusters), -1), names(static_cast<std::size_t>(tree.n_points()));
    for (std::size_t i = 0; i < names.size(); ++i) {
        std::int32_t& name = first[static_cast<std::size_t>(labels(static_cast<index_t>(i)))];
        if (name < 0) name = static_cast<std::int32_t>(i);
        names[i] = name;
    }
    return names;
}

// All heights, relative, and the partitions of several cuts.
double difference(const dendrogram& tree, const dendrogram& exact) {
    if (tree.n_merges() != exact.n_merges()) return 1.0;
    double worst = 0.0;
    for (index_t m = 0; m < tree.n_merges(); ++m) {
        const double off = std::fabs(tree.height(m) - exact.height(m)) / exact.height(m);
        worst = off <= worst ? worst : off;  // a NaN counts
    }
    for (index_t k = 1; k <= exact.n_points(); k *= 3) {
        if (partition(tree, k) != partition(exact, k)) return 1.0;
    }
    return worst;
}

int run_ward_of(index_t n, bool with_matrices) {
    const std::vector<float> x = grouped_points(n, k_d);
    const dendrogram exact = tree_of(n, closest_pairs(x));
    dendrogram tree;
    const auto error = [&] { return difference(tree, exact); };
    ladder steps("Ward's tree of " + std::to_string(n) + " points of 64", {});
    const auto rung = [&](const char* name, merge_list (*f)(const std::vector<float>&)) { steps.rung(name, 1, [&] { tree = tree_of(n, f(x)); }, error); };
    if (with_matrices) {
        rung("1 matrix, whole search", whole_search);
        rung("2 matrix, remembered nearest", remembered_nearest);
    }
    rung("3 chain over means", neighbour_chain);
    rung("4 rounds, product and bounds", mutual_rounds);
    instar::cpu_context one(1), all;
    const instar::tensor_view<const float, 2> points(x.data(), {n, k_d});
    steps.rung("5 instar, one thread", 1, [&] { tree = instar::cluster::agglomerative(one, points); }, error);
    steps.rung("6 instar, all threads", all.max_threads(), [&] { tree = instar::cluster::agglomerative(all, points); }, error);
    return steps.finish();
}

}  // namespace

int run_ward(index_t n, index_t n_large) {
    const int code = run_ward_of(n, true);
    return n_large > 0 ? code | run_ward_of(n_large, false) : code;
}

}  // namespace kernels
