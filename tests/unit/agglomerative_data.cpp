// Ward, complete and average linkage on public benchmark sets against the partitions that fastcluster published for them.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "instar/cluster/agglomerative.hpp"
#include "instar/io/gzip.hpp"
#include "instar/metrics/clustering.hpp"

using namespace instar;

namespace {

/// Numbers of a text, whitespace between them; `columns`: of the first line.
std::vector<double> numbers(const std::string& text, index_t& columns) {
    std::vector<double> out;
    columns = 0;
    const char* p = text.c_str();
    const char* const first_end = p + std::min(text.find('\n'), text.size());
    for (char* end = nullptr;; p = end) {
        const double value = std::strtod(p, &end);
        if (end == p) return out;
        out.push_back(value);
        columns += end <= first_end;
    }
}

/// What the published partitions were made from: columns centred, all of them divided by one standard deviation, and noise of a
/// millionth of it added so that distances do not tie. NumPy's RandomState(123).normal gives the noise: mt19937, 53-bit
/// fractions, Marsaglia's polar method, the second of a pair first.
tensor<float, 2> prepared(std::vector<double> x, index_t d) {
    const auto n = static_cast<index_t>(x.size()) / d;
    const auto at = [&](index_t i, index_t c) -> double& { return x[static_cast<std::size_t>(i * d + c)]; };
    const auto deviation = [&x] {
        double mean = 0.0, squares = 0.0;
        for (const double v : x) mean += v / static_cast<double>(x.size());
        for (const double v : x) squares += (v - mean) * (v - mean);
        return std::sqrt(squares / static_cast<double>(x.size() - 1));
    };
    const double scale = deviation();
    for (index_t c = 0; c < d; ++c) {
        double mean = 0.0;
        for (index_t i = 0; i < n; ++i) mean += at(i, c) / static_cast<double>(n);
        for (index_t i = 0; i < n; ++i) at(i, c) = (at(i, c) - mean) / scale;
    }
    std::mt19937 bits(123);
    const auto fraction = [&bits] {
        const auto high = bits() >> 5, low = bits() >> 6;
        return (static_cast<double>(high) * 67108864.0 + static_cast<double>(low)) / 9007199254740992.0;
    };
    const double noise = 1e-6 * deviation();
    double kept = 0.0;
    bool has_kept = false;
    for (double& v : x) {
        double drawn = kept;
        if (!has_kept) {
            double a = 0.0, b = 0.0, r = 0.0;
            do {
                a = 2.0 * fraction() - 1.0;
                b = 2.0 * fraction() - 1.0;
                r = a * a + b * b;
            } while (r >= 1.0 || r == 0.0);
            const double f = std::sqrt(-2.0 * std::log(r) / r);
            kept = f * a;
            drawn = f * b;
        }
        has_kept = !has_kept;
        v += noise * drawn;
    }
    tensor<float, 2> out({n, d});
    for (std::size_t i = 0; i < x.size(); ++i) out.data()[i] = static_cast<float>(x[i]);
    return out;
}

}  // namespace

TEST_CASE("agglomerative: published partitions of eleven benchmark sets") {
    const char* folder = std::getenv("INSTAR_DATA");
    if (folder == nullptr) {
        MESSAGE("skipped: INSTAR_DATA is not set");
        return;
    }
#if defined(INSTAR_HAVE_ZLIB) && INSTAR_HAVE_ZLIB
    cpu_context ctx;
    int n_compared = 0;
    for (const std::string name : {"a1", "birch1", "d31", "ecoli", "iris", "r15", "s1", "s3", "statlog", "unbalance", "wine"}) {
        const std::string set = std::string(folder) + "/clustering/" + name;
        index_t d = 0, one = 0;
        auto values = numbers(io::read_all(set + "/data.gz"), d);
        REQUIRE(d > 0);
        const auto x = prepared(std::move(values), d);
        for (const auto l : {cluster::linkage::ward, cluster::linkage::complete, cluster::linkage::average}) {
            if (l != cluster::linkage::ward && name == "birch1") continue;  // 100,000 points, published for ward alone
#if !defined(NDEBUG)
            if (name == "birch1") {
                MESSAGE("skipped without optimisation: birch1");
                continue;
            }
#endif
            std::string published = io::read_all(set + "/published/fastcluster_" + cluster::detail::linkage_name(l) + ".labels.gz");
            published.erase(0, published.find('\n') + 1);  // a title
            std::vector<std::int32_t> labels;
            for (const double v : numbers(published, one)) labels.push_back(static_cast<std::int32_t>(v));
            REQUIRE(static_cast<index_t>(labels.size()) == x.extent(0));
            const index_t k = *std::max_element(labels.begin(), labels.end());
            const auto found = cluster::agglomerative(ctx, x, {.linkage = l}).cut({.n_clusters = k});
            const double index = metrics::adjusted_rand_index(labels, std::vector<std::int32_t>(found.begin(), found.end()));
            const std::string which = name + ", " + cluster::detail::linkage_name(l);
            CAPTURE(which);
            CHECK(index == 1.0);
            ++n_compared;
        }
    }
    CHECK(n_compared >= 30);
#else
    MESSAGE("skipped: built without zlib");
#endif
}
