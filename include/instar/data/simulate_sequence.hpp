#ifndef INSTAR_DATA_SIMULATE_SEQUENCE_HPP
#define INSTAR_DATA_SIMULATE_SEQUENCE_HPP

// Part of data/simulate.hpp: a protein-coding gene that evolves like the COI barcode region.
//
//     coding_gene gene(draw, 658);
//     std::string child = gene.evolve(draw, gene.ancestor(), 0.05);     // 0.05 mutations a site, before selection
//
// Mutation follows HKY85 (Hasegawa, Kishino, Yano 1985): target bases by their frequencies, transitions κ times as often.
// Selection works on codons of the invertebrate mitochondrial code: no stop codon ever, silent changes are free, changes of
// the amino acid pass with a small probability of their codon's own. So first and second positions change slowly, and third
// positions fast, without being told to.

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <string_view>
#include <vector>

#include "instar/data/simulate_tree.hpp"

namespace instar::data::detail {

/// One letter an amino acid, '*' for stop; index = 16·first + 4·second + third base, bases in the order A, C, G, T.
/// Translation table 5: ATA is methionine, TGA tryptophan, AGA and AGG serine.
inline constexpr std::string_view k_invertebrate_mitochondrial_code = "KNKNTTTTSSSSMIMIQHQHPPPPRRRRLLLLEDEDAAAAGGGGVVVV*Y*YSSSSWCWCLFLF";

class coding_gene {
public:
    static constexpr double k_frequency[4] = {0.30, 0.16, 0.15, 0.39};  // A, C, G, T: what insect COI looks like
    static constexpr double k_kappa = 5.0;
    static constexpr std::size_t k_frame = 1;                           // the barcode region begins with a codon's second base

    coding_gene(random_draws& draw, std::size_t length) : constraint_((length - k_frame) / 3) {
        // Few codons are free, most hardly change: the shape of a gamma distribution with a small shape parameter.
        for (double& c : constraint_) c = std::min(1.0, 0.25 * std::pow(draw.uniform(), 4.0));
        for (std::size_t i = 0; i < length; ++i) ancestor_ += "ACGT"[base(draw)];
        for (std::size_t c = 0; c < constraint_.size(); ++c) {
            while (amino_acid(ancestor_, c) == '*') {
                for (std::size_t i = 0; i < 3; ++i) ancestor_[k_frame + 3 * c + i] = "ACGT"[base(draw)];
            }
        }
    }

    const std::string& ancestor() const noexcept { return ancestor_; }
    std::size_t n_codons() const noexcept { return constraint_.size(); }
    static char amino_acid(std::string_view sequence, std::size_t codon) {
        const std::size_t at = k_frame + 3 * codon;
        return k_invertebrate_mitochondrial_code[16 * digit(sequence[at]) + 4 * digit(sequence[at + 1]) + digit(sequence[at + 2])];
    }

    /// The sequence after `length` expected mutations a site, of which selection lets a part through.
    std::string evolve(random_draws& draw, std::string sequence, double length) const {
        for (int n = draw.poisson(length * static_cast<double>(sequence.size())); n > 0; --n) mutate(draw, sequence);
        return sequence;
    }
    /// One change that passes.
    std::string evolve_once(random_draws& draw, std::string sequence) const {
        while (!mutate(draw, sequence)) {}
        return sequence;
    }

private:
    static std::size_t digit(char c) { return c == 'A' ? 0 : c == 'C' ? 1 : c == 'G' ? 2 : 3; }
    static std::size_t base(random_draws& draw) {
        double u = draw.uniform();
        for (std::size_t b = 0; b < 3; ++b) {
            if (u < k_frequency[b]) return b;
            u -= k_frequency[b];
        }
        return 3;
    }
    /// Proposes one mutation; false when it changes nothing or does not pass.
    bool mutate(random_draws& draw, std::string& sequence) const {
        const std::size_t site = draw.below(sequence.size());
        const std::size_t from = digit(sequence[site]);
        std::size_t to = 0;
        do {
            // A target by frequency, transversions thinned to 1/κ: A–G and C–T are the transitions.
            to = base(draw);
        } while (to != from && (to ^ from) != 2 && !draw.chance(1.0 / k_kappa));
        if (to == from) return false;
        const char old = sequence[site];
        if (site < k_frame || (site - k_frame) / 3 >= n_codons()) {
            sequence[site] = "ACGT"[to];
            return true;
        }
        const std::size_t codon = (site - k_frame) / 3;
        const char before = amino_acid(sequence, codon);
        sequence[site] = "ACGT"[to];
        const char after = amino_acid(sequence, codon);
        if (after == before || (after != '*' && draw.chance(constraint_[codon]))) return true;
        sequence[site] = old;
        return false;
    }

    std::vector<double> constraint_;  // probability that a change of the amino acid passes
    std::string ancestor_;
};

}  // namespace instar::data::detail

#endif
