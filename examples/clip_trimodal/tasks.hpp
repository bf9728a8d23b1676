#ifndef INSTAR_EXAMPLES_CLIP_TRIMODAL_TASKS_HPP
#define INSTAR_EXAMPLES_CLIP_TRIMODAL_TASKS_HPP

// The commands of clip_trimodal and what they share.

#include "common/fit.hpp"
#include "common/results.hpp"

#include "settings.hpp"
#include "specimen_set.hpp"
#include "trimodal_model.hpp"

namespace clip_trimodal {

using examples::metrics_map;

/// Queries and keys as CLIBD has them: both kinds of queries search all keys.
struct retrieval_rows {
    std::vector<index_t> keys, seen, unseen;
};
/// keys: train and key_unseen; queries: test and test_unseen, or val and val_unseen.
retrieval_rows rows_of(const specimen_set& set, const std::string& eval_on);

/// Those that have the modality: a picture, a barcode; everything has a text.
std::vector<index_t> usable(const specimen_set& set, std::vector<index_t> rows, std::string_view modality);

/// What --pairs names; without it the directions that the paper tables, as far as the model has the towers.
/// Throws value_error for a pair that is none or that the model cannot serve.
std::vector<std::pair<std::string, std::string>> directions_of(const settings& s, const trimodal_model& model);

/// Scores of every direction and rank: "<prefix>image_to_dna.seen.species.micro.top1", …, "….harmonic.…". `chance.*`: a key at random.
void score_retrieval(examples::device& device, metrics_map& metrics, const std::string& prefix, const settings& s, const trimodal_model& model, const specimen_set& set, const retrieval_rows& rows);

/// CLIBD's way with species that may be new: a picture's nearest pictures of seen species, where their cosine exceeds a threshold, else its
/// nearest barcodes of unseen species. The threshold is tuned on val and val_unseen; scores of test and test_unseen: "fusion.seen.species.…".
void score_fusion(examples::device& device, metrics_map& metrics, const settings& s, const trimodal_model& model, const specimen_set& set);

/// When it returns, the network on the host is what was trained.
examples::training_summary train(examples::device& device, const settings& s, const specimen_set& set, std::span<const index_t> rows, trimodal_model& model);

void print_retrieval(const metrics_map& metrics, const settings& s, const trimodal_model& model, bool unaligned);
void write_report(examples::device& device, const std::string& path, const settings& s, const trimodal_model& model, const specimen_set& set, const retrieval_rows& rows, const metrics_map& metrics,
                  const examples::training_summary* training);

int run_train(const settings& s);
int run_eval(const settings& s);
int run_embed(const settings& s);
int run_retrieve(const settings& s);

}  // namespace clip_trimodal

#endif
