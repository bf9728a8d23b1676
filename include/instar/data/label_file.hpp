#ifndef INSTAR_DATA_LABEL_FILE_HPP
#define INSTAR_DATA_LABEL_FILE_HPP

// Label maps on disk, beside the model that was trained with them: one label a row, in the order of the indices.
//
//     data::write_labels("model/species.csv", m.labels("species"));
//     data::label_map species = data::read_labels("model/species.csv");

#include <string>

#include "instar/data/column.hpp"
#include "instar/data/csv.hpp"
#include "instar/data/csv_writer.hpp"

namespace instar::data {

/// A CSV file with the columns index and label, written aside and renamed. Throws io_error.
inline void write_labels(const std::string& path, const label_map& labels) {
    csv_writer out(path, {"index", "label"});
    for (std::int32_t i = 0; i < labels.size(); ++i) out.row({std::to_string(i), labels.name(i)});
    out.commit();
}

/// Reads it back. Throws io_error, and parse_error where the file is not what write_labels writes: indices not 0, 1, 2, …, a
/// label that is empty or there twice.
inline label_map read_labels(io::input_file in) {
    csv_reader reader(std::move(in), {.columns = {"index", "label"}});
    label_map labels;
    while (reader.next()) {
        if (reader.integer(0) != labels.size()) {
            throw reader.error_here("index " + std::string(reader[0]) + " where " + std::to_string(labels.size()) + " should follow");
        }
        if (reader[1].empty()) throw reader.error_here("an empty label");
        if (labels.contains(reader[1])) throw reader.error_here("label '" + std::string(reader[1]) + "' is there twice");
        labels.insert(reader[1]);
    }
    return labels;
}
inline label_map read_labels(const std::string& path) { return read_labels(io::input_file(path)); }

}  // namespace instar::data

#endif
