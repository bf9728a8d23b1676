#ifndef INSTAR_EXAMPLES_IMAGE_CLASSIFIER_SETTINGS_HPP
#define INSTAR_EXAMPLES_IMAGE_CLASSIFIER_SETTINGS_HPP

// Every flag of image_classifier. Names follow BIOSCAN-1M's configurations.py where they make sense; `apply_preset` sets what a preset means.

#include <cstdint>
#include <string>
#include <vector>

namespace image_classifier {

struct settings {
    // where the images and their labels are: one of these
    std::vector<std::string> images;       // --images: a folder with train/ and val/, a folder a class; with --labels or --metadata, folders and zip archives with the files
    std::string cache = "auto";            // --cache: memory (decode once, keep small copies), none (decode each time), auto (memory, where there is enough)
    std::string labels;                    // --labels: a table (TSV or CSV) with a column of files and one of classes
    std::string metadata;                  // --metadata: BIOSCAN-1M's TSV
    std::string idx;                       // --idx: a folder with train-images-idx3-ubyte(.gz) and its three companions
    std::string file_column, label_column;  // of --labels; empty = the first of file, path, image, processid; of label, class, species
    std::string path_format = "{}";        // of --labels: how a file's name becomes a path below --images
    std::vector<std::string> classes;      // of --labels: only these; empty = all
    std::string split_by = "table";        // of --labels: its column split where it has one, or name: always by the MD5 of the file's name
    std::string exp_name = "small_insect_order";  // of --metadata: {large,medium,small}_{insect_order,diptera_family}

    std::string model;                     // --model: eval, embed: a folder that train wrote; train: a folder to start from, or an architecture's name
    std::string out;
    std::string preset = "small";

    // images
    int image_size = 144;                  // shorter side after the resize
    int crop_size = 128;                   // what the network sees
    bool crop_to_specimen = false;         // cut each photograph to the specimen in it first (localize_specimen); whole where nothing stands out
    std::string augment = "strong";        // none | flip (the paper's: random crop and mirror) | strong (random resized crop, both mirrors, rotation, brightness)
    std::vector<double> mean, deviation;   // a channel each; empty = no normalisation

    // training
    int epochs = 0;                        // 0 = the preset's
    int batch_size = 32;
    std::string optimizer = "SGD";         // SGD | AdamW
    std::string scheduler = "one_cycle";   // one_cycle | step
    std::vector<int> epoch_decay{20, 25};  // step: lr · 0.1 before each of these epochs, counted from 0
    double lr = 0.0;                       // 0 = the preset's
    double momentum = 0.9;
    double weight_decay = 5e-4;            // --mu
    std::string loss = "CE";               // CE | Focal
    double gamma = 2.0;                    // of the focal loss
    double label_smoothing = 0.1;
    std::string class_weights = "none";    // none | sqrt | inverse: of a class's frequency in train
    bool save_best_model = true;           // the epoch with the best micro top-1 on val, where there is a val

    // evaluation
    std::vector<int> k{1, 3, 5, 10};
    bool skip_broken = false;              // leave images out that cannot be read, instead of stopping
    bool baseline = true;                  // colour histogram and a linear classifier, from the same images
    std::string split = "test";
    std::uint64_t seed = 1;
    int threads = 0;
    std::string device = "cpu";            // where the network runs: cpu, cuda or emulated
    bool bf16 = false;                     // on the CPU, with products of bf16
    int log_interval = 20;
    bool quiet = false;
};

/// Sets the defaults of a preset: small or paper. Throws value_error for another name.
void apply_preset(settings& s, const std::string& preset);

}  // namespace image_classifier

#endif
