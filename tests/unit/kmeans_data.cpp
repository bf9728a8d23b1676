// k-means on public benchmark sets: as good as the partitions that scikit-learn's k-means published for them.

#include <cstdlib>
#include <sstream>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "instar/cluster/kmeans.hpp"
#include "instar/io/gzip.hpp"
#include "instar/metrics/clustering.hpp"

using namespace instar;

namespace {

std::vector<std::int32_t> read_labels(const std::string& path) {
    std::istringstream text(io::read_all(path));
    std::vector<std::int32_t> labels;
    std::string line;
    while (std::getline(text, line)) {
        if (!line.empty() && line[0] != '"') labels.push_back(std::stoi(line));
    }
    return labels;
}

tensor<float, 2> read_points(const std::string& path, index_t n) {
    std::istringstream text(io::read_all(path));
    std::vector<float> values;
    double v = 0.0;
    while (text >> v) values.push_back(static_cast<float>(v));
    tensor<float, 2> x({n, static_cast<index_t>(values.size()) / n});
    std::copy_n(values.begin(), x.size(), x.begin());
    return x;
}

/// Σ ‖x − mean of its label‖² of a partition.
double inertia_of(const tensor<float, 2>& x, const std::vector<std::int32_t>& labels, index_t k) {
    const index_t d = x.extent(1);
    std::vector<double> sum(static_cast<std::size_t>((k + 1) * d), 0.0), count(static_cast<std::size_t>(k + 1), 0.0);
    for (index_t i = 0; i < x.extent(0); ++i) {
        const auto l = static_cast<std::size_t>(labels[static_cast<std::size_t>(i)]);
        count[l] += 1.0;
        for (index_t p = 0; p < d; ++p) sum[l * static_cast<std::size_t>(d) + static_cast<std::size_t>(p)] += static_cast<double>(x(i, p));
    }
    double total = 0.0;
    for (index_t i = 0; i < x.extent(0); ++i) {
        const auto l = static_cast<std::size_t>(labels[static_cast<std::size_t>(i)]);
        for (index_t p = 0; p < d; ++p) {
            const double by = static_cast<double>(x(i, p)) - sum[l * static_cast<std::size_t>(d) + static_cast<std::size_t>(p)] / count[l];
            total += by * by;
        }
    }
    return total;
}

}  // namespace

TEST_CASE("kmeans reaches the published partitions: score within 0.005 or inertia at most theirs") {
    const char* folder = std::getenv("INSTAR_DATA");
    if (folder == nullptr) {
        MESSAGE("skipped: INSTAR_DATA is not set");
        return;
    }
    cpu_context ctx{2};
    const std::pair<const char*, index_t> sets[] = {{"iris", 3}, {"a1", 20}, {"d31", 31}, {"r15", 15}, {"s1", 15}, {"s3", 15}, {"unbalance", 8}, {"ecoli", 8}, {"statlog", 7}, {"wine", 3}, {"birch1", 100}};
    for (const auto& [name, k] : sets) {
        CAPTURE(std::string(name));
        const std::string at = std::string(folder) + "/clustering/" + name;
        const auto truth = read_labels(at + "/labels0.gz"), published = read_labels(at + "/published/sklearn_kmeans.labels.gz");
        REQUIRE(truth.size() == published.size());
        const auto x = read_points(at + "/data.gz", static_cast<index_t>(truth.size()));
        const auto r = cluster::kmeans(ctx, x.view(), {.n_clusters = k, .n_init = 30});  // statlog has many poor optima
        const std::vector<std::int32_t> labels(r.labels.begin(), r.labels.end());
        const double mine = metrics::adjusted_rand_index(truth, labels), theirs = metrics::adjusted_rand_index(truth, published);
        const bool as_close = mine >= theirs - 0.005, as_tight = inertia_of(x, labels, k) <= inertia_of(x, published, k) * (1.0 + 1e-6);
        MESSAGE(std::string(name) << ": ARI " << mine << ", published " << theirs << "; inertia / published " << inertia_of(x, labels, k) / inertia_of(x, published, k));
        CHECK((as_close || as_tight));
    }
}
