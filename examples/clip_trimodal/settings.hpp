#ifndef INSTAR_EXAMPLES_CLIP_TRIMODAL_SETTINGS_HPP
#define INSTAR_EXAMPLES_CLIP_TRIMODAL_SETTINGS_HPP

// Every flag of clip_trimodal; names follow CLIBD's configuration where they make sense.

#include <cstdint>
#include <string>
#include <vector>

namespace clip_trimodal {

struct settings {
    // data
    std::string metadata;                       // BIOSCAN metadata; empty: simulated specimens, or those that --model was trained on
    std::string images;                         // the root below which BIOSCAN's image paths begin
    std::string package = "cropped_256";        // of the images
    int n_specimens = 20000;                    // simulated ones

    // model
    std::string model;                          // eval, embed, retrieve: a folder that train wrote; train: one to start from
    std::string dna_model, text_model, image_model;  // train: folders of a BERT (dna_barcode's, Hugging Face's) or a ViT to start the towers from
    std::string vocab;                          // train: vocab.txt or a tokenizer's folder for the text; empty: words of the training texts
    std::string out;
    std::string preset = "small";
    std::vector<std::string> modalities{"image", "dna", "text"};
    int output_dim = 128;
    int image_size = 32;
    int k_mer = 6;
    int max_len = 660;                          // bases
    bool anchor = true;                         // barcodes are placed by a profile learned from the training barcodes
    int text_length = 24;                       // tokens

    // training
    int epochs = 12;
    int batch_size = 256;
    int chunk = 0;                              // samples that go through the towers at once; 0 = the batch. The gradient is the same
    double max_lr = 1e-3;
    double weight_decay = 0.01;
    std::string partners = "bin";               // index, barcode, bin or species: what makes two samples partners
    std::string bind_to;                        // only pairs with this modality
    bool fix_temperature = false;
    std::string loss = "info_nce";              // or siglip
    int lora_rank = 0;                          // > 0: of the encoders only adapters of query and value are trained

    // evaluation
    std::vector<int> k_list{1, 3, 5};
    std::vector<std::string> pairs;             // "image:dna", …; empty: those that the paper tables
    bool fusion = false;                        // eval: also search seen species by picture, else unseen ones by barcode
    std::string eval_on = "test";               // test or val
    bool unaligned = true;                      // train: also score the towers before training
    std::string image, fasta;                   // retrieve
    std::string keys = "dna";                   // retrieve: image, dna or text
    int n_neighbors = 8;

    std::uint64_t seed = 42;
    int threads = 0;
    std::string device = "cpu";                 // where the towers run: cpu, cuda or emulated
    bool bf16 = false;                          // on the CPU, with products of bf16
    int log_interval = 20;
    bool quiet = false;
};

/// small: towers for two cores. paper: CLIBD's own (ViT-B/16, 5-mer BERT-base, BERT-small; 768 outputs), of which two cores can load and
/// apply the checkpoints. Throws value_error for another name.
void apply_preset(settings& s, const std::string& preset);

}  // namespace clip_trimodal

#endif
