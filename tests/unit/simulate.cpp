#include <doctest/doctest.h>

#include <unistd.h>

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "instar/data/bioscan.hpp"
#include "instar/data/simulate.hpp"
#include "instar/data/simulate_image.hpp"

using namespace instar;
using namespace instar::data;

namespace {

simulate_options small(std::uint64_t seed = 3) {
    return {.n_specimens = 2500, .n_species = 90, .n_genera = 30, .n_subfamilies = 14, .n_families = 8, .n_orders = 3, .seed = seed};
}

/// Share of differing letters over the common length.
double distance(std::string_view a, std::string_view b) {
    std::size_t n = std::min(a.size(), b.size()), d = 0;
    for (std::size_t i = 0; i < n; ++i) d += a[i] != b[i];
    return static_cast<double>(d) / static_cast<double>(n);
}

}  // namespace

TEST_CASE("simulate: the seed decides everything") {
    const auto a = simulate_specimens(small()), b = simulate_specimens(small()), c = simulate_specimens(small(4));
    REQUIRE(a.size() == 2500);
    REQUIRE(c.size() == 2500);
    std::size_t same = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        REQUIRE(a[i].dna_barcode == b[i].dna_barcode);
        REQUIRE(a[i].species == b[i].species);
        REQUIRE(a[i].split == b[i].split);
        same += a[i].dna_barcode == c[i].dna_barcode;
    }
    CHECK(same == 0);
}

TEST_CASE("simulate: a file of BIOSCAN-5M's format, with every partition") {
    const auto path = (std::filesystem::temp_directory_path() / ("instar_simulate_" + std::to_string(::getpid()) + ".csv")).string();
    auto options = small();
    options.n_specimens = 6000, options.n_species = 200, options.n_genera = 60;
    const auto s = simulate_specimens(options);
    write_bioscan_csv(path, s);
    const auto m = read_bioscan(path);
    std::filesystem::remove(path);
    CHECK(m.format() == bioscan_format::bioscan_5m);
    CHECK(m.columns() == std::vector<std::string>(k_bioscan_5m_columns.begin(), k_bioscan_5m_columns.end()));
    REQUIRE(m.size() == 6000);
    for (std::string_view split : split_names(m.format())) {
        CAPTURE(std::string(split));
        CHECK(!m.rows_of(split).empty());
    }
    std::map<std::string_view, std::string_view> home;  // barcode → split
    std::set<std::string_view> train_species, train_genera;
    for (index_t r : m.rows_of("train")) train_species.insert(m.label("species", r)), train_genera.insert(m.label("genus", r));
    std::set<std::string_view> ids;
    for (index_t r = 0; r < m.size(); ++r) {
        ids.insert(m.processid(r));
        const std::string_view split = m.split(r), species = m.label("species", r);
        const auto [it, is_new] = home.emplace(strip_n(m.barcode(r)), split);
        REQUIRE(it->second == split);  // no barcode in two partitions
        REQUIRE(m.chunk(r) == bioscan_chunk(split, m.processid(r)));
        if (split == "pretrain") REQUIRE(species.empty());
        if (split == "test" || split == "val") REQUIRE((species.empty() || train_species.contains(species)));
        if (split == "test_unseen" || split == "key_unseen" || split == "val_unseen") {
            REQUIRE((species.empty() || !train_species.contains(species)));
            REQUIRE((species.empty() || train_genera.contains(m.label("genus", r))));
        }
        REQUIRE(!m.label("order", r).empty());
        const bool ranks_nest = (species.empty() || !m.label("genus", r).empty()) && (m.label("genus", r).empty() || !m.label("family", r).empty());
        REQUIRE(ranks_nest);
    }
    CHECK(ids.size() == 6000);
}

TEST_CASE("simulate: sequences are COI-like") {
    const auto s = simulate_specimens(small());
    std::map<std::string, std::vector<const specimen*>> genera;
    std::size_t at = 0, total = 0, partial = 0, with_n = 0, unlabelled = 0;
    for (const specimen& x : s) {
        for (char c : x.dna_barcode) at += c == 'A' || c == 'T', ++total;
        partial += x.dna_barcode.size() < 658;
        with_n += x.dna_barcode.find('N') != std::string::npos;
        unlabelled += x.species.empty();
        REQUIRE(x.dna_barcode.find_first_not_of("ACGTN") == std::string::npos);
    }
    const double n = static_cast<double>(s.size());
    CHECK(static_cast<double>(at) / static_cast<double>(total) > 0.6);
    CHECK(static_cast<double>(at) / static_cast<double>(total) < 0.75);
    CHECK(static_cast<double>(partial) / n > 0.2);
    CHECK(static_cast<double>(partial) / n < 0.6);
    CHECK(static_cast<double>(with_n) / n > 0.01);
    CHECK(static_cast<double>(unlabelled) / n > 0.3);
    CHECK(static_cast<double>(unlabelled) / n < 0.6);
    // Relatives are near in the order of their ranks.
    double sum[4] = {};
    int count[4] = {};
    for (std::size_t i = 0; i < s.size(); i += 7) {
        for (std::size_t j = i + 1; j < s.size(); j += 11) {
            if (s[i].dna_barcode.size() != 658 || s[j].dna_barcode.size() != 658) continue;
            const auto same_genus = [&] { return s[i].true_species.substr(0, s[i].true_species.find(' ')) == s[j].true_species.substr(0, s[j].true_species.find(' ')); };
            const std::size_t rank = s[i].true_species == s[j].true_species ? 0 : same_genus() ? 1 : s[i].order == s[j].order ? 2 : 3;
            sum[rank] += distance(s[i].dna_barcode, s[j].dna_barcode);
            ++count[rank];
        }
    }
    for (std::size_t r = 0; r < 4; ++r) REQUIRE(count[r] > 20);
    CHECK(sum[0] / count[0] < 0.03);
    CHECK(sum[1] / count[1] > 2 * sum[0] / count[0]);
    CHECK(sum[1] / count[1] < 0.16);
    CHECK(sum[2] / count[2] > sum[1] / count[1]);
    CHECK(sum[3] / count[3] > sum[2] / count[2]);
    CHECK(sum[3] / count[3] < 0.3);
}

TEST_CASE("simulate: no stop codon, slow first and second positions") {
    data::detail::random_draws draw(philox{.seed = 1});
    const data::detail::coding_gene gene(draw, 658);
    CHECK(gene.n_codons() == 219);
    const auto stops = [&](const std::string& s) {
        int n = 0;
        for (std::size_t c = 0; c < gene.n_codons(); ++c) n += gene.amino_acid(s, c) == '*';
        return n;
    };
    CHECK(stops(gene.ancestor()) == 0);
    double changed[3] = {};
    for (int i = 0; i < 40; ++i) {
        const std::string s = gene.evolve(draw, gene.ancestor(), 0.5);
        REQUIRE(s.size() == 658);
        REQUIRE(stops(s) == 0);
        for (std::size_t p = 1; p < 658; ++p) changed[(p - 1) % 3] += s[p] != gene.ancestor()[p];
    }
    CHECK(changed[2] > 3 * changed[0]);
    CHECK(changed[0] > changed[1]);  // two silent changes of leucine's first base; second positions are never silent
    const std::string once = gene.evolve_once(draw, gene.ancestor());
    CHECK(distance(once, gene.ancestor()) == doctest::Approx(1.0 / 658));
    // The code itself: four entries of translation table 5 that differ from the standard one, and the two stops.
    const auto acid = [&](const char* codon) { return gene.amino_acid("A" + std::string(codon), 0); };
    CHECK(acid("ATA") == 'M');
    CHECK(acid("TGA") == 'W');
    CHECK(acid("AGA") == 'S');
    CHECK(acid("AGG") == 'S');
    CHECK(acid("TAA") == '*');
    CHECK(acid("TAG") == '*');
    CHECK(acid("ATG") == 'M');
    CHECK(acid("TTT") == 'F');
    CHECK(acid("GGG") == 'G');
}

TEST_CASE("simulate: trees and ranks") {
    data::detail::random_draws draw(philox{.seed = 2});
    for (double extinction : {0.0, 0.5, 0.9}) {
        const auto tree = data::detail::grow_tree(draw, 60, extinction);
        REQUIRE(tree.leaves.size() == 60);
        for (int leaf : tree.leaves) CHECK(tree.nodes[static_cast<std::size_t>(leaf)].end == doctest::Approx(1.0));
        std::vector<int> coarse = data::detail::cut_tree(tree, 5);
        for (int n : {10, 25, 60}) {
            const std::vector<int> fine = data::detail::cut_tree(tree, n);
            CHECK(std::set<int>(fine.begin(), fine.end()).size() == static_cast<std::size_t>(n));
            std::map<int, int> parent;
            for (std::size_t i = 0; i < fine.size(); ++i) REQUIRE(parent.emplace(fine[i], coarse[i]).first->second == coarse[i]);
            coarse = fine;
        }
        CHECK(std::set<int>(coarse.begin(), coarse.end()).size() == 60);
    }
}

TEST_CASE("simulate: what it refuses") {
    CHECK_THROWS_AS(simulate_specimens({.n_specimens = 10, .n_species = 20}), value_error);
    CHECK_THROWS_AS(simulate_specimens({.n_genera = 1000}), value_error);
    CHECK_THROWS_AS(simulate_specimens({.unlabelled = 1.5}), value_error);
    CHECK_THROWS_AS(simulate_specimens({.extinction = 1.0}), value_error);
    CHECK_THROWS_AS(simulate_specimens({.barcode_length = 3}), value_error);
}

TEST_CASE("draw_specimen: the same picture each time, alike within a species, unlike across orders") {
    const auto all = simulate_specimens(small());
    const auto a = draw_specimen(all[0], 32), b = draw_specimen(all[0], 32);
    CHECK(a.pixels == b.pixels);
    CHECK(a.pixels.size() == 32 * 32 * 3);
    CHECK(draw_specimen(all[0], 32, {.seed = 2}).pixels != a.pixels);
    CHECK_THROWS_AS(draw_specimen(all[0], 7), value_error);
    // Traits are the species', and close within a genus.
    const auto distance = [](const specimen& x, const specimen& y) {
        double d = 0.0;
        for (std::size_t i = 0; i < k_n_traits; ++i) d += std::pow(static_cast<double>(x.traits[i] - y.traits[i]), 2.0);
        return d;
    };
    double same_genus = 0.0, other_order = 0.0;
    int n_genus = 0, n_order = 0;
    for (const auto& x : all) {
        for (const auto& y : all) {
            if (x.true_species == y.true_species) {
                CHECK(distance(x, y) == 0.0);
            } else if (x.order != y.order) {
                other_order += distance(x, y), ++n_order;
            } else if (!x.genus.empty() && x.genus == y.genus) {
                same_genus += distance(x, y), ++n_genus;
            }
        }
    }
    REQUIRE(n_genus > 0);
    REQUIRE(n_order > 0);
    CHECK(same_genus / n_genus < 0.5 * other_order / n_order);
}
