// Fuzzes data::csv_reader, and that what it reads survives being written and read again.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "instar/data/bioscan.hpp"
#include "instar/data/csv_writer.hpp"

using namespace instar;

namespace {

using row = std::vector<std::string>;

std::vector<row> read(std::string_view text, const data::csv_options& options) {
    data::csv_reader in(io::input_file::from_memory("fuzz", text), options);
    std::vector<row> rows{row(in.header())};
    while (in.next()) {
        rows.emplace_back();
        for (std::size_t c = 0; c < in.columns().size(); ++c) {
            rows.back().emplace_back(in[c]);
            (void)in.missing(c);
            try {
                (void)in.real(c);
                (void)in.integer(c);
            } catch (const error&) {
            }
        }
    }
    return rows;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
    if (size < 1) return 0;
    const std::string_view text(reinterpret_cast<const char*>(bytes) + 1, size - 1);
    data::csv_options options{.max_row_bytes = std::size_t{1} << 20};
    options.header = (bytes[0] & 1) != 0;
    options.quoting = (bytes[0] & 2) != 0;
    options.na_strings = (bytes[0] & 4) != 0;
    if ((bytes[0] & 8) != 0) options.delimiter = '\t';
    try {
        const auto rows = read(text, options);
        std::string again;
        for (std::size_t r = options.header ? 0 : 1; r < rows.size(); ++r) {
            data::append_csv_row(again, std::vector<std::string_view>(rows[r].begin(), rows[r].end()));
        }
        if (!again.empty()) {
            const auto back = read(again, {.delimiter = ',', .header = options.header});
            if (back != rows && options.header) std::abort();
            if (!options.header && std::vector<row>(back.begin() + 1, back.end()) != std::vector<row>(rows.begin() + 1, rows.end())) std::abort();
        }
    } catch (const error&) {
    }
    try {
        const auto m = data::read_bioscan(io::input_file::from_memory("fuzz", text));
        if (m.has("split")) (void)m.rows_of("train");
        if (m.has("dna_barcode")) (void)m.unique_rows(data::dedup::package);
    } catch (const error&) {
    }
    return 0;
}
