// The three towers of CLIBD against timm and transformers: the file's weights load under CLIBD's names, LoRA included, and give its embeddings.
#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/nn/clip_io.hpp"
#include "support/golden_fill.hpp"
#include "support/temp_folder.hpp"

using namespace instar;

namespace {

/// The golden file's model as a folder; `rename` may spell its names otherwise.
template <class Rename>
void write_model(const test::golden_file& golden, const std::string& folder, Rename rename) {
    std::vector<std::vector<float>> values;
    std::vector<io::named_const_tensor> tensors;
    values.reserve(golden.file().tensors().size());
    for (const auto& t : golden.file().tensors()) {
        if (!t.name.starts_with("model.")) continue;
        values.push_back(golden.read<float>(t.name));
        tensors.emplace_back(rename(t.name.substr(6)), t.shape, values.back().data());
    }
    io::save_parameters(folder, {{"clip", {{"image_heads", 4}, {"dna_heads", 4}, {"text_heads", 2}}}}, tensors);
}

template <class T>
void check(nn::clip<T>& model, const test::golden_file& golden, double tolerance) {
    cpu_context ctx{2};
    const auto images = golden.read<float>("images");
    std::vector<T> pixels(images.begin(), images.end());
    const auto dna = golden.read<std::int32_t>("dna"), text = golden.read<std::int32_t>("text");
    const auto mask = golden.read<std::uint8_t>("text_mask");
    const auto e = model.embed(ctx, {.images = {pixels.data(), {3, 3, 32, 32}}, .dna = {dna.data(), {3, 21}}, .text = {text.data(), {3, 9}}, .text_mask = {mask.data(), {3, 9}}});
    CHECK(golden.max_error("image_embedding", e.image.data(), e.image.size()) < tolerance);
    CHECK(golden.max_error("dna_embedding", e.dna.data(), e.dna.size()) < tolerance);
    CHECK(golden.max_error("text_embedding", e.text.data(), e.text.size()) < tolerance);
}

}  // namespace

TEST_CASE("CLIBD's towers equal timm's and transformers'") {
    const test::golden_file golden("clibd");
    test::temp_folder folder;
    write_model(golden, folder / "model", [](const std::string& n) { return n; });
    auto exact = nn::load_clip<double>(folder / "model");
    check(exact, golden, 1e-9);
    auto model = nn::load_clip<float>(folder / "model");
    check(model, golden, 1e-5);
    CHECK(model.logit_scale() == doctest::Approx(golden.read<float>("model.logit_scale").at(0)));
    // Saved with LoRA merged into the weights, and loaded again.
    nn::save_clip(model, folder / "again");
    auto again = nn::load_clip<float>(folder / "again");
    check(again, golden, 1e-5);
}

TEST_CASE("names of CLIBD's older code, and LoRA in the DNA tower") {
    const test::golden_file golden("clibd");
    test::temp_folder folder;
    write_model(golden, folder / "old", [](std::string n) {
        for (const auto& [now, then] : {std::pair{"base_image_encoder", "lora_vit"}, std::pair{"base_dna_encoder", "lora_barcode_bert"}, std::pair{"base_language_encoder", "lora_bert"}}) {
            if (const auto at = n.find(now); at != std::string::npos) n.replace(at, std::string_view(now).size(), then);
        }
        return "module." + n;
    });
    auto model = nn::load_clip<double>(folder / "old");
    check(model, golden, 1e-9);
}

TEST_CASE("a folder that is none is refused by name") {
    const test::golden_file golden("clibd");
    test::temp_folder folder;
    write_model(golden, folder / "part", [](const std::string& n) { return n == "language_encoder.proj.bias" ? "language_encoder.other" : n; });
    CHECK_THROWS_AS(nn::load_clip<float>(folder / "part"), parse_error);
    io::save_parameters(folder / "empty", io::json::object(), std::span<const io::named_const_tensor>{});
    CHECK_THROWS_AS(nn::load_clip<float>(folder / "empty"), parse_error);
    CHECK_THROWS_AS(nn::load_clip<float>(folder / "none"), io_error);
}
