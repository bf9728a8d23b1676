#ifndef INSTAR_EXAMPLES_DNA_BARCODE_SETTINGS_HPP
#define INSTAR_EXAMPLES_DNA_BARCODE_SETTINGS_HPP

// Every flag of dna_barcode, with the defaults of its two presets. Names follow BarcodeBERT's scripts.

#include <cstdint>
#include <string>

namespace dna_barcode {

struct settings {
    // input and output
    std::string metadata;          // --metadata: BIOSCAN-5M CSV, BIOSCAN-1M or Canadian Invertebrates TSV, plain or gz
    std::string dataset = "BIOSCAN-5M";
    std::string model;             // --model, --pretrained-checkpoint: a model folder
    std::string input;             // embed, predict: FASTA or metadata
    std::string out;               // --out: a folder (or results.json, or an embeddings file)
    std::string split;             // embed: only rows of this split
    std::string checkpoint;        // --checkpoint: saved to and resumed from; default OUT/checkpoint.safetensors
    std::string preset = "small";

    // tokens
    std::string tokenizer = "kmer";
    int k_mer = 6;                 // small; paper: 4
    int stride = 0;                // 0 = k_mer
    std::string word_init = "bases";  // words start as the sum of their bases, or random (paper)
    int max_len = 660;
    bool tokenize_n = false;
    bool anchor = true;            // place barcodes by a profile learned from the training barcodes

    // network
    int n_layers = 2;
    int n_heads = 4;
    int d_model = 128;
    int d_ff = 0;                  // 0 = 4 · d_model
    double dropout = 0.05;         // small; paper: 0.1

    // training
    int epochs = 0;                // 0 = the preset's
    double lr = 0.0;               // per 64 samples, as the reference scales it; 0 = the preset's
    double weight_decay = 0.0;
    std::string optimizer = "AdamW";
    std::string scheduler = "OneCycle";
    int batch_size = 0;            // 0 = the preset's
    int accumulate = 1;            // micro-batches a step
    std::string loss = "all";      // pretrain: all | masked | weighted
    double masked_weight = 0.5;
    double mask_ratio = 0.5;
    double substitution = -1.0;    // augmentation; negative = the preset's
    int crop = -1;
    int jitter = 0;
    std::string pooling;           // mean | masked_mean; empty = the reference's for the task
    bool freeze_encoder = false;
    std::string head_init = "probe";  // finetune: the classifier starts as a linear probe, or random (paper)
    bool save_best_model = false;
    double temperature = 0.1;      // metric
    double species_weight = 0.5;
    int components = 512;          // project: numbers an embedding
    double shrinkage = 0.3;        // project: share of the mean variance added to each
    bool use_labels = true;        // project: whiten within genera
    std::uint64_t seed = 7;
    bool deterministic = true;     // accepted for the reference's sake: instar always is
    int cpu_workers = 0;           // threads; 0 = all
    std::string device = "cpu";    // where the encoder runs: cpu, cuda or emulated
    bool bf16 = false;             // on the CPU, with products of bf16

    // evaluation
    std::string taxon = "genus";
    int n_neighbors = 1;
    std::string metric = "cosine";
    bool linear = true;            // probe: the linear probe too
    bool baselines = true;         // probe: 5-mer 1-NN

    int n_specimens = 10000;       // simulate

    // reporting
    int log_interval = 50;
    bool quiet = false;
};

}  // namespace dna_barcode

#endif
