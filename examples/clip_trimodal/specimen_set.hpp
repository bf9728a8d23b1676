#ifndef INSTAR_EXAMPLES_CLIP_TRIMODAL_SPECIMEN_SET_HPP
#define INSTAR_EXAMPLES_CLIP_TRIMODAL_SPECIMEN_SET_HPP

// Specimens with a picture, a barcode and a text: reading them, making them up, and what the towers take.
//
//     specimen_set set = load_set(ctx, "metadata.csv.gz", "images/", "cropped_256", 32);
//     std::vector<index_t> train = set.rows({"pretrain", "train"});

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "instar/core/cpu_context.hpp"
#include "instar/core/parallel_for.hpp"
#include "instar/data/bioscan_format.hpp"
#include "instar/data/image_encode.hpp"
#include "instar/data/image_file.hpp"
#include "instar/data/image_resize.hpp"
#include "instar/data/simulate_image.hpp"

#include "dna_barcode/load_specimens.hpp"

namespace clip_trimodal {

using namespace instar;

/// The four ranks that CLIBD scores, and where specimens keep them.
inline constexpr const char* k_scored_ranks[] = {"order", "family", "genus", "species"};

struct specimen_set {
    dna_barcode::specimens table;
    std::vector<std::string> text;          // "order family genus species"; a missing rank is not_classified
    std::vector<data::image> images;        // small; height 0 where there is none
    index_t n_missing = 0;

    index_t size() const { return static_cast<index_t>(table.size()); }
    bool has_image(index_t row) const { return images[static_cast<std::size_t>(row)].height > 0; }
    const std::string& label(std::size_t rank, index_t row) const { return table.label[dna_barcode::rank_index(k_scored_ranks[rank])][static_cast<std::size_t>(row)]; }
    std::vector<index_t> rows(std::initializer_list<std::string_view> splits) const {
        std::vector<index_t> r;
        for (std::size_t i = 0; i < table.size(); ++i) {
            if (std::find(splits.begin(), splits.end(), std::string_view(table.split[i])) != splits.end()) r.push_back(static_cast<index_t>(i));
        }
        return r;
    }
};

/// CLIBD's text of a specimen.
inline std::string taxonomy_text(const dna_barcode::specimens& t, std::size_t row) {
    std::string text;
    for (const char* rank : k_scored_ranks) {
        const std::string& name = t.label[dna_barcode::rank_index(rank)][row];
        text += (text.empty() ? "" : " ") + (name.empty() ? std::string("not_classified") : name);
    }
    return text;
}

/// Reads the metadata and, where the model has an image tower, every picture, shrunk to `image_size`. Pictures that cannot be read are
/// named (the first five) and counted; throws when there is none at all.
inline specimen_set load_set(cpu_context& ctx, const std::string& metadata, const std::string& root, const std::string& package, index_t image_size, bool with_images) {
    specimen_set set;
    set.table = dna_barcode::load_specimens(metadata);
    for (std::size_t i = 0; i < set.table.size(); ++i) set.text.push_back(taxonomy_text(set.table, i));
    set.images.resize(set.table.size());
    if (!with_images) return set;
    std::vector<std::string> errors(set.table.size());
    parallel_for(ctx, set.size(), 16, [&](index_t begin, index_t end) {
        for (index_t i = begin; i < end; ++i) {
            const auto at = static_cast<std::size_t>(i);
            const std::string &id = set.table.processid[at], &split = set.table.split[at];
            try {
                set.images[at] = data::shrink_to(data::read_image(root + "/" + data::bioscan_5m_image_path(package, split, data::bioscan_chunk(split, id), id)), image_size);
            } catch (const error& e) {
                errors[at] = e.what();
            }
        }
    });
    for (const std::string& e : errors) {
        if (e.empty()) continue;
        if (++set.n_missing <= 5) std::fprintf(stderr, "no picture: %s\n", e.c_str());
    }
    if (set.n_missing > 0) std::fprintf(stderr, "%lld of %lld specimens have no picture\n", static_cast<long long>(set.n_missing), static_cast<long long>(set.size()));
    if (set.n_missing == set.size()) throw value_error(metadata + ": none of the pictures below " + root + " can be read");
    return set;
}

/// Simulated specimens as files: DIR/simulated.csv, and pictures under BIOSCAN-5M's paths. Kept when they are there already.
inline std::string simulate_into(cpu_context& ctx, const std::string& dir, index_t n, index_t image_size, std::uint64_t seed, bool quiet) {
    const std::string path = dir + "/simulated.csv";
    if (std::filesystem::exists(path)) return path;
    if (!quiet) std::fprintf(stderr, "simulating %lld specimens with pictures into %s\n", static_cast<long long>(n), dir.c_str());
    std::filesystem::create_directories(dir);
    const auto specimens = data::simulate_specimens({.n_specimens = n, .seed = seed});
    parallel_for(ctx, n, 16, [&](index_t begin, index_t end) {
        for (index_t i = begin; i < end; ++i) {
            const auto& s = specimens[static_cast<std::size_t>(i)];
            const std::string file = dir + "/" + data::bioscan_5m_image_path("cropped_256", s.split, s.chunk, s.processid);
            std::filesystem::create_directories(std::filesystem::path(file).parent_path());
            // No flush of each of many files: they count once the table is there.
            const std::string bytes = data::encode_jpeg(data::draw_specimen(s, image_size, {.seed = seed}), 90);
            std::ofstream stream(file, std::ios::binary);
            stream.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
            stream.close();
            if (!stream) throw io_error(file + ": cannot be written");
        }
    });
    data::write_bioscan_csv(path, specimens);  // last: its presence says that the pictures are complete
    return path;
}

}  // namespace clip_trimodal

#endif
