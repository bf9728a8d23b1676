#ifndef INSTAR_EXAMPLES_IMAGE_CLASSIFIER_IMAGE_SET_HPP
#define INSTAR_EXAMPLES_IMAGE_CLASSIFIER_IMAGE_SET_HPP

// Which images there are, of which class and split. Nothing is decoded here.
//
//     image_set set = list_folder("photos/");                                  // photos/{train,val,test}/{class}/*.jpg
//     image_set set = list_table("labels.tsv", {"photos/"}, "species", "file", "{}");
//     image_set set = list_bioscan1m("BIOSCAN_Insect_Dataset_metadata.tsv", {"part1.zip", "part2.zip"}, "small_insect_order");
//     image_set set = list_idx("/usr/share/dataset-fashion-mnist/");           // pixels come with it
//
// A table without a column `split` is divided by the MD5 of each file's name: one in five is test, of the rest one in ten val.

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "instar/data/bioscan.hpp"
#include "instar/data/bioscan_reader.hpp"
#include "instar/data/csv.hpp"
#include "instar/data/image.hpp"
#include "instar/data/md5.hpp"
#include "instar/io/file_source.hpp"
#include "instar/io/gzip.hpp"

namespace image_classifier {

using namespace instar;

enum class split_of : std::uint8_t { train, val, test, none };

inline const char* split_name(split_of s) { return s == split_of::train ? "train" : s == split_of::val ? "val" : s == split_of::test ? "test" : "none"; }

struct image_set {
    std::vector<std::string> classes;
    std::vector<std::string> paths;        // names of the files in `files`; empty for idx sets
    std::shared_ptr<const io::file_source> files{};  // the folders and archives where they are
    std::vector<std::int32_t> labels;      // a class each
    std::vector<split_of> splits;
    std::vector<data::image> pixels{};     // idx sets bring them
    index_t n_channels = 3;

    index_t size() const { return static_cast<index_t>(labels.size()); }
    std::vector<index_t> of(split_of s) const {
        std::vector<index_t> rows;
        for (std::size_t i = 0; i < splits.size(); ++i) {
            if (splits[i] == s) rows.push_back(static_cast<index_t>(i));
        }
        return rows;
    }
};

/// The split of a file that no table assigns: by the first 32 bits of the MD5 of its name.
inline split_of split_by_name(const std::string& path) {
    const std::string digest = data::md5_hex(std::filesystem::path(path).filename().string());
    const unsigned long h = std::stoul(digest.substr(0, 8), nullptr, 16);
    return h % 5 == 0 ? split_of::test : h / 5 % 10 == 0 ? split_of::val : split_of::train;
}

namespace detail {

/// Numbers the classes of `names`: by frequency in train, the most frequent first, as BIOSCAN-1M's loader does, or by name.
inline void number_classes(image_set& set, const std::vector<std::string>& names, bool by_frequency) {
    std::map<std::string, index_t> count;
    for (std::size_t i = 0; i < names.size(); ++i) count[names[i]] += set.splits[i] == split_of::train ? 1 : 0;
    std::vector<std::pair<index_t, std::string>> order;
    for (const auto& [name, n] : count) order.emplace_back(by_frequency ? -n : 0, name);
    std::sort(order.begin(), order.end());
    std::map<std::string, std::int32_t> number;
    set.classes.clear();
    for (const auto& [n, name] : order) {
        number[name] = static_cast<std::int32_t>(set.classes.size());
        set.classes.push_back(name);
    }
    set.labels.clear();
    for (const std::string& name : names) set.labels.push_back(number.at(name));
}

inline bool is_image_name(const std::filesystem::path& p) {
    std::string e = p.extension().string();
    std::transform(e.begin(), e.end(), e.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return e == ".jpg" || e == ".jpeg" || e == ".png" || e == ".bmp" || e == ".ppm" || e == ".pgm";
}

inline split_of split_from(const std::string& text, const std::string& where) {
    if (text == "train") return split_of::train;
    if (text == "val" || text == "valid" || text == "validation") return split_of::val;
    if (text == "test") return split_of::test;
    if (text.empty() || text == "no_split" || text == "none") return split_of::none;
    throw parse_error(where, "split '" + text + "' is none of train, val, test");
}

}  // namespace detail

/// root/{train,val,test}/{class}/file; classes are numbered by name. Throws io_error and value_error naming the folder.
inline image_set list_folder(const std::string& root) {
    namespace fs = std::filesystem;
    image_set set;
    std::vector<std::string> names;
    for (const auto& [folder, split] : {std::pair{"train", split_of::train}, std::pair{"val", split_of::val}, std::pair{"valid", split_of::val}, std::pair{"test", split_of::test}}) {
        const fs::path top = fs::path(root) / folder;
        if (!fs::is_directory(top)) continue;
        std::vector<fs::path> files;
        for (const auto& entry : fs::recursive_directory_iterator(top)) {
            if (entry.is_regular_file() && detail::is_image_name(entry.path())) files.push_back(entry.path());
        }
        std::sort(files.begin(), files.end());
        for (const fs::path& file : files) {
            const fs::path inside = file.lexically_relative(top);
            if (std::distance(inside.begin(), inside.end()) < 2) throw value_error("--images: " + file.string() + " lies in no class's folder; expected " + top.string() + "/CLASS/" + file.filename().string());
            set.paths.push_back(file.lexically_relative(root).string());
            set.splits.push_back(split);
            names.push_back(inside.begin()->string());
        }
    }
    if (!fs::is_directory(root)) throw io_error("--images " + root + ": is no folder; archives need --labels or --metadata, which say what is in them");
    set.files = std::make_shared<io::file_source>(std::vector<std::string>{root});
    if (set.paths.empty()) throw value_error("--images " + root + ": found no image in train/, val/ or test/; expected train/CLASS/file.jpg");
    detail::number_classes(set, names, false);
    return set;
}

struct table_options {
    bool ignore_split = false;            // divide by the names of the files, even where there is a column split
    std::vector<std::string> classes{};   // leave other rows out; empty = none
};

/// A table with a column of files and one of classes; rows without a class are left out. Throws parse_error naming file, line and column.
inline image_set list_table(const std::string& table, const std::vector<std::string>& roots, std::string label_column, std::string file_column, const std::string& path_format, const table_options& options = {}) {
    std::vector<std::string> header;
    {
        data::csv_reader in(table);
        header = in.columns();
    }
    const auto has = [&](const std::string& name) { return std::find(header.begin(), header.end(), name) != header.end(); };
    const auto choose = [&](std::string& column, std::initializer_list<const char*> usual, const char* flag) {
        for (const char* name : usual) {
            if (column.empty() && has(name)) column = name;
        }
        if (column.empty() || !has(column)) {
            std::string all;
            for (const std::string& h : header) all += (all.empty() ? "" : ", ") + h;
            throw value_error(table + ": has no column '" + column + "' for " + flag + "; its columns are " + all);
        }
    };
    choose(label_column, {"label", "class", "species"}, "--label-column");
    choose(file_column, {"file", "path", "image", "processid"}, "--file-column");
    const bool with_split = has("split") && !options.ignore_split;
    std::vector<std::string> columns{file_column, label_column};
    if (with_split) columns.push_back("split");
    const std::size_t hole = path_format.find("{}");
    if (hole == std::string::npos) throw value_error("--path-format '" + path_format + "' has no {} for the file's name");
    image_set set;
    std::vector<std::string> names;
    data::csv_reader in(table, {.columns = columns});
    while (in.next()) {
        if (in[1].empty()) continue;
        if (!options.classes.empty() && std::find(options.classes.begin(), options.classes.end(), in[1]) == options.classes.end()) continue;
        const std::string name = path_format.substr(0, hole) + std::string(in[0]) + path_format.substr(hole + 2);
        set.paths.push_back(name);
        set.splits.push_back(with_split ? detail::split_from(std::string(in[2]), table + ", line " + std::to_string(in.line())) : split_by_name(name));
        names.emplace_back(in[1]);
    }
    set.files = std::make_shared<io::file_source>(roots);
    if (set.paths.empty()) throw value_error(table + ": no row has a " + label_column);
    detail::number_classes(set, names, true);
    return set;
}

/// BIOSCAN-1M's metadata: the published split and class of an experiment, {large,medium,small}_{insect_order,diptera_family}.
inline image_set list_bioscan1m(const std::string& metadata, const std::vector<std::string>& roots, const std::string& experiment) {
    const bool order = experiment.ends_with("insect_order");
    if (!order && !experiment.ends_with("diptera_family")) throw value_error("--exp-name " + experiment + ": expected {large,medium,small}_{insect_order,diptera_family}");
    const auto m = data::read_bioscan(metadata, {.partition = experiment});
    image_set set;
    std::vector<std::string> names;
    for (index_t row = 0; row < m.size(); ++row) {
        const split_of split = detail::split_from(std::string(m.split(row)), metadata);
        const std::string name(m.label(order ? "order" : "family", row));
        if (split == split_of::none || name.empty()) continue;
        set.paths.emplace_back(m.image_path(row));
        set.splits.push_back(split);
        names.push_back(name);
    }
    set.files = std::make_shared<io::file_source>(roots);
    if (set.paths.empty()) throw value_error(metadata + ": no record is in experiment " + experiment);
    detail::number_classes(set, names, true);
    return set;
}

namespace detail {

/// An IDX file (LeCun's format), plain or gz: unsigned bytes with the given number of dimensions.
inline std::string read_idx(const std::string& folder, const std::string& name, std::size_t rank, std::vector<index_t>& shape) {
    std::string path = folder + "/" + name;
    if (!std::filesystem::exists(path)) path += ".gz";
    std::string all = io::read_all(path);
    const auto word = [&](std::size_t at) {
        std::uint32_t v = 0;
        for (std::size_t i = 0; i < 4; ++i) v = v << 8 | static_cast<unsigned char>(all[at + i]);
        return v;
    };
    const std::size_t head = 4 + 4 * rank;
    if (all.size() < head || word(0) != (0x0800u | rank)) throw parse_error(path, "is not an IDX file of unsigned bytes with " + std::to_string(rank) + " dimensions");
    shape.clear();
    std::size_t total = 1;
    for (std::size_t d = 0; d < rank; ++d) {
        shape.push_back(static_cast<index_t>(word(4 + 4 * d)));
        total *= static_cast<std::size_t>(shape.back());
    }
    if (all.size() != head + total) throw parse_error(path, "holds " + std::to_string(all.size() - head) + " bytes after its head, which says " + std::to_string(total));
    return all.substr(head);
}

}  // namespace detail

/// MNIST's four files, or Fashion-MNIST's. The last tenth of the training images is val. Grey pixels are kept three times.
inline image_set list_idx(const std::string& folder) {
    image_set set;
    std::vector<index_t> shape, label_shape;
    for (const auto& [stem, is_test] : {std::pair{"train", false}, std::pair{"t10k", true}}) {
        const std::string images = detail::read_idx(folder, std::string(stem) + "-images-idx3-ubyte", 3, shape);
        const std::string labels = detail::read_idx(folder, std::string(stem) + "-labels-idx1-ubyte", 1, label_shape);
        if (label_shape[0] != shape[0]) throw parse_error(folder, std::string(stem) + " has " + std::to_string(shape[0]) + " images and " + std::to_string(label_shape[0]) + " labels");
        const auto area = static_cast<std::size_t>(shape[1] * shape[2]);
        for (index_t i = 0; i < shape[0]; ++i) {
            data::image im;
            im.height = shape[1];
            im.width = shape[2];
            im.pixels.resize(3 * area);
            for (std::size_t p = 0; p < area; ++p) {
                const auto v = static_cast<std::uint8_t>(images[static_cast<std::size_t>(i) * area + p]);
                for (std::size_t c = 0; c < 3; ++c) im.pixels[3 * p + c] = v;
            }
            set.pixels.push_back(std::move(im));
            set.labels.push_back(static_cast<unsigned char>(labels[static_cast<std::size_t>(i)]));
            set.splits.push_back(is_test ? split_of::test : 10 * i >= 9 * shape[0] ? split_of::val : split_of::train);
        }
    }
    for (int c = 0; c < 10; ++c) set.classes.push_back(std::to_string(c));
    for (const std::int32_t l : set.labels) {
        if (l > 9) throw parse_error(folder, "label " + std::to_string(l) + " is not a digit");
    }
    set.n_channels = 3;
    return set;
}

}  // namespace image_classifier

#endif
