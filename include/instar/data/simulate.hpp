#ifndef INSTAR_DATA_SIMULATE_HPP
#define INSTAR_DATA_SIMULATE_HPP

// Simulated specimens in the format of BIOSCAN-5M's metadata: something to run on where there is no real data.
//
//     auto specimens = data::simulate_specimens({.n_specimens = 8000, .seed = 7});
//     data::write_bioscan_csv("metadata.csv", specimens);
//     auto m = data::read_bioscan("metadata.csv");
//
// Species come from a birth–death tree, ranks from cuts through it, barcodes from a coding gene that evolves along it
// (data/simulate_sequence.hpp), haplotypes and long-tailed abundances within each species. Barcodes may be partial or hold
// N; many records are unlabelled; some species carry placeholder names ("Morvelia sp. 3", or in lower case) and so become
// the unseen species of the splits. All names are made up. Pictures of the specimens: data/simulate_image.hpp.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "instar/data/bioscan_format.hpp"
#include "instar/data/csv_writer.hpp"
#include "instar/data/simulate_names.hpp"
#include "instar/data/simulate_sequence.hpp"
#include "instar/data/simulate_splits.hpp"
#include "instar/data/simulate_tree.hpp"

namespace instar::data {

/// Traits of a species' looks. Each drifts along the tree from 0, with a variance of 1 from the root to today.
inline constexpr std::size_t k_n_traits = 24;

struct simulate_options {
    index_t n_specimens = 10000;
    int n_species = 320;
    int n_genera = 110;
    int n_subfamilies = 40;
    int n_families = 20;
    int n_orders = 5;
    double extinction = 0.4;        ///< deaths a birth in the tree
    double depth = 1.4;             ///< mutations a site from the root to today, before selection
    double species_gap = 0.02;      ///< of these, at least so many since a species split off
    double abundance_spread = 1.1;  ///< sigma of the log-normal abundances: a few common species, many rare ones
    double new_haplotype = 15.0;    ///< Ewens' theta: larger = more barcodes a species
    double unlabelled = 0.45;       ///< share of barcodes whose species is unknown
    double provisional = 0.25;      ///< share of species with a placeholder name
    double partial = 0.4;           ///< share of barcodes that miss a piece of either end
    double with_n = 0.06;           ///< share of barcodes with unread bases
    std::size_t barcode_length = 658;
    std::uint64_t seed = 1;
};

/// One record; members as the columns of the CSV, in their order. Empty = missing.
struct specimen {
    std::string processid, sampleid, taxon, phylum, class_name, order, family, subfamily, genus, species, dna_bin, dna_barcode, country, province_state,
        latitude, longitude, image_measurement_value, area_fraction, scale_factor, inferred_ranks, split, index_bioscan_1m, chunk;
    std::string true_species;  ///< not in the CSV: also of unlabelled records, to score clusters with
    std::array<float, k_n_traits> traits{};  ///< not in the CSV: what its species looks like, for data/simulate_image.hpp
};

namespace detail {

struct simulated_species {
    std::string order, family, subfamily, genus, name, bin[2];
    std::string given_name;  // the name in the labels: its own, or a placeholder
    bool provisional = false;
    std::string root;        // its barcode
    std::array<float, k_n_traits> traits{};
};

struct haplotype {
    std::string full, read;  // the gene, and what the sequencer gave
    int n = 0;
    int known_ranks = 0;     // labels kept: 3 = to order, 4 family, 5 subfamily, 6 genus, 7 species
    bool second_bin = false;
};

inline std::string decimal(double value, int digits) {
    char text[32];
    std::snprintf(text, sizeof text, "%.*f", digits, value);
    return text;
}

/// "BOLD:AAA0001" for 1: three letters and four digits.
inline std::string bin_name(int number) {
    std::string text = "BOLD:AAA0000";
    for (int i = 11; i > 7; --i, number /= 10) text[static_cast<std::size_t>(i)] = static_cast<char>('0' + number % 10);
    for (int i = 7; i > 4; --i, number /= 26) text[static_cast<std::size_t>(i)] = static_cast<char>('A' + number % 26);
    return text;
}

/// Tree, taxonomy, names and one barcode a species.
inline std::vector<simulated_species> simulate_species(const simulate_options& o, const coding_gene& gene, random_draws& draw, random_draws& of_traits) {
    const species_tree tree = grow_tree(draw, o.n_species, o.extinction);
    const std::vector<int> order = cut_tree(tree, o.n_orders), family = cut_tree(tree, o.n_families), subfamily = cut_tree(tree, o.n_subfamilies),
                           genus = cut_tree(tree, o.n_genera);
    latin_names names(draw);
    const auto count = [](const std::vector<int>& clade) { return static_cast<std::size_t>(*std::max_element(clade.begin(), clade.end())) + 1; };
    std::vector<std::string> genus_name(count(genus)), family_name(count(family)), subfamily_name(count(subfamily)), order_name(count(order));
    for (std::string& n : genus_name) n = names.genus();
    for (std::string& n : order_name) n = names.order();

    std::vector<std::string> sequence(tree.nodes.size());
    for (std::size_t v = 0; v < tree.nodes.size(); ++v) {
        const tree_node& node = tree.nodes[v];
        if (!node.survives) continue;
        const std::string& from = node.parent < 0 ? gene.ancestor() : sequence[static_cast<std::size_t>(node.parent)];
        sequence[v] = gene.evolve(draw, from, o.depth * (node.end - node.begin));
    }
    // Looks drift as Brownian motion on the same tree; a little more since a species split off, as barcodes do.
    std::vector<std::array<float, k_n_traits>> traits(tree.nodes.size());
    for (std::size_t v = 0; v < tree.nodes.size(); ++v) {
        const tree_node& node = tree.nodes[v];
        if (node.parent >= 0) traits[v] = traits[static_cast<std::size_t>(node.parent)];
        const double deviation = std::sqrt(node.end - node.begin);
        for (float& t : traits[v]) t += static_cast<float>(deviation * of_traits.normal());
    }
    std::vector<simulated_species> all(tree.leaves.size());
    std::vector<int> n_provisional(genus_name.size(), 0);
    int n_bins = 0;
    for (std::size_t i = 0; i < all.size(); ++i) {
        simulated_species& s = all[i];
        const auto g = static_cast<std::size_t>(genus[i]), f = static_cast<std::size_t>(family[i]), u = static_cast<std::size_t>(subfamily[i]);
        if (family_name[f].empty()) family_name[f] = names.family(genus_name[g]);
        if (subfamily_name[u].empty()) subfamily_name[u] = names.subfamily(genus_name[g]);
        s.order = order_name[static_cast<std::size_t>(order[i])];
        s.family = family_name[f];
        s.subfamily = subfamily_name[u];
        s.genus = genus_name[g];
        const std::string epithet = names.species();
        s.name = s.genus + " " + epithet;
        s.provisional = draw.chance(o.provisional);
        s.given_name = !s.provisional ? s.name : draw.chance(0.1) ? epithet + " group" : s.genus + " sp. " + std::to_string(++n_provisional[g]);
        s.bin[0] = bin_name(++n_bins);
        s.bin[1] = draw.chance(0.08) ? bin_name(++n_bins) : s.bin[0];  // some species are two clusters of barcodes
        s.root = gene.evolve(draw, sequence[static_cast<std::size_t>(tree.leaves[i])], o.species_gap);
        s.traits = traits[static_cast<std::size_t>(tree.leaves[i])];
        for (float& t : s.traits) t += 0.15f * static_cast<float>(of_traits.normal());
    }
    return all;
}

/// What a sequencer gives of a barcode: ends missing, single bases unread, the tail filled with N.
inline std::string read_barcode(const simulate_options& o, random_draws& draw, std::string barcode) {
    if (draw.chance(o.partial)) {
        const std::size_t most = barcode.size() / 5;
        const std::size_t head = draw.chance(0.7) ? draw.below(most + 1) : 0;
        const std::size_t tail = draw.chance(0.5) ? draw.below(most / 2 + 1) : 0;
        barcode = barcode.substr(head, barcode.size() - head - tail);
    }
    if (draw.chance(o.with_n)) {
        if (draw.chance(0.3)) barcode.append(1 + draw.below(20), 'N');
        else for (std::size_t n = 1 + draw.below(5); n > 0; --n) barcode[draw.below(barcode.size())] = 'N';
    }
    return barcode;
}

/// Specimens of one species, one haplotype each, by Ewens' urn: a new one with probability θ/(θ + i), a mutant of an old one.
inline std::vector<haplotype> simulate_haplotypes(const simulate_options& o, const coding_gene& gene, random_draws& draw, const simulated_species& s, index_t n) {
    const bool two_bins = s.bin[0] != s.bin[1];
    std::vector<haplotype> all;
    std::vector<std::size_t> carrier;
    for (index_t i = 0; i < n; ++i) {
        if (i > 0 && !draw.chance(o.new_haplotype / (o.new_haplotype + static_cast<double>(i)))) {
            carrier.push_back(carrier[draw.below(carrier.size())]);
            ++all[carrier.back()].n;
            continue;
        }
        haplotype h;
        if (i == 0) {
            h.full = s.root;
        } else {
            const haplotype& parent = all[carrier[draw.below(carrier.size())]];
            h.full = gene.evolve_once(draw, parent.full);
            h.second_bin = parent.second_bin;
            if (two_bins && !h.second_bin && draw.chance(0.2)) {
                h.second_bin = true;
                h.full = gene.evolve(draw, h.full, 0.08);  // deep enough for a cluster of its own
            }
        }
        h.read = read_barcode(o, draw, h.full);
        h.n = 1;
        if (!draw.chance(o.unlabelled)) h.known_ranks = 7;
        else h.known_ranks = draw.chance(0.06) ? 3 : draw.chance(0.35) ? 4 : draw.chance(0.5) ? 5 : 6;
        carrier.push_back(all.size());
        all.push_back(std::move(h));
    }
    return all;
}

/// Number of specimens of each species: log-normal shares, everyone at least one, adding up to n.
inline std::vector<index_t> simulate_abundances(const simulate_options& o, random_draws& draw) {
    std::vector<double> share;
    for (int i = 0; i < o.n_species; ++i) share.push_back(std::exp(o.abundance_spread * draw.normal()));
    const double total = std::accumulate(share.begin(), share.end(), 0.0);
    std::vector<index_t> n;
    index_t sum = 0;
    for (double s : share) {
        n.push_back(1 + static_cast<index_t>(std::floor(s / total * static_cast<double>(o.n_specimens - o.n_species))));
        sum += n.back();
    }
    *std::max_element(n.begin(), n.end()) += o.n_specimens - sum;
    return n;
}

}  // namespace detail

/// Simulates; the result depends on the options alone. Records are in random order, process ids ascend.
/// Throws value_error for numbers that make no sense (more genera than species, a probability outside [0, 1], …).
inline std::vector<specimen> simulate_specimens(simulate_options o = {}) {
    const auto refuse = [](const std::string& what) { throw value_error("simulate_specimens: " + what); };
    if (o.n_species < 2 || o.n_specimens < o.n_species) refuse("needs at least 2 species and a specimen of each");
    if (o.n_specimens > 17000000) refuse("n_specimens must be at most 17,000,000");
    if (!(1 <= o.n_orders && o.n_orders <= o.n_families && o.n_families <= o.n_subfamilies && o.n_subfamilies <= o.n_genera && o.n_genera <= o.n_species)) {
        refuse("must have 1 <= n_orders <= n_families <= n_subfamilies <= n_genera <= n_species");
    }
    for (double p : {o.unlabelled, o.provisional, o.partial, o.with_n}) {
        if (!(p >= 0.0 && p <= 1.0)) refuse("unlabelled, provisional, partial and with_n are probabilities");
    }
    if (!(o.extinction >= 0.0 && o.extinction < 0.95)) refuse("extinction must be in [0, 0.95)");
    if (!(o.depth >= 0.0 && o.depth < 100.0 && o.species_gap >= 0.0 && o.species_gap < 100.0)) refuse("depth and species_gap must be in [0, 100)");
    if (!(o.abundance_spread >= 0.0 && o.abundance_spread < 20.0 && o.new_haplotype >= 0.0)) refuse("abundance_spread must be in [0, 20), new_haplotype not negative");
    if (o.barcode_length < 60 || o.barcode_length > 100000) refuse("barcode_length must be 60 to 100,000");

    const philox rng{.seed = o.seed, .stream = 0x696e73746172u};
    detail::random_draws draw(rng.fork(1)), of_splits(rng.fork(2)), of_places(rng.fork(3)), of_order(rng.fork(4)), of_traits(rng.fork(5));
    const detail::coding_gene gene(draw, o.barcode_length);
    const auto species = detail::simulate_species(o, gene, draw, of_traits);
    const auto abundance = detail::simulate_abundances(o, draw);

    std::vector<specimen> all;
    all.reserve(static_cast<std::size_t>(o.n_specimens));
    std::vector<std::uint8_t> provisional;
    for (std::size_t s = 0; s < species.size(); ++s) {
        const detail::simulated_species& of = species[s];
        for (const detail::haplotype& h : detail::simulate_haplotypes(o, gene, draw, of, abundance[s])) {
            for (int i = 0; i < h.n; ++i) {
                specimen x;
                x.phylum = "Arthropoda", x.class_name = "Insecta", x.order = of.order;
                if (h.known_ranks >= 4) x.family = of.family;
                if (h.known_ranks >= 5) x.subfamily = of.subfamily;
                if (h.known_ranks >= 6) x.genus = of.genus;
                if (h.known_ranks >= 7) x.species = of.given_name;
                x.dna_bin = of.bin[h.second_bin ? 1 : 0];
                x.dna_barcode = h.read;
                x.true_species = of.name;
                x.traits = of.traits;
                all.push_back(std::move(x));
                provisional.push_back(of.provisional);
            }
        }
    }
    // Random order, and what depends on nothing.
    std::vector<std::size_t> order(all.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[of_order.below(i)]);
    std::vector<specimen> shuffled;
    std::vector<detail::split_row> rows;
    shuffled.reserve(all.size());
    static constexpr std::string_view countries[][2] = {{"Canada", "Ontario"}, {"Costa Rica", "Guanacaste"}, {"South Africa", "Limpopo"}, {"Australia", ""}, {"Germany", "Bavaria"}};
    static constexpr double places[][2] = {{44.9, -79.8}, {10.8, -85.6}, {-24.0, 31.4}, {-35.3, 149.1}, {48.1, 11.6}};
    for (std::size_t i = 0; i < order.size(); ++i) {
        specimen x = std::move(all[order[i]]);
        const std::size_t c = of_places.below(5);
        const double fraction = 0.02 + 0.5 * std::pow(of_places.uniform(), 2.0);
        x.processid = "SIM" + std::string(1, static_cast<char>('A' + i / 676000)) + std::string(1, static_cast<char>('A' + i / 26000 % 26)) +
                      std::string(1, static_cast<char>('A' + i / 1000 % 26)) + detail::decimal(static_cast<double>(1000 + i % 1000), 0).substr(1) + "-25";
        x.sampleid = "SIM-" + std::to_string(1000000 + i);
        x.taxon = !x.species.empty() ? x.species : !x.genus.empty() ? x.genus : !x.subfamily.empty() ? x.subfamily : !x.family.empty() ? x.family : x.order;
        x.country = countries[c][0], x.province_state = countries[c][1];
        x.latitude = detail::decimal(places[c][0] + 0.02 * static_cast<double>(of_places.below(20)), 4);
        x.longitude = detail::decimal(places[c][1] + 0.02 * static_cast<double>(of_places.below(20)), 4);
        x.image_measurement_value = std::to_string(static_cast<int>(fraction * 1024 * 768 * 0.6));
        x.area_fraction = detail::decimal(fraction, 4);
        x.scale_factor = detail::decimal(std::sqrt(fraction * 1024 * 768) / 256, 4);
        x.inferred_ranks = "0";
        shuffled.push_back(std::move(x));
    }
    for (std::size_t i = 0; i < shuffled.size(); ++i) {
        rows.push_back({.barcode = shuffled[i].dna_barcode, .genus = shuffled[i].genus, .species = shuffled[i].species, .provisional = provisional[order[i]] != 0});
    }
    detail::assign_splits(of_splits, rows);
    for (std::size_t i = 0; i < shuffled.size(); ++i) {
        shuffled[i].split = rows[i].split;
        shuffled[i].chunk = bioscan_chunk(shuffled[i].split, shuffled[i].processid);
    }
    return shuffled;
}

/// Writes records as BIOSCAN-5M's 23-column CSV, aside and renamed. Throws io_error.
inline void write_bioscan_csv(const std::string& path, std::span<const specimen> specimens) {
    csv_writer out(path, std::vector<std::string>(k_bioscan_5m_columns.begin(), k_bioscan_5m_columns.end()));
    for (const specimen& s : specimens) {
        out.row({s.processid, s.sampleid, s.taxon, s.phylum, s.class_name, s.order, s.family, s.subfamily, s.genus, s.species, s.dna_bin, s.dna_barcode,
                 s.country, s.province_state, s.latitude, s.longitude, s.image_measurement_value, s.area_fraction, s.scale_factor, s.inferred_ranks, s.split,
                 s.index_bioscan_1m, s.chunk});
    }
    out.commit();
}

}  // namespace instar::data

#endif
