// image_classifier: the image baseline of BIOSCAN-1M, for any labelled photographs.
//
//     image_classifier train --images photos/ --out run                       # photos/train/CLASS/*.jpg, photos/val/CLASS/*.jpg
//     image_classifier train --labels labels.tsv --images photos/ --out run
//     image_classifier eval --model run --labels labels.tsv --images photos/ --out results.json
//     image_classifier embed --model run --images photos/ --split val --out embeddings.npy
#include <cstdio>

#include <CLI/CLI.hpp>

#include "common/device_option.hpp"
#include "tasks.hpp"

namespace {

using namespace image_classifier;

void add_images(CLI::App* app, settings& s) {
    app->add_option("--images", s.images, "folder with train/, val/ or test/ and a folder a class below; with --labels or --metadata: folders and .zip archives with the files");
    app->add_option("--cache", s.cache, "images in memory: auto, memory, none")->capture_default_str()->check(CLI::IsMember({"auto", "memory", "none"}));
    app->add_option("--labels", s.labels, "table of files and classes (TSV or CSV); a column split is used, else one file in five is test, by the MD5 of its name");
    app->add_option("--file-column", s.file_column, "of --labels");
    app->add_option("--label-column", s.label_column, "of --labels");
    app->add_option("--path-format", s.path_format, "of --labels: {} stands for the file column")->capture_default_str();
    app->add_option("--classes", s.classes, "of --labels: only these");
    app->add_option("--split-by", s.split_by, "of --labels: its column split where it has one, or always the MD5 of the file's name")->capture_default_str()->check(CLI::IsMember({"table", "name"}));
    app->add_option("--metadata", s.metadata, "BIOSCAN-1M's metadata (TSV)");
    app->add_option("--exp-name,--exp_name", s.exp_name, "of --metadata: {large,medium,small}_{insect_order,diptera_family}")->capture_default_str();
    app->add_option("--idx", s.idx, "folder with MNIST's or Fashion-MNIST's four files");
    app->add_flag("--skip-broken", s.skip_broken, "leave images out that cannot be read, instead of stopping");
    app->add_option("--seed", s.seed)->capture_default_str();
    app->add_option("--threads", s.threads, "0 = all cores")->capture_default_str();
    examples::add_device_options(*app, s.device, s.bf16);
    app->footer("--device: the network, its loss and its optimiser run there. Images, the baseline and scores are the CPU's.");
    app->add_flag("--quiet", s.quiet, "no progress");
}

void add_scores(CLI::App* app, settings& s) {
    app->add_option("--k", s.k, "top-k to score")->capture_default_str();
    app->add_flag("--baseline,!--no-baseline", s.baseline, "also a colour histogram with a linear classifier");
}

}  // namespace

int main(int argc, char** argv) {
    settings s;
    // The preset's values are the defaults of all other flags, so it is read first.
    std::string preset = "small";
    for (int i = 1; i < argc; ++i) {
        const std::string a = argv[i];
        if (a.starts_with("--preset=")) preset = a.substr(9);
        else if (a == "--preset" && i + 1 < argc) preset = argv[i + 1];
    }
    try {
        apply_preset(s, preset);
    } catch (const std::exception& e) {
        std::fprintf(stderr, "image_classifier: %s\n", e.what());
        return 1;
    }
    CLI::App app{"Classifies photographs: the image baseline of BIOSCAN-1M.\n\nExample:\n  image_classifier train --images photos/ --out run\n"};
    app.require_subcommand(1);

    CLI::App* train = app.add_subcommand("train", "train a network; score it on test (or val)");
    add_images(train, s);
    add_scores(train, s);
    train->add_option("--preset", s.preset, "small (default) or paper")->check(CLI::IsMember({"small", "paper"}));
    train->add_option("--model", s.model, "resnet18, resnet34, resnet50, resnet_small, vit_tiny, vit_small, vit_base, or a folder to start from")->capture_default_str();
    train->add_option("--out", s.out, "folder")->required();
    train->add_option("--image-size,--image_size", s.image_size, "shorter side after the resize")->capture_default_str()->check(CLI::Range(8, 4096));
    train->add_flag("--crop-to-specimen", s.crop_to_specimen, "cut each photograph to the specimen found in it first; whole where nothing stands out");
    train->add_option("--crop-size,--crop_size", s.crop_size, "what the network sees")->capture_default_str()->check(CLI::Range(8, 4096));
    train->add_option("--augment", s.augment)->capture_default_str()->check(CLI::IsMember({"none", "flip", "strong"}));
    train->add_option("--epochs,--n_epochs", s.epochs)->capture_default_str()->check(CLI::PositiveNumber);
    train->add_option("--batch-size,--batch_size", s.batch_size)->capture_default_str()->check(CLI::PositiveNumber);
    train->add_option("--optimizer", s.optimizer)->capture_default_str()->check(CLI::IsMember({"SGD", "AdamW"}));
    train->add_option("--scheduler", s.scheduler)->capture_default_str()->check(CLI::IsMember({"one_cycle", "step"}));
    train->add_option("--epoch-decay,--epoch_decay", s.epoch_decay, "of the step schedule")->capture_default_str();
    train->add_option("--lr", s.lr)->capture_default_str()->check(CLI::PositiveNumber);
    train->add_option("--momentum", s.momentum, "of SGD, Nesterov")->capture_default_str();
    train->add_option("--mu,--weight-decay", s.weight_decay)->capture_default_str();
    train->add_option("--loss", s.loss)->capture_default_str()->check(CLI::IsMember({"CE", "Focal"}));
    train->add_option("--gamma", s.gamma, "of the focal loss")->capture_default_str();
    train->add_option("--label-smoothing", s.label_smoothing, "of CE")->capture_default_str();
    train->add_option("--class-weights", s.class_weights)->capture_default_str()->check(CLI::IsMember({"none", "sqrt", "inverse"}));
    train->add_option("--log-interval", s.log_interval, "steps")->capture_default_str()->check(CLI::PositiveNumber);
    train->add_flag("--save-best-model,!--last-model", s.save_best_model, "score the epoch that was best on val")->capture_default_str();

    CLI::App* eval = app.add_subcommand("eval", "score a trained network on a split");
    add_images(eval, s);
    add_scores(eval, s);
    eval->add_option("--model", s.model, "folder that train wrote")->required();
    eval->add_option("--split", s.split)->capture_default_str();
    eval->add_option("--out", s.out, "folder, or results.json");

    CLI::App* embed = app.add_subcommand("embed", "features before the classifier, as .npy");
    add_images(embed, s);
    embed->add_option("--model", s.model, "folder that train wrote")->required();
    embed->add_option("--split", s.split)->capture_default_str();
    embed->add_option("--out", s.out, ".npy")->required();

    CLI11_PARSE(app, argc, argv);
    try {
        return *train ? run_train(s) : *eval ? run_eval(s) : run_embed(s);
    } catch (const std::exception& e) {
        std::fprintf(stderr, "image_classifier: %s\n", e.what());
        return 1;
    }
}
