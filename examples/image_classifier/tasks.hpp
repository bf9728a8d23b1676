#ifndef INSTAR_EXAMPLES_IMAGE_CLASSIFIER_TASKS_HPP
#define INSTAR_EXAMPLES_IMAGE_CLASSIFIER_TASKS_HPP

// The subcommands, and what they share.

#include "common/fit.hpp"
#include "common/results.hpp"

#include "image_network.hpp"
#include "samples.hpp"
#include "settings.hpp"

namespace image_classifier {

using examples::metrics_map;
using examples::seconds_since;

/// The set that --images, --labels, --metadata or --idx describe.
image_set list_images(const settings& s);

/// One row an image of a split that could be read: which image, its logits' top classes with their probabilities.
struct predictions {
    std::vector<index_t> rows;
    tensor<float, 2> probability;  // [n, n_classes]
};
predictions predict(cpu_context& ctx, const image_model& model, image_network& network, image_cache& cache, const std::vector<index_t>& rows);

/// split + ".top1.micro", ".top1.macro" (and every k), ".class.NAME.top1", ".f1.macro", ".n". Where a class does not occur in the split also
/// ".top1.macro_all_classes", in which it counts 0: BIOSCAN-1M's macro accuracy.
void score(metrics_map& metrics, const std::string& prefix, const image_set& set, const predictions& p, const std::vector<int>& k);

/// Curves of a training run.
struct training_curves {
    examples::training_summary summary;
    std::vector<double> epoch, val_micro, val_macro;
};
/// When it returns, the model holds what was trained.
training_curves train(cpu_context& ctx, const settings& s, const image_set& set, image_cache& cache, image_model& model, image_network& network);

/// Colour histogram and linear classifier, trained on train, scored on a split.
void score_baseline(cpu_context& ctx, metrics_map& metrics, const image_set& set, const image_cache& cache, split_of split, const std::vector<int>& k, std::uint64_t seed);

void write_report(const std::string& path, const settings& s, const image_set& set, const image_cache& cache, const image_model& model, const predictions& p, const metrics_map& metrics,
                  const std::string& split, const training_curves* curves, double seconds);

int run_train(const settings& s);
int run_eval(const settings& s);
int run_embed(const settings& s);

}  // namespace image_classifier

#endif
