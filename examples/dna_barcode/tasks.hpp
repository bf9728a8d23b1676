#ifndef INSTAR_EXAMPLES_DNA_BARCODE_TASKS_HPP
#define INSTAR_EXAMPLES_DNA_BARCODE_TASKS_HPP

// The subcommands. The run_ functions are what the command line calls; the others are what `recipe` puts together.

#include <string>
#include <vector>

#include "common/device.hpp"
#include "common/fit.hpp"
#include "common/results.hpp"

#include "evaluate.hpp"
#include "model_folder.hpp"
#include "settings.hpp"
#include "specimens.hpp"

namespace dna_barcode {

/// What --device names; says so when it is not the CPU.
examples::device make_device(const settings& s);

/// Sets the defaults of a preset: small, paper or demo. Throws value_error for another name.
void apply_preset(settings& s, const std::string& preset);

using examples::seconds_since;
using examples::training_summary;
using examples::write_results;

model_folder new_model(cpu_context& ctx, const settings& s, const specimens& all);
training_summary pretrain(examples::device& device, const settings& s, const specimens& all, model_folder& folder, const std::string& out);
training_summary finetune(examples::device& device, const settings& s, const specimens& all, model_folder& folder, const std::string& out);
training_summary metric_learn(examples::device& device, const settings& s, const specimens& all, model_folder& folder, const std::string& out);
/// Fits folder.projection to the train partition (projection.cpp) in closed form.
void fit_projection(examples::device& device, const settings& s, const specimens& all, model_folder& folder);

/// 1-NN scores of a model on test (species, genus, family) and test_unseen (genus, family), keys prefixed.
void probe_nearest(examples::device& device, const settings& s, const specimens& all, const model_folder& folder, const std::string& prefix, metrics_map& metrics);
void probe_linear(examples::device& device, const settings& s, const specimens& all, const model_folder& folder, const std::string& prefix, metrics_map& metrics);
/// Accuracy of a fine-tuned classifier on a split: prefix + split + ".species.accuracy" and above.
void score_classifier(examples::device& device, const specimens& all, const model_folder& folder, const std::string& prefix, metrics_map& metrics,
                      const std::string& split = "test");
/// 1-NN accuracy of one rank on one split, by cosine among train.
double nearest_accuracy(examples::device& device, const settings& s, const specimens& all, const model_folder& folder, const char* split, const char* rank);
/// 5-mer counts, cosine 1-NN: "baseline.5mer." + the same keys.
void probe_kmer_baseline(cpu_context& ctx, const specimens& all, metrics_map& metrics);

int run_pretrain(const settings& s);
int run_finetune(const settings& s);
int run_metric(const settings& s);
int run_project(const settings& s);
int run_probe(const settings& s);
int run_embed(const settings& s);
int run_predict(const settings& s);
int run_simulate(const settings& s);
int run_recipe(const settings& s);

}  // namespace dna_barcode

#endif
