// The FASTA reader on any bytes; what it accepts is written and read back unchanged.
#include <cstdint>
#include <string>
#include <string_view>

#include "instar/data/fasta.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace instar;
    try {
        const auto records = data::read_fasta(io::input_file::from_memory("fuzz", std::string_view(reinterpret_cast<const char*>(data), size)));
        std::string text;
        for (const auto& r : records) data::append_fasta(text, r);
        const auto again = data::read_fasta(io::input_file::from_memory("again", text));
        if (again.size() != records.size()) __builtin_trap();
        for (std::size_t i = 0; i < records.size(); ++i) {
            if (again[i].sequence != records[i].sequence || again[i].id != records[i].id) __builtin_trap();
        }
    } catch (const error&) {
    }
    return 0;
}
