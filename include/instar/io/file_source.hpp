#ifndef INSTAR_IO_FILE_SOURCE_HPP
#define INSTAR_IO_FILE_SOURCE_HPP

// Files by name, wherever they are: below folders, or inside zip archives.
//
//     io::file_source images({"pretrain.01.zip", "pretrain.02.zip", "train.zip", "more_images/"});
//     std::string jpeg = images.read("bioscan5m/images/cropped_256/train/0/ABC123.jpg");

#include <filesystem>
#include <memory>
#include <vector>

#include "instar/io/file.hpp"
#include "instar/io/zip_archive.hpp"

namespace instar::io {

/// Any number of threads may read.
class file_source {
public:
    /// Each root is a folder, or an archive (its name ends in .zip). Throws io_error for one that is neither, and value_error for none.
    explicit file_source(std::vector<std::string> roots) : roots_(std::move(roots)) {
        if (roots_.empty()) throw value_error("file_source: no folder and no archive");
        for (const std::string& root : roots_) {
            if (std::filesystem::is_directory(root)) archives_.push_back(nullptr);
            else if (root.ends_with(".zip") || root.ends_with(".ZIP")) archives_.push_back(std::make_unique<zip_archive>(root));
            else throw io_error(root + ": is no folder, and its name does not end in .zip");
        }
    }

    /// The bytes of the first file of this name. Throws io_error, naming the places looked at, when there is none.
    std::string read(const std::string& name) const {
        for (std::size_t i = 0; i < roots_.size(); ++i) {
            if (archives_[i] != nullptr) {
                if (archives_[i]->find(name)) return archives_[i]->read(name);
            } else if (const std::string path = (std::filesystem::path(roots_[i]) / name).string(); roots_.size() == 1 || std::filesystem::exists(path)) {
                return read_text(path);
            }
        }
        std::string where;
        for (const std::string& root : roots_) where += (where.empty() ? "" : ", ") + root;
        throw io_error(name + ": is not in " + where);
    }

private:
    std::vector<std::string> roots_;
    std::vector<std::unique_ptr<zip_archive>> archives_;  // null: a folder
};

}  // namespace instar::io

#endif
