#ifndef INSTAR_EXAMPLES_DNA_BARCODE_LOAD_SPECIMENS_HPP
#define INSTAR_EXAMPLES_DNA_BARCODE_LOAD_SPECIMENS_HPP

// Reading the metadata into the columns that the benchmarks use.
//
//     const specimens all = load_specimens("metadata.csv.gz");

#include "instar/data/bioscan.hpp"

#include "specimens.hpp"

namespace dna_barcode {

inline specimens load_specimens(const std::string& path) {
    using namespace instar;
    const data::bioscan_metadata m = data::read_bioscan(path);
    for (const char* needed : {"processid", "dna_barcode", "split"}) {
        if (!m.has(needed)) throw value_error(path + ": has no column '" + needed + "', which the benchmarks need");
    }
    specimens s;
    const auto n = static_cast<std::size_t>(m.size());
    s.processid.reserve(n);
    s.barcode.reserve(n);
    s.split.reserve(n);
    for (index_t row = 0; row < m.size(); ++row) {
        s.processid.emplace_back(m.processid(row));
        std::string_view barcode = m.barcode(row);
        // The reference's identity of a barcode: stripped of trailing N, not cut.
        barcode = barcode.substr(0, barcode.find_last_not_of('N') + 1);
        s.barcode.emplace_back(barcode);
        s.split.emplace_back(m.split(row));
    }
    for (std::size_t r = 0; r < k_n_ranks; ++r) {
        s.label[r].assign(n, "");
        if (!m.has(k_ranks[r])) continue;
        for (std::size_t row = 0; row < n; ++row) s.label[r][row] = m.label(k_ranks[r], static_cast<index_t>(row));
    }
    return s;
}

}  // namespace dna_barcode

#endif
