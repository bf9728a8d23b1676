// io/hf.hpp: model folders, single or sharded, under every spelling of names, and every way in which they may not fit.
#include <doctest/doctest.h>

#include "instar/io/hf.hpp"
#include "support/compare.hpp"
#include "support/temp_folder.hpp"

using namespace instar;
using test::error_text;
using names = std::vector<std::string>;

namespace {

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

struct fixture {
    test::temp_folder folder;
    const std::string dir = folder / "model";
    std::vector<float> word{1, 2, 3, 4, 5, 6}, bias{7, 8, 9};

    fixture() { io::create_folders(dir); }
    /// The two tensors under the given names.
    void write(const std::string& word_name, const std::string& bias_name, const std::string& file = "model.safetensors") const {
        io::write_file(dir + "/config.json", "{\"hidden_size\": 3}");
        const std::vector<io::named_const_tensor> tensors{{word_name, {2, 3}, word.data()}, {bias_name, {3}, bias.data()}};
        io::write_safetensors(dir + "/" + file, tensors, {{"format", "pt"}});
    }
};

struct parameters {
    std::vector<float> word = std::vector<float>(6, -1.0f), bias = std::vector<float>(3, -1.0f);
    std::vector<io::named_tensor> list(const std::string& word_name = "bert.word.weight", const std::string& bias_name = "bert.LayerNorm.bias") {
        return {{word_name, {2, 3}, word.data()}, {bias_name, {3}, bias.data()}};
    }
};

}  // namespace

TEST_CASE_FIXTURE(fixture, "hf: a folder that is saved loads again") {
    parameters p;
    p.word = word;
    p.bias = bias;
    const std::string out = folder / "made/for/it/";
    io::save_parameters(out, {{"hidden_size", 3}, {"model_type", "bert"}}, p.list());
    const io::hf_folder f(out);
    CHECK(f.config_view().get<index_t>("hidden_size") == 3);
    CHECK(f.names() == names{"bert.LayerNorm.bias", "bert.word.weight"});
    CHECK(f.info("bert.word.weight").shape == std::vector<index_t>{2, 3});
    CHECK(f.read<double>("bert.LayerNorm.bias") == std::vector<double>{7, 8, 9});
    CHECK(io::safetensors_file(out + "model.safetensors").metadata() == io::safetensors_metadata{{"format", "pt"}});
    CHECK(folder.names() == names{"made", "model"});
    parameters q;
    const io::load_report report = io::load_parameters(f, q.list());
    CHECK(q.word == word);
    CHECK(q.bias == bias);
    CHECK(report.missing.empty());
    CHECK(report.unknown.empty());
    CHECK(contains(error_text([&] { f.read<float>("classifier.weight"); }), "there is no parameter 'classifier.weight'"));
    CHECK(contains(error_text([&] { f.config_view().get<int>("num_heads"); }), "config.json: the key \"num_heads\" is missing"));
}

TEST_CASE_FIXTURE(fixture, "hf: spellings of names") {
    const std::pair<std::string, std::string> spellings[] = {
        {"bert.word.weight", "bert.LayerNorm.bias"},
        {"module.bert.word.weight", "module.bert.LayerNorm.bias"},
        {"base_model.bert.word.weight", "base_model.bert.LayerNorm.beta"},
        {"module.base_model.bert.word.weight", "_orig_mod.module.bert.LayerNorm.bias"},
        {"word.weight", "LayerNorm.beta"},
    };
    for (const auto& [w, b] : spellings) {
        CAPTURE(w);
        write(w, b);
        parameters p;
        const io::load_report report = io::load_parameters(io::hf_folder(dir), p.list(), {.base_prefix = "bert."});
        CHECK(p.word == word);
        CHECK(p.bias == bias);
        CHECK(report.unknown.empty());
        parameters bare;  // a model without the prefix reads a file with it
        io::load_parameters(io::hf_folder(dir), bare.list("word.weight", "LayerNorm.bias"), {.base_prefix = "bert."});
        CHECK(bare.word == word);
    }
    parameters p;
    CHECK(contains(error_text([&] { io::load_parameters(io::hf_folder(dir), p.list()); }), "bert.word.weight: missing"));
    write("bert.word.weight", "module.bert.word.weight");
    CHECK(contains(error_text<parse_error>([&] { io::hf_folder f(dir); }), "both spell the parameter 'bert.word.weight'"));
}

TEST_CASE_FIXTURE(fixture, "hf: other element types convert; position_ids are ignored") {
    io::write_file(dir + "/config.json", "{}");
    const std::int64_t ids[3] = {0, 1, 2};
    io::safetensors_writer out(dir + "/model.safetensors", {{"bert.word.weight", io::dtype::bf16, {2, 3}, 0, 0},
                                                            {"bert.LayerNorm.bias", io::dtype::f16, {3}, 0, 0},
                                                            {"bert.embeddings.position_ids", io::dtype::i64, {1, 3}, 0, 0}});
    out.append(ids, 3);
    out.append(bias.data(), 3);
    out.append(word.data(), 6);
    out.commit();
    parameters p;
    const io::load_report report = io::load_parameters(io::hf_folder(dir), p.list(), {.allow_unknown = false});
    CHECK(p.word == word);
    CHECK(p.bias == bias);
    CHECK(report.unknown.empty());
    std::vector<double> w(6);
    std::vector<io::named_tensor> doubles{{"bert.word.weight", {2, 3}, w.data()}};
    CHECK(io::load_parameters(io::hf_folder(dir), doubles).unknown == names{"bert.LayerNorm.bias"});
    CHECK(w[5] == 6.0);
}

TEST_CASE_FIXTURE(fixture, "hf: every disagreement is listed, and nothing is written") {
    write("bert.word.weight", "bert.LayerNorm.bias");
    const io::hf_folder f(dir);
    std::vector<float> memory(100, -1.0f);
    std::vector<io::named_tensor> wanted{{"bert.LayerNorm.bias", {3}, memory.data()},
                                         {"bert.word.weight", {3, 2}, memory.data() + 3},
                                         {"bert.layer.0.weight", {3}, memory.data() + 9},
                                         {"classifier.weight", {4, 3}, memory.data() + 12}};
    const std::string text = error_text<parse_error>([&] { io::load_parameters(f, wanted); });
    CHECK(contains(text, "3 parameters do not fit the model:"));
    CHECK(contains(text, "\n  bert.word.weight: shape [2, 3] in the file, expected [3, 2]"));
    CHECK(contains(text, "\n  bert.layer.0.weight: missing in the file"));
    CHECK(contains(text, "\n  classifier.weight: missing in the file"));
    CHECK(std::count(memory.begin(), memory.end(), -1.0f) == 100);
    wanted.erase(wanted.begin() + 2);
    CHECK(error_text<shape_error>([&] { io::load_parameters(f, wanted, {.may_be_missing = {"classifier."}}); }) ==
          dir + ": 1 parameters do not fit the model:\n  bert.word.weight: shape [2, 3] in the file, expected [3, 2]");
    CHECK(std::count(memory.begin(), memory.end(), -1.0f) == 100);
    wanted[1] = io::named_tensor("bert.word.weight", {2, 3}, memory.data() + 3);
    io::load_report report = io::load_parameters(f, wanted, {.may_be_missing = {"classifier."}});
    CHECK(report.missing == names{"classifier.weight"});
    CHECK(memory[0] == 7.0f);
    CHECK(memory[8] == 6.0f);
    CHECK(memory[12] == -1.0f);
    CHECK(io::load_parameters(f, wanted, {.may_be_missing = {"classifier.weight"}}).missing == names{"classifier.weight"});
    CHECK(contains(error_text([&] { io::load_parameters(f, wanted, {.may_be_missing = {"classifier"}}); }), "classifier.weight: missing"));
    const std::vector<io::named_tensor> one{{"bert.LayerNorm.bias", {3}, memory.data()}};
    CHECK(io::load_parameters(f, one).unknown == names{"bert.word.weight"});
    CHECK(contains(error_text<parse_error>([&] { io::load_parameters(f, one, {.allow_unknown = false}); }),
                   "bert.word.weight: in the file, but no parameter of the model"));
    std::vector<std::int32_t> integers(3);
    const std::vector<io::named_tensor> typed{{"bert.LayerNorm.bias", {3}, integers.data()}};
    CHECK(contains(error_text<parse_error>([&] { io::load_parameters(f, typed); }), "type F32 in the file, which does not read as I32"));
    const std::vector<io::named_tensor> twice{one[0], one[0]};
    CHECK(contains(error_text([&] { io::load_parameters(f, twice); }), "asked for twice"));
    std::vector<io::named_tensor> many;
    for (int i = 0; i < 50; ++i) many.emplace_back("x" + std::to_string(i), std::vector<index_t>{1}, memory.data());
    CHECK(contains(error_text([&] { io::load_parameters(f, many); }), "x19: missing in the file\n  and 30 more"));
}

TEST_CASE_FIXTURE(fixture, "hf: shards and their index") {
    io::write_file(dir + "/config.json", "{}");
    const std::vector<io::named_const_tensor> first{{"bert.word.weight", {2, 3}, word.data()}, {"bert.unlisted", {3}, bias.data()}};
    const std::vector<io::named_const_tensor> second{{"bert.LayerNorm.bias", {3}, bias.data()}};
    io::write_safetensors(dir + "/model-00001-of-00002.safetensors", first);
    io::write_safetensors(dir + "/model-00002-of-00002.safetensors", second);
    const std::string index = dir + "/model.safetensors.index.json";
    const auto weight_map = [&](const std::string& word_file, const std::string& bias_file) {
        io::write_json(index, {{"metadata", {{"total_size", 36}}},
                               {"weight_map", {{"bert.word.weight", word_file}, {"bert.LayerNorm.bias", bias_file}}}});
    };
    weight_map("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors");
    const io::hf_folder f(dir);
    CHECK(f.names() == names{"bert.LayerNorm.bias", "bert.word.weight"});
    parameters p;
    CHECK(io::load_parameters(f, p.list()).unknown.empty());
    CHECK(p.word == word);
    CHECK(p.bias == bias);
    const auto failure = [&] { return error_text([&] { io::hf_folder g(dir); }); };
    weight_map("model-00001-of-00002.safetensors", "model-00001-of-00002.safetensors");
    CHECK(contains(failure(), "index.json: 'bert.LayerNorm.bias' is not in model-00001-of-00002.safetensors"));
    weight_map("model-00001-of-00002.safetensors", "model-00003-of-00002.safetensors");
    CHECK(contains(failure(), "model-00003-of-00002.safetensors: cannot open for reading"));
    for (const char* bad : {"../secret.safetensors", "/etc/passwd", "", ".."}) {
        weight_map(bad, "model-00002-of-00002.safetensors");
        CHECK(contains(failure(), "which is no file name"));
    }
    io::write_file(index, "{\"weight_map\": {\"a\": 1}}");
    CHECK(contains(failure(), "index.json: \"weight_map.a\" is an integer, expected a string"));
    io::write_file(index, "{\"weight_map\": []}");
    CHECK(contains(failure(), "weight_map is no object"));
    io::write_file(index, "{}");
    CHECK(contains(failure(), "index.json: the key \"weight_map\" is missing"));
}

TEST_CASE_FIXTURE(fixture, "hf: folders that are no model") {
    const auto failure = [&] { return error_text([&] { io::hf_folder g(dir); }); };
    CHECK(contains(failure(), "model/config.json: cannot open for reading: No such file"));
    io::write_file(dir + "/config.json", "[]");
    CHECK(contains(failure(), "model/config.json: is no object"));
    io::write_file(dir + "/config.json", "{\"a\": }");
    CHECK(contains(failure(), "model/config.json:1:7: "));
    io::write_file(dir + "/config.json", "{}");
    CHECK(contains(failure(), "holds neither model.safetensors nor"));
    io::write_file(dir + "/pytorch_model.bin", "PK");
    CHECK(contains(failure(), "save_pretrained(folder, safe_serialization=True)"));
    io::write_file(dir + "/model.safetensors", "short");
    CHECK(contains(failure(), "model/model.safetensors: truncated: 5 bytes"));
    CHECK(contains(error_text<io_error>([&] { io::hf_folder g(folder / "nowhere"); }), "nowhere/config.json: cannot open"));
    io::write_file(folder / "file", "x");
    parameters p;
    CHECK(contains(error_text<io_error>([&] { io::save_parameters(folder / "file", io::json::object(), p.list()); }),
                   "file: cannot create the folder: Not a directory"));
}
