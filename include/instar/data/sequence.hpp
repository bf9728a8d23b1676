#ifndef INSTAR_DATA_SEQUENCE_HPP
#define INSTAR_DATA_SEQUENCE_HPP

// From the sequences people send to the alphabet of a barcode model.
//
//     data::clean_barcode("aacR-uGG..t");     // "AACNTGGT"
//
// The tokenizer itself takes barcodes as they are: lower case and IUPAC codes are [UNK] there. Clean what comes from FASTA.

#include <string>
#include <string_view>

#include "instar/core/error.hpp"

namespace instar::data {

/// Upper case; U becomes T; the IUPAC codes R, Y, S, W, K, M, B, D, H, V become N; alignment gaps ('-', '.') and blanks go.
/// Throws value_error with the place for any other character.
inline std::string clean_barcode(std::string_view sequence) {
    std::string clean;
    clean.reserve(sequence.size());
    for (std::size_t i = 0; i < sequence.size(); ++i) {
        char c = sequence[i];
        if (c == '-' || c == '.' || c == ' ' || c == '\t') continue;
        if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
        if (c == 'U') c = 'T';
        if (std::string_view("ACGTN").find(c) == std::string_view::npos) {
            if (std::string_view("RYSWKMBDHV").find(c) == std::string_view::npos) {
                const auto byte = static_cast<unsigned char>(sequence[i]);
                throw value_error("clean_barcode: " + (byte > 32 && byte < 127 ? "'" + std::string(1, sequence[i]) + "'" : "byte " + std::to_string(byte)) +
                                  " at letter " + std::to_string(i + 1) + " is no nucleotide code");
            }
            c = 'N';
        }
        clean += c;
    }
    return clean;
}

}  // namespace instar::data

#endif
