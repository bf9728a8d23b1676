// clip_trimodal: images, DNA barcodes and text in one space, and retrieval across them: benchmark 3 of BIOSCAN-5M.
//
//     clip_trimodal train --out run                                                        # on simulated specimens
//     clip_trimodal train --metadata metadata.csv.gz --images bioscan/ --out run
//     clip_trimodal eval --model run --out results.json
//     clip_trimodal retrieve --model run --image photo.jpg --out page.html
//     clip_trimodal embed --model run --out embeddings                                     # for zero_shot_clustering
#include <cstdio>

#include <CLI/CLI.hpp>

#include "common/device_option.hpp"
#include "tasks.hpp"

namespace {

using namespace clip_trimodal;

void add_data(CLI::App* app, settings& s) {
    app->add_option("--metadata", s.metadata, "BIOSCAN-5M metadata; without it: simulated specimens, or what --model was trained on");
    app->add_option("--images", s.images, "folder below which BIOSCAN's image paths begin (bioscan5m/images/…)");
    app->add_option("--package", s.package, "of the images")->capture_default_str();
    app->add_option("--eval-on,--eval_on", s.eval_on, "queries: test or val")->capture_default_str()->check(CLI::IsMember({"test", "val"}));
    app->add_option("--threads", s.threads, "0 = all cores")->capture_default_str();
    examples::add_device_options(*app, s.device, s.bf16);
    app->footer("--device: the towers, the loss, adapters and AdamW run there. Pictures, tokens, nearest neighbours and scores are the CPU's.");
    app->add_flag("--quiet", s.quiet, "no progress");
}

}  // namespace

int main(int argc, char** argv) {
    settings s;
    std::string preset = "small";
    for (int i = 1; i < argc; ++i) {
        const std::string a = argv[i];
        if (a.starts_with("--preset=")) preset = a.substr(9);
        else if (a == "--preset" && i + 1 < argc) preset = argv[i + 1];
    }
    try {
        apply_preset(s, preset);
    } catch (const std::exception& e) {
        std::fprintf(stderr, "clip_trimodal: %s\n", e.what());
        return 1;
    }
    CLI::App app{"Aligns images, DNA barcodes and text, and retrieves across them: benchmark 3 of BIOSCAN-5M.\n\nExample:\n  clip_trimodal train --out run\n"};
    app.require_subcommand(1);
    CLI::App* train = app.add_subcommand("train", "train the towers; score retrieval before and after");
    add_data(train, s);
    train->add_option("--out", s.out, "folder")->required();
    train->add_option("--preset", s.preset, "small (default) or paper")->check(CLI::IsMember({"small", "paper"}));
    train->add_option("--model", s.model, "folder that train wrote: go on from its weights");
    train->add_option("--dna-model", s.dna_model, "folder of a k-mer BERT to start the DNA tower from");
    train->add_option("--text-model", s.text_model, "folder of a BERT to start the text tower from, with its vocabulary");
    train->add_option("--image-model", s.image_model, "folder of a vision transformer to start the image tower from");
    train->add_option("--vocab", s.vocab, "vocab.txt, tokenizer.json or a folder, for the text");
    train->add_option("--modalities", s.modalities)->check(CLI::IsMember({"image", "dna", "text"}))->capture_default_str();
    train->add_option("--n-specimens", s.n_specimens, "simulated ones")->capture_default_str()->check(CLI::Range(500, 17000000));
    train->add_option("--output-dim,--output_dim", s.output_dim)->capture_default_str()->check(CLI::PositiveNumber);
    train->add_option("--image-size", s.image_size, "pixels that the network sees")->capture_default_str()->check(CLI::Range(8, 1024));
    train->add_option("--k-mer", s.k_mer)->capture_default_str()->check(CLI::Range(1, 8));
    train->add_option("--max-len", s.max_len, "bases")->capture_default_str()->check(CLI::PositiveNumber);
    train->add_flag("--anchor,!--no-anchor", s.anchor, "place barcodes by a profile learned from them");
    train->add_option("--text-length", s.text_length, "tokens")->capture_default_str()->check(CLI::Range(4, 512));
    train->add_option("--epochs", s.epochs)->capture_default_str()->check(CLI::PositiveNumber);
    train->add_option("--batch-size,--batch_size", s.batch_size)->capture_default_str()->check(CLI::PositiveNumber);
    train->add_option("--chunk", s.chunk, "samples that go through the towers at once; 0 = the batch")->capture_default_str()->check(CLI::NonNegativeNumber);
    train->add_option("--max-lr,--max_lr", s.max_lr)->capture_default_str()->check(CLI::PositiveNumber);
    train->add_option("--weight-decay", s.weight_decay)->capture_default_str();
    train->add_option("--partners", s.partners, "what makes two samples partners")->capture_default_str()->check(CLI::IsMember({"index", "barcode", "bin", "species"}));
    train->add_option("--bind-to,--bind_to", s.bind_to, "only pairs with this modality")->check(CLI::IsMember({"image", "dna", "text"}));
    train->add_option("--loss", s.loss)->capture_default_str()->check(CLI::IsMember({"info_nce", "siglip"}));
    train->add_option("--lora-rank", s.lora_rank, "of the encoders train only adapters (LoRA) of query and value, with the heads; 0: train all")->capture_default_str()->check(CLI::Range(0, 1024));
    train->add_flag("--fix-temperature,--fix_temperature", s.fix_temperature);
    train->add_flag("--unaligned,!--no-unaligned", s.unaligned, "also score the towers before training, and keep them in OUT/unaligned");
    train->add_option("--seed", s.seed)->capture_default_str();
    train->add_option("--log-interval", s.log_interval, "steps")->capture_default_str()->check(CLI::PositiveNumber);
    CLI::App* eval = app.add_subcommand("eval", "score retrieval");
    add_data(eval, s);
    eval->add_option("--model", s.model, "folder that train wrote, or CLIBD's checkpoint as safetensors")->required();
    eval->add_option("--k", s.k_list)->capture_default_str()->check(CLI::PositiveNumber);
    eval->add_option("--pairs", s.pairs, "QUERY:KEY of image, dna, text, averaged, concatenated; default: the paper's table");
    eval->add_flag("--fusion", s.fusion, "also: pictures of seen species above a threshold, else barcodes of unseen ones");
    eval->add_option("--out", s.out, "folder, or results.json");
    CLI::App* embed = app.add_subcommand("embed", "unit vectors of every modality, as .npy");
    add_data(embed, s);
    embed->add_option("--model", s.model, "folder that train wrote")->required();
    embed->add_option("--out", s.out, "folder")->required();
    CLI::App* retrieve = app.add_subcommand("retrieve", "the specimens nearest to a photo or to barcodes");
    add_data(retrieve, s);
    retrieve->add_option("--model", s.model, "folder that train wrote")->required();
    retrieve->add_option("--image", s.image, "a photo");
    retrieve->add_option("--fasta", s.fasta, "barcodes");
    retrieve->add_option("--keys", s.keys, "what the query is compared with")->capture_default_str()->check(CLI::IsMember({"image", "dna", "text"}));
    retrieve->add_option("--n-neighbors", s.n_neighbors)->capture_default_str()->check(CLI::PositiveNumber);
    retrieve->add_option("--out", s.out, "a page of pictures (.html)");
    CLI11_PARSE(app, argc, argv);
    try {
        return *train ? run_train(s) : *eval ? run_eval(s) : *embed ? run_embed(s) : run_retrieve(s);
    } catch (const std::exception& e) {
        std::fprintf(stderr, "clip_trimodal: %s\n", e.what());
        return 1;
    }
}
