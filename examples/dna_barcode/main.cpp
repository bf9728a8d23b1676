// dna_barcode: benchmark 1 of BIOSCAN-5M — a masked language model on DNA barcodes, fine-tuning, probes.
//
//     dna_barcode recipe   --metadata metadata.csv.gz --out run           # everything, with a report
//     dna_barcode pretrain --metadata metadata.csv.gz --out pretrained
//     dna_barcode finetune --metadata metadata.csv.gz --model pretrained --out finetuned
//     dna_barcode metric   --metadata metadata.csv.gz --model pretrained --out metric
//     dna_barcode probe    --metadata metadata.csv.gz --model metric --out results.json
//     dna_barcode embed    --model metric --input barcodes.fasta --out embeddings.npy
//     dna_barcode predict  --model finetuned --input barcodes.fasta --out predictions.tsv

#include <cstdio>
#include <exception>

#include <CLI/CLI.hpp>

#include "instar/core/error.hpp"

#include "common/device_option.hpp"
#include "settings.hpp"
#include "tasks.hpp"

namespace {

using dna_barcode::settings;

void add_device(CLI::App& app, settings& s) {
    examples::add_device_options(app, s.device, s.bf16);
    app.footer("--device: the encoder, its losses, its optimiser and projections run there. Tokens, nearest neighbours, linear probes and the fit of projections are the CPU's.");
}

void add_input(CLI::App& app, settings& s, bool model, bool model_required) {
    app.add_option("--metadata,--data-dir,--data_dir", s.metadata, "metadata file: BIOSCAN-5M CSV, BIOSCAN-1M or Canadian Invertebrates table; plain or gz")->required();
    app.add_option("--dataset,--dataset_name", s.dataset, "BIOSCAN-5M, BIOSCAN-1M or CANADA-1.5M; the file's header decides, a disagreement is an error")->capture_default_str();
    if (model) {
        auto* o = app.add_option("--model,--pretrained-checkpoint,--pretrained_checkpoint", s.model, "model folder (config.json, model.safetensors)");
        if (model_required) o->required();
    }
}

void add_tokens(CLI::App& app, settings& s) {
    app.add_option("--tokenizer", s.tokenizer, "only kmer")->capture_default_str()->check(CLI::IsMember({"kmer"}));
    app.add_option("--k-mer,--k_mer", s.k_mer, "bases a token, 1-12")->capture_default_str();
    app.add_option("--stride", s.stride, "must equal k-mer (0 = k-mer)")->capture_default_str();
    app.add_option("--max-len,--max_len", s.max_len, "bases a barcode is cut or padded to")->capture_default_str();
    app.add_flag("--tokenize-n-nucleotide,--tokenize-n", s.tokenize_n, "k-mers with N get tokens of their own");
    app.add_flag("--anchor,!--no-anchor", s.anchor, "place barcodes by a profile learned from the training barcodes (default with --preset small)");
}

void add_network(CLI::App& app, settings& s) {
    app.add_option("--n-layers,--n_layers", s.n_layers)->capture_default_str();
    app.add_option("--n-heads,--n_heads", s.n_heads)->capture_default_str();
    app.add_option("--word-init", s.word_init, "embeddings start as the sum of their bases (bases) or random (--preset paper)")->capture_default_str()->check(CLI::IsMember({"bases", "random"}));
    app.add_option("--d-model,--d_model", s.d_model)->capture_default_str();
    app.add_option("--d-ff,--d_ff", s.d_ff, "0 = 4 x d-model")->capture_default_str();
    app.add_option("--dropout", s.dropout)->capture_default_str();
}

void add_training(CLI::App& app, settings& s) {
    app.add_option("--epochs", s.epochs, "0 = the preset's")->capture_default_str();
    app.add_option("--lr", s.lr, "learning rate per 64 samples: multiplied by batch/64; 0 = the preset's")->capture_default_str();
    app.add_option("--weight-decay,--wd", s.weight_decay)->capture_default_str();
    app.add_option("--optimizer", s.optimizer)->capture_default_str()->check(CLI::IsMember({"AdamW"}));
    app.add_option("--scheduler", s.scheduler)->capture_default_str()->check(CLI::IsMember({"OneCycle"}));
    app.add_option("--batch-size,--batch_size", s.batch_size, "0 = the preset's")->capture_default_str();
    app.add_option("--accumulate", s.accumulate, "micro-batches a step")->capture_default_str();
    app.add_option("--substitution", s.substitution, "probability of a changed base in training; negative = the preset's")->capture_default_str();
    app.add_option("--crop", s.crop, "bases that training may cut from either end; negative = the preset's")->capture_default_str();
    app.add_option("--checkpoint", s.checkpoint, "file to save to and to resume from; default OUT/checkpoint.safetensors");
    app.add_option("--log-interval,--print-interval", s.log_interval, "steps between lines of the log")->capture_default_str();
}

void add_common(CLI::App& app, settings& s) {
    app.add_option("--preset", s.preset, "small: 2 layers x 128, minutes on two cores; paper: the reference's defaults (12 layers x 768, 35 epochs)")
        ->capture_default_str()
        ->check(CLI::IsMember({"small", "paper", "demo"}));
    app.add_option("--out,--models-dir", s.out, "output folder or file")->required();
    app.add_option("--seed", s.seed)->capture_default_str();
    app.add_option("--cpu-workers,--cpu_workers,--threads", s.cpu_workers, "0 = all cores")->capture_default_str();
    app.add_flag("--deterministic", s.deterministic, "accepted: results never depend on the number of threads");
    app.add_flag_callback("--no-cuda", [&s] { s.device = "cpu"; }, "the reference's flag: --device cpu");
    app.add_flag("--quiet", s.quiet, "no progress");
}

}  // namespace

int main(int argc, char** argv) {
    settings s;
    CLI::App app{"Benchmark 1 of BIOSCAN-5M: BarcodeBERT on DNA barcodes.\n\nExample:\n  dna_barcode recipe --metadata metadata.csv.gz --out run\n"};
    app.require_subcommand(1);

    // The preset is known before the other flags are read: it changes their defaults.
    for (int i = 1; i + 1 < argc; ++i) {
        if (std::string(argv[i]) == "--preset") dna_barcode::apply_preset(s, argv[i + 1]);
    }

    auto* pretrain = app.add_subcommand("pretrain", "masked language model on the pretrain partition\n\nExample:\n  dna_barcode pretrain --metadata metadata.csv.gz --out pretrained\n");
    add_input(*pretrain, s, false, false);
    add_tokens(*pretrain, s);
    add_network(*pretrain, s);
    add_training(*pretrain, s);
    pretrain->add_option("--loss", s.loss, "tokens that count: all (masked and not), masked, weighted")->capture_default_str()->check(CLI::IsMember({"all", "masked", "weighted"}));
    pretrain->add_option("--masked-loss-weight", s.masked_weight, "w of --loss weighted")->capture_default_str();
    pretrain->add_option("--mask-token-ratio", s.mask_ratio)->capture_default_str();
    add_common(*pretrain, s);
    add_device(*pretrain, s);

    auto* finetune = app.add_subcommand("finetune", "species classifier on the train partition\n\nExample:\n  dna_barcode finetune --metadata metadata.csv.gz --model pretrained --out finetuned\n");
    add_input(*finetune, s, true, true);
    add_training(*finetune, s);
    finetune->add_flag("--save-best-model", s.save_best_model, "keep the epoch with the best species accuracy on val too, in OUT/best");
    finetune->add_option("--head-init", s.head_init, "the classifier starts as a linear probe (probe) or random (--preset paper)")->capture_default_str()->check(CLI::IsMember({"probe", "random"}));
    finetune->add_flag("--freeze-encoder", s.freeze_encoder, "train the classifier alone");
    finetune->add_option("--pooling", s.pooling, "mean (the reference's, and --preset paper's) or masked_mean (--preset small's)")->check(CLI::IsMember({"mean", "masked_mean"}));
    add_common(*finetune, s);
    add_device(*finetune, s);

    auto* metric = app.add_subcommand("metric", "supervised contrastive encoder over genus and species\n\nExample:\n  dna_barcode metric --metadata metadata.csv.gz --model pretrained --out metric\n");
    add_input(*metric, s, true, true);
    add_training(*metric, s);
    metric->add_flag("--save-best-model", s.save_best_model, "keep the epoch with the best 1-NN genus accuracy on val_unseen too, in OUT/best");
    metric->add_option("--temperature", s.temperature)->capture_default_str();
    metric->add_option("--species-weight", s.species_weight, "weight of the species loss beside the genus loss")->capture_default_str();
    metric->add_option("--pooling", s.pooling, "mean or masked_mean (default)")->check(CLI::IsMember({"mean", "masked_mean"}));
    add_common(*metric, s);
    add_device(*metric, s);

    auto* project = app.add_subcommand("project", "a closed-form metric: every token at its place, projected and whitened within genera\n\nExample:\n  dna_barcode project --metadata metadata.csv.gz --model pretrained --out projected\n");
    add_input(*project, s, true, true);
    project->add_option("--components", s.components, "numbers an embedding, at most")->capture_default_str();
    project->add_option("--shrinkage", s.shrinkage, "share of the mean variance added to every direction's")->capture_default_str();
    project->add_flag("--labels,!--no-labels", s.use_labels, "whiten within genera; without, by the principal directions' spread");
    add_common(*project, s);
    add_device(*project, s);

    auto* probe = app.add_subcommand("probe", "1-NN and linear probes, and the 5-mer baseline\n\nExample:\n  dna_barcode probe --metadata metadata.csv.gz --model pretrained --out results.json\n");
    add_input(*probe, s, true, true);
    probe->add_option("--taxon", s.taxon, "rank of the headline score")->capture_default_str();
    probe->add_option("--n-neighbors,--n_neighbors", s.n_neighbors)->capture_default_str();
    probe->add_option("--metric", s.metric)->capture_default_str()->check(CLI::IsMember({"cosine", "euclidean"}));
    probe->add_option("--pooling", s.pooling, "mean, masked_mean or projection (default: the model's own)")->check(CLI::IsMember({"mean", "masked_mean", "projection"}));
    probe->add_flag("--linear,!--no-linear", s.linear, "the linear probe too");
    probe->add_flag("--baselines,!--no-baselines", s.baselines, "5-mer 1-NN too");
    add_common(*probe, s);
    add_device(*probe, s);

    auto* embed = app.add_subcommand("embed", "one vector a barcode, to .npy or .safetensors\n\nExample:\n  dna_barcode embed --model pretrained --input barcodes.fasta --out embeddings.npy\n");
    embed->add_option("--model,--pretrained-checkpoint", s.model, "model folder")->required();
    embed->add_option("--input,--metadata", s.input, "FASTA or metadata, plain or gz")->required();
    embed->add_option("--split", s.split, "only this split of the metadata");
    embed->add_option("--pooling", s.pooling, "mean, masked_mean or projection (default: the model's own)")->check(CLI::IsMember({"mean", "masked_mean", "projection"}));
    add_common(*embed, s);
    add_device(*embed, s);

    auto* predict = app.add_subcommand("predict", "taxonomy of barcodes with a score for each rank\n\nExample:\n  dna_barcode predict --model finetuned --input barcodes.fasta --out predictions.tsv\n");
    predict->add_option("--model,--pretrained-checkpoint", s.model, "folder of a fine-tuned model")->required();
    predict->add_option("--input", s.input, "FASTA, plain or gz")->required();
    add_common(*predict, s);
    add_device(*predict, s);

    auto* simulate = app.add_subcommand("simulate", "made-up specimens in BIOSCAN-5M's metadata format\n\nExample:\n  dna_barcode simulate --out metadata.csv\n");
    simulate->add_option("--n-specimens", s.n_specimens)->capture_default_str();
    add_common(*simulate, s);

    auto* recipe = app.add_subcommand("recipe", "pretrain, finetune, project and every probe, with results.json and report.html\n\nExample:\n  dna_barcode recipe --metadata metadata.csv.gz --out run\n");
    recipe->add_option("--metadata", s.metadata, "metadata file; without one, specimens are simulated");
    add_tokens(*recipe, s);
    add_network(*recipe, s);
    recipe->add_option("--components", s.components, "numbers a projected embedding, at most")->capture_default_str();
    add_common(*recipe, s);
    add_device(*recipe, s);

    CLI11_PARSE(app, argc, argv);
    try {
        if (pretrain->parsed()) return dna_barcode::run_pretrain(s);
        if (finetune->parsed()) return dna_barcode::run_finetune(s);
        if (metric->parsed()) return dna_barcode::run_metric(s);
        if (project->parsed()) return dna_barcode::run_project(s);
        if (probe->parsed()) return dna_barcode::run_probe(s);
        if (embed->parsed()) return dna_barcode::run_embed(s);
        if (predict->parsed()) return dna_barcode::run_predict(s);
        if (simulate->parsed()) return dna_barcode::run_simulate(s);
        return dna_barcode::run_recipe(s);
    } catch (const instar::cancelled_error& e) {
        std::fprintf(stderr, "dna_barcode: %s\n", e.what());
        return 130;
    } catch (const std::exception& e) {
        std::fprintf(stderr, "dna_barcode: %s\n", e.what());
        return 1;
    }
}
