// The CSV reader on any bytes, with either delimiter and both quoting rules: an exception of instar or a table, never more.
#include <cstdint>
#include <string_view>

#include "instar/data/csv.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace instar;
    const std::string_view bytes(reinterpret_cast<const char*>(data), size);
    for (char delimiter : {',', '\t'}) {
        try {
            data::csv_reader in(io::input_file::from_memory("fuzz", bytes), {.delimiter = delimiter});
            std::size_t n = 0;
            while (in.next()) {
                for (std::size_t c = 0; c < in.header().size(); ++c) n += in[c].size() + (in.missing(c) ? 1u : 0u);
            }
            // What the fields hold came from the file.
            if (n > 2 * size + in.header().size() * (size + 1)) __builtin_trap();
        } catch (const error&) {
        }
    }
    return 0;
}
