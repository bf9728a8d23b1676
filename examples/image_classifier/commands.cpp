// What the command line calls: read, run, save, print.
#include <filesystem>
#include <iostream>

#include "instar/io/npy.hpp"

#include "common/table.hpp"
#include "tasks.hpp"

namespace image_classifier {

namespace {

examples::device make_device(const settings& s) { return {{s.device, s.threads, s.bf16}, "image_classifier", "images, the colour baseline, scores"}; }

void print(const settings& s, const metrics_map& metrics, const std::string& split) {
    const auto of = [&](const std::string& key) {
        const auto it = metrics.find(key);
        if (it == metrics.end()) return std::string("–");
        char text[32];
        std::snprintf(text, sizeof text, "%.2f", 100.0 * it->second);
        return std::string(text);
    };
    std::vector<std::string> header{"classifier"};
    for (const char* what : {"micro", "macro"}) {
        for (const int k : s.k) {
            if (metrics.count(split + ".top" + std::to_string(k) + ".micro") != 0) header.push_back("top-" + std::to_string(k) + " " + what);
        }
    }
    header.push_back("F1 macro");
    examples::text_table table(header);
    for (const auto& [name, prefix] : {std::pair{std::string("network"), split}, std::pair{std::string("colour histogram, linear"), "baseline.color_histogram." + split}}) {
        if (metrics.count(prefix + ".n") == 0) continue;
        std::vector<std::string> row{name};
        for (const char* what : {"micro", "macro"}) {
            for (const int k : s.k) {
                if (metrics.count(split + ".top" + std::to_string(k) + ".micro") != 0) row.push_back(of(prefix + ".top" + std::to_string(k) + "." + what));
            }
        }
        row.push_back(of(prefix + ".f1.macro"));
        table.add_row(row);
    }
    std::cout << "Accuracy in percent, " << metrics.at(split + ".n") << " images of " << split << "\n\n" << table.text() << '\n';
}

split_of split_named(const std::string& name) { return detail::split_from(name, "--split"); }

/// Scores a split and its baseline; writes results.json and report.html where there is an --out.
void finish(cpu_context& ctx, const settings& s, const std::string& task, const image_set& set, image_cache& cache, const image_model& model, image_network& network, split_of split, const training_curves* curves,
            std::chrono::steady_clock::time_point start) {
    const std::string name = split_name(split);
    const auto rows = set.of(split);
    metrics_map metrics;
    const predictions p = predict(ctx, model, network, cache, rows);
    score(metrics, name, set, p, s.k);
    if (s.baseline) score_baseline(ctx, metrics, set, cache, split, s.k, s.seed);
    metrics["n_parameters"] = static_cast<double>(model.n_parameters());
    metrics["n_broken_images"] = static_cast<double>(cache.n_broken());
    if (curves != nullptr) metrics["train.loss"] = curves->summary.final_loss;
    print(s, metrics, name);
    const double seconds = seconds_since(start);
    if (s.out.empty()) return;
    const double rate = curves != nullptr ? curves->summary.samples_per_second : static_cast<double>(rows.size()) / seconds;
    examples::write_results(s.out, task, seconds, rate, metrics);
    const std::string report = s.out.ends_with(".json") ? s.out.substr(0, s.out.size() - 5) + ".html" : s.out + "/report.html";
    write_report(report, s, set, cache, model, p, metrics, name, curves, seconds);
    std::cout << "report: " << report << '\n';
}

/// The classes of a set in the order of a model's; throws value_error naming a class that the model does not know.
void use_classes_of(image_set& set, const image_model& model) {
    const auto& names = model.facts().classes;
    if (names.empty()) throw value_error("the model's folder does not name its classes: it was not written by image_classifier");
    std::vector<std::int32_t> number;
    for (const std::string& name : set.classes) {
        const auto it = std::find(names.begin(), names.end(), name);
        if (it == names.end()) throw value_error("class '" + name + "' is not one of the model's " + std::to_string(names.size()));
        number.push_back(static_cast<std::int32_t>(it - names.begin()));
    }
    for (std::int32_t& l : set.labels) l = number[static_cast<std::size_t>(l)];
    set.classes = names;
}

/// What is not of this split need not be decoded; baselines are trained on train.
void keep(image_set& set, split_of split, bool with_train) {
    for (split_of& s : set.splits) {
        if (s != split && !(with_train && s == split_of::train)) s = split_of::none;
    }
    if (set.of(split).empty()) throw value_error(std::string("there is no image of split '") + split_name(split) + "'");
}

}  // namespace

image_set list_images(const settings& s) {
    const int n_sources = static_cast<int>(!s.labels.empty()) + static_cast<int>(!s.metadata.empty()) + static_cast<int>(!s.idx.empty());
    if (n_sources > 1) throw value_error("give one of --labels, --metadata and --idx");
    if (!s.idx.empty()) return list_idx(s.idx);
    if (s.images.empty()) throw value_error("--images is needed: the folder or the archives where the images are");
    if (!s.labels.empty()) return list_table(s.labels, s.images, s.label_column, s.file_column, s.path_format, {.ignore_split = s.split_by == "name", .classes = s.classes});
    if (!s.metadata.empty()) return list_bioscan1m(s.metadata, s.images, s.exp_name);
    if (s.images.size() != 1) throw value_error("--images: a folder with a folder a class must be one; several need --labels or --metadata");
    return list_folder(s.images[0]);
}

int run_train(const settings& s) {
    const auto start = std::chrono::steady_clock::now();
    examples::device device = make_device(s);
    cpu_context& ctx = device.cpu();
    image_set set = list_images(s);
    image_facts facts{.image_size = s.image_size, .crop_size = s.crop_size, .n_channels = set.n_channels, .mean = s.mean, .deviation = s.deviation, .classes = set.classes, .crop_to_specimen = s.crop_to_specimen};
    image_cache cache(ctx, set, facts, {.strict = !s.skip_broken, .where = s.cache});
    const auto train_rows = set.of(split_of::train);
    if (train_rows.empty()) throw value_error("there is no image to train on");
    const split_of scored = !set.of(split_of::test).empty() ? split_of::test : split_of::val;
    std::vector<bool> known(set.classes.size(), false);
    for (const index_t i : train_rows) known[static_cast<std::size_t>(set.labels[static_cast<std::size_t>(i)])] = true;
    for (std::size_t c = 0; c < known.size(); ++c) {
        if (!known[c]) throw value_error("class '" + set.classes[c] + "' has images in " + split_name(scored) + " or val but none in train");
    }
    std::optional<image_model> start_from;
    if (std::filesystem::is_directory(s.model)) start_from = image_model::load(s.model);
    image_model model = image_model::create(start_from ? start_from->architecture() : s.model, facts, philox{s.seed, 1});
    if (start_from) {
        const index_t n = model.copy_from(*start_from);
        if (!s.quiet) std::fprintf(stderr, "%lld tensors of %s taken over\n", static_cast<long long>(n), s.model.c_str());
    }
    if (!s.quiet) {
        std::fprintf(stderr, "%zu images to train on, %zu to validate, %zu to score, %zu classes; %s, %lld parameters\n", train_rows.size(), set.of(split_of::val).size(), set.of(scored).size(),
                     set.classes.size(), model.architecture().c_str(), static_cast<long long>(model.n_parameters()));
    }
    auto network = place(device, model);
    const training_curves curves = train(ctx, s, set, cache, model, *network);
    model.save(s.out);
    if (s.save_best_model && std::filesystem::exists(s.out + "/best/config.json")) {
        network.reset();
        model = image_model::load(s.out + "/best");
        network = place(device, model);
    }
    finish(ctx, s, "train", set, cache, model, *network, scored, &curves, start);
    examples::drop_checkpoint(s.out, "");
    return 0;
}

int run_eval(const settings& s) {
    const auto start = std::chrono::steady_clock::now();
    examples::device device = make_device(s);
    cpu_context& ctx = device.cpu();
    image_model model = image_model::load(s.model);
    image_set set = list_images(s);
    use_classes_of(set, model);
    const split_of split = split_named(s.split);
    keep(set, split, s.baseline);
    image_cache cache(ctx, set, model.facts(), {.strict = !s.skip_broken, .where = s.cache});
    finish(ctx, s, "eval", set, cache, model, *place(device, model), split, nullptr, start);
    return 0;
}

int run_embed(const settings& s) {
    examples::device device = make_device(s);
    cpu_context& ctx = device.cpu();
    image_model model = image_model::load(s.model);
    image_set set = list_images(s);
    const split_of split = split_named(s.split);
    keep(set, split, false);
    image_cache cache(ctx, set, model.facts(), {.strict = !s.skip_broken, .where = s.cache});
    const auto rows = set.of(split);
    const auto network = place(device, model);
    data::image_loader loader = batches(ctx, cache, model.facts(), augmentation::none, 32, false);
    std::vector<float> values;
    std::vector<index_t> read;
    loader.start(rows, {});
    while (const data::image_batch* batch = loader.next()) {
        if (batch->size() == 0) continue;
        const auto features = network->features(batch->pixels());
        values.insert(values.end(), features.data(), features.data() + features.size());
        read.insert(read.end(), batch->items.begin(), batch->items.end());
    }
    cache.report(loader);
    if (read.empty()) throw value_error("none of the " + std::to_string(rows.size()) + " images can be read");
    const tensor_view<const float, 2> embedded(values.data(), {static_cast<index_t>(read.size()), model.d_features()});
    io::write_npy(s.out, embedded);
    std::string names;
    for (const index_t i : read) names += (set.paths.empty() ? std::to_string(i) : set.paths[static_cast<std::size_t>(i)]) + '\t' + set.classes[static_cast<std::size_t>(set.labels[static_cast<std::size_t>(i)])] + '\n';
    io::write_file(s.out + ".tsv", names);
    std::printf("%lld embeddings of %lld numbers in %s, files and classes in %s.tsv\n", static_cast<long long>(embedded.extent(0)), static_cast<long long>(embedded.extent(1)), s.out.c_str(), s.out.c_str());
    return 0;
}

}  // namespace image_classifier
