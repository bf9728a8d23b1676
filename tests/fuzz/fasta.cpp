// Fuzzes data::fasta_reader, and that what it reads survives being written and read again.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "instar/data/fasta.hpp"
#include "instar/data/sequence.hpp"

using namespace instar;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(bytes), size);
    std::string again;
    try {
        const auto records = data::read_fasta(io::input_file::from_memory("fuzz", text));
        for (const auto& r : records) {
            try {
                (void)data::clean_barcode(r.sequence);
            } catch (const value_error&) {
            }
        }
        try {
            for (const auto& r : records) data::append_fasta(again, r, 1 + size % 80);
        } catch (const value_error&) {
            return 0;  // a bare carriage return inside a header
        }
        const auto back = data::read_fasta(io::input_file::from_memory("fuzz", again));
        if (back.size() != records.size()) std::abort();
        for (std::size_t i = 0; i < back.size(); ++i) {
            if (back[i].id != records[i].id || back[i].description != records[i].description || back[i].sequence != records[i].sequence) std::abort();
        }
    } catch (const error&) {
    }
    return 0;
}
