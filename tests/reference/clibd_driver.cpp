// Loads a contrastive model's folder and prints, for each tower, the largest difference of its embeddings from a file's. See clibd_golden.py.
//
//     clibd_driver FOLDER CASE.safetensors
#include <cstdio>
#include <exception>

#include "instar/nn/clip_io.hpp"

using namespace instar;

int main(int argc, char** argv) {
    if (argc != 3) return 2;
    try {
        cpu_context ctx;
        auto model = nn::load_clip<float>(argv[1]);
        const io::safetensors_file file(argv[2]);
        const auto images = file.read<float>("images");
        const auto dna = file.read<std::int32_t>("dna"), text = file.read<std::int32_t>("text");
        const auto mask = file.read<std::uint8_t>("text_mask");
        const auto shape = [&](const char* name, std::size_t d) { return file.info(name).shape.at(d); };
        const index_t n = shape("images", 0);
        const auto e = model.embed(ctx, {.images = {images.data(), {n, 3, shape("images", 2), shape("images", 3)}},
                                         .dna = {dna.data(), {n, shape("dna", 1)}},
                                         .text = {text.data(), {n, shape("text", 1)}},
                                         .text_mask = {mask.data(), {n, shape("text", 1)}}});
        for (const auto& [name, own] : {std::pair{"image", &e.image}, std::pair{"dna", &e.dna}, std::pair{"text", &e.text}}) {
            const auto expected = file.read<float>(std::string(name) + "_embedding");
            float worst = 0.0f, largest = 0.0f;
            for (index_t i = 0; i < own->size(); ++i) {
                worst = std::max(worst, std::abs(own->data()[i] - expected[static_cast<std::size_t>(i)]));
                largest = std::max(largest, std::abs(expected[static_cast<std::size_t>(i)]));
            }
            std::printf("%s %.2e of %.2e\n", name, static_cast<double>(worst / largest), static_cast<double>(largest));
        }
    } catch (const std::exception& e) {
        std::fprintf(stderr, "%s\n", e.what());
        return 1;
    }
    return 0;
}
