// pretrain, finetune and metric: what each objective feeds to the shared loop.
#include "instar/train/bert_trainer.hpp"

#include "tasks.hpp"

namespace dna_barcode {

using namespace instar;

using examples::fit;
using examples::fit_plan;
using examples::has_checkpoint;

namespace {

/// Trains folder.model on the device. gradients(ctx, trainer, samples, rng) accumulates and returns its share of the loss. Model and moments that
/// folders and checkpoints hold are on the host; fit() brings them up to date.
template <class Gradients>
training_summary train_on(examples::device& device, const settings& s, model_folder& folder, const fit_plan& plan, const std::function<std::vector<index_t>(index_t)>& order_of_epoch,
                          Gradients gradients, const std::function<void(index_t)>& after_epoch = {}) {
    return device.run([&](auto& ctx) {
        auto&& model = examples::on_device(ctx, folder.model);
        train::bert_trainer<float, typename std::remove_reference_t<decltype(ctx)>::memory> trainer(model, {.weight_decay = s.weight_decay});
        examples::host_copies<std::remove_reference_t<decltype(ctx)>> copies(ctx);
        copies.add(model.parameters(), folder.model.parameters());
        const std::vector<index_t> n{folder.model.layout().size()};
        auto state = nn::named_parameters(folder.model.layout(), folder.model.parameters());
        state.emplace_back("adamw.m", n, copies.add(trainer.optimiser().m()).data());
        state.emplace_back("adamw.v", n, copies.add(trainer.optimiser().v()).data());
        const examples::trainable what{.state = std::move(state),
                                       .set_steps = [&](index_t steps) { trainer.optimiser().set_steps(steps); },
                                       .update = [&](const optim::rates& rates) { trainer.update(ctx, rates); },
                                       .to_host = [&] { copies.to_host(); },
                                       .to_device = [&] { copies.to_device(); }};
        return fit(what, plan, order_of_epoch, [&](std::span<const index_t> samples, index_t, philox rng) { return gradients(ctx, trainer, samples, rng); }, after_epoch);
    });
}

fit_plan plan_of(const settings& s, const char* task, const std::string& out, const model_folder& folder) {
    const auto& c = folder.model.config();
    return {.task = task,
            .n_epochs = s.epochs,
            .batch_size = s.batch_size,
            .accumulate = s.accumulate,
            .max_lr = s.lr * static_cast<double>(s.batch_size * s.accumulate) / 64.0,
            .seed = s.seed,
            .out = out,
            .checkpoint = s.checkpoint,
            .log_interval = s.log_interval,
            .quiet = s.quiet,
            .fingerprint = {{"weight_decay", s.weight_decay}, {"substitution", s.substitution}, {"crop", s.crop}, {"d_model", c.d_model}, {"n_layers", c.n_layers},
                            {"n_heads", c.n_heads}, {"k_mer", folder.encoder.options().k}, {"dropout", c.dropout}, {"pooling", s.pooling}, {"bf16", s.bf16}}};
}

variant_options variant_of(const settings& s, const barcode_encoder& encoder) {
    // Anchored barcodes are in frame already: the reference's random offset would only undo that.
    return {.random_offset = !encoder.anchored(), .jitter = 0, .augment = {.substitution = static_cast<float>(s.substitution), .crop = s.crop}};
}

ops::pooling pooling_of(const std::string& name) { return name == "mean" ? ops::pooling::mean : ops::pooling::masked_mean; }

/// The same network with another classifier: encoder parameters are copied by name, the head starts anew.
nn::bert<float> with_classifier(const nn::bert<float>& from, index_t n_labels, philox rng) {
    nn::bert_config config = from.config();
    config.n_labels = n_labels;
    nn::bert<float> to(config, rng);
    for (const auto& target : to.layout().infos()) {
        if (target.name.starts_with("classifier.")) continue;
        for (const auto& source : from.layout().infos()) {
            if (source.name == target.name) {
                std::copy_n(from.parameters().data() + source.offset, source.size, to.parameters().data() + target.offset);
            }
        }
    }
    return to;
}

/// The classifier starts as a linear probe of the encoder as it comes (Kumar et al. 2022, arXiv:2202.10054): with a random
/// one, the first steps' gradients undo features that already separate the species.
void start_from_probe(examples::device& device, const settings& s, model_folder& folder, const partition& data, const std::vector<std::int32_t>& labels,
                      const std::vector<index_t>& labelled) {
    std::vector<std::string> barcodes;
    std::vector<std::int32_t> y;
    for (const index_t i : labelled) {
        barcodes.push_back(data.barcodes[static_cast<std::size_t>(i)]);
        y.push_back(labels[static_cast<std::size_t>(i)]);
    }
    const auto x = embed_barcodes(device, folder, barcodes, folder.pooling);
    const auto probe = train_linear_probe(device.cpu(), x, y, folder.model.config().n_labels, {.per_feature = true, .seed = s.seed});
    const auto& head = folder.model.network().classifier();
    std::copy(probe.weight.begin(), probe.weight.end(), head.weight(folder.model.parameters()).data());
    std::copy(probe.bias.begin(), probe.bias.end(), head.bias(folder.model.parameters()).data());
}

/// Each word's embedding starts as the sum of vectors for its bases at their places, scaled to the usual deviation: words that
/// differ in one base start near each other, which masked-token training alone takes long to find for 4^k words.
void init_words_from_bases(nn::bert<float>& model, const tokenize::kmer& tokenizer, philox rng) {
    const auto& infos = model.layout().infos();
    const auto word = std::find_if(infos.begin(), infos.end(), [](const auto& i) { return i.name == "bert.embeddings.word_embeddings.weight"; });
    float* table = model.parameters().data() + word->offset;
    const index_t d = model.config().d_model;
    const int k = tokenizer.options().k;
    const float scale = static_cast<float>(word->scale / std::sqrt(static_cast<double>(k)));
    for (index_t id = 2; id < model.config().vocab_size; ++id) {
        const std::string text = tokenizer.token(static_cast<int>(id));
        for (index_t c = 0; c < d; ++c) {
            float sum = 0.0f;
            for (int p = 0; p < k; ++p) {
                const auto base = std::string_view("ACGTN").find(text[static_cast<std::size_t>(p)]);
                sum += rng.normal(static_cast<std::uint64_t>((p * 5 + static_cast<index_t>(base)) * d + c));
            }
            table[id * d + c] = scale * sum;
        }
    }
}

/// With --save-best-model: scores the model after each epoch and keeps the best (ties: the later) in OUT/best.
std::function<void(index_t)> keep_best(const settings& s, model_folder& folder, const std::string& out, std::function<double()> score) {
    if (!s.save_best_model) return {};
    return [&folder, out, score = std::move(score), best = -1.0](index_t epoch) mutable {
        const double value = score();
        if (value < best) return;
        best = value;
        folder.save(out + "/best");
        io::write_json(out + "/best/score.json", {{"epoch", epoch}, {"validation", value}});
    };
}

}  // namespace

model_folder new_model(cpu_context& ctx, const settings& s, const specimens& all) {
    const tokenize::kmer_options tokens{.k = s.k_mer, .stride = s.stride, .max_length = s.max_len, .tokenize_n = s.tokenize_n};
    const tokenize::kmer tokenizer(tokens);
    data::barcode_anchor anchor;
    if (s.anchor) {
        const partition train = take_partition(all, {"train"}, duplicates::drop);
        const std::vector<std::string_view> views(train.barcodes.begin(), train.barcodes.end());
        anchor = data::barcode_anchor::learn(ctx, views, {.n_columns = s.max_len});
    }
    nn::bert_config config{.vocab_size = tokenizer.vocab_size(),
                           .d_model = s.d_model,
                           .n_layers = s.n_layers,
                           .n_heads = s.n_heads,
                           .d_ff = s.d_ff > 0 ? s.d_ff : 4 * s.d_model,
                           .max_positions = std::max<index_t>(512, (1536 + tokens.k - 1) / tokens.k),
                           .n_labels = tokenizer.vocab_size() - 2,
                           .dropout = static_cast<float>(s.dropout),
                           .attention_dropout = static_cast<float>(s.dropout)};
    model_folder folder{nn::bert<float>(config, philox{s.seed, 1}), barcode_encoder(tokens, std::move(anchor)), "untrained", "", {}};
    if (s.word_init == "bases") init_words_from_bases(folder.model, tokenizer, philox{s.seed, 4});
    return folder;
}

training_summary pretrain(examples::device& device, const settings& s, const specimens& all, model_folder& folder, const std::string& out) {
    // The reference's pre_training.csv: pretrain and other_heldout.
    const partition data = take_partition(all, {"pretrain", "other_heldout"}, duplicates::drop);
    const auto shifts = folder.encoder.shifts(device.cpu(), data.barcodes);
    const auto variant = variant_of(s, folder.encoder);
    train::masked_batch masked;
    train::mlm_options options{.mask_ratio = static_cast<float>(s.mask_ratio),
                               .loss = s.loss == "masked" ? train::mlm_loss::masked : s.loss == "weighted" ? train::mlm_loss::weighted : train::mlm_loss::all,
                               .masked_weight = static_cast<float>(s.masked_weight)};
    token_batch batch;
    fit_plan plan = plan_of(s, "pretrain", out, folder);
    plan.fingerprint["loss"] = s.loss;
    plan.fingerprint["mask_ratio"] = s.mask_ratio;
    const auto summary = train_on(
        device, s, folder, plan, [&](index_t epoch) { return train::epoch_order(static_cast<index_t>(data.rows.size()), philox{s.seed, 2}, epoch); },
        [&](auto& ctx, auto& trainer, std::span<const index_t> samples, philox rng) {
            folder.encoder.encode(device.cpu(), batch, data.barcodes, shifts, samples, variant, rng.fork(1));
            train::mask_tokens(masked, batch.ids.view(), options, rng.fork(2));
            // Micro-batches count equally: each one's mean, divided by their number.
            const double parts = static_cast<double>(s.accumulate);
            return trainer.accumulate_mlm(ctx, masked, batch.mask.view(), masked.denominator * parts, rng.fork(3));
        });
    folder.task = "pretrain";
    return summary;
}

training_summary finetune(examples::device& device, const settings& s, const specimens& all, model_folder& folder, const std::string& out) {
    const partition data = take_partition(all, {"train"}, duplicates::drop);
    const label_table species(all, "species", data.rows);
    if (species.names.empty()) throw value_error("finetune: no row of split train has a species");
    const auto labels = species.of(all, data.rows);
    std::vector<index_t> labelled;
    for (std::size_t i = 0; i < labels.size(); ++i) {
        if (labels[i] >= 0) labelled.push_back(static_cast<index_t>(i));
    }
    folder.model = with_classifier(folder.model, static_cast<index_t>(species.names.size()), philox{s.seed, 5});
    folder.task = "finetune";
    folder.pooling = !s.pooling.empty() ? s.pooling : s.preset == "paper" ? "mean" : "masked_mean";
    folder.classes.ranks = {"class", "order", "family", "genus", "species"};
    folder.classes.names.assign(species.names.size(), std::vector<std::string>(folder.classes.ranks.size()));
    for (std::size_t i = data.rows.size(); i-- > 0;) {  // backwards: the first row of a species decides
        if (labels[i] < 0) continue;
        for (std::size_t r = 0; r < folder.classes.ranks.size(); ++r) {
            const auto& name = all.label[rank_index(folder.classes.ranks[r])][static_cast<std::size_t>(data.rows[i])];
            if (!name.empty()) folder.classes.names[static_cast<std::size_t>(labels[i])][r] = name;
        }
    }

    const auto shifts = folder.encoder.shifts(device.cpu(), data.barcodes);
    const auto variant = variant_of(s, folder.encoder);
    fit_plan plan = plan_of(s, "finetune", out, folder);
    if (s.head_init == "probe" && !has_checkpoint(plan)) start_from_probe(device, s, folder, data, labels, labelled);
    token_batch batch;
    tensor<std::int32_t, 1> targets({static_cast<index_t>(s.batch_size)});
    plan.fingerprint["freeze_encoder"] = s.freeze_encoder;
    plan.fingerprint["head_init"] = s.head_init;
    return train_on(
        device, s, folder, plan,
        [&](index_t epoch) {
            auto order = train::epoch_order(static_cast<index_t>(labelled.size()), philox{s.seed, 6}, epoch);
            for (index_t& i : order) i = labelled[static_cast<std::size_t>(i)];
            return order;
        },
        [&](auto& ctx, auto& trainer, std::span<const index_t> samples, philox rng) {
            folder.encoder.encode(device.cpu(), batch, data.barcodes, shifts, samples, variant, rng.fork(1));
            for (std::size_t i = 0; i < samples.size(); ++i) targets(static_cast<index_t>(i)) = labels[static_cast<std::size_t>(samples[i])];
            return trainer.accumulate_classification(ctx, batch.ids.view(), batch.mask.view(), targets.view(), pooling_of(folder.pooling),
                                                     {.denominator = static_cast<double>(s.batch_size * s.accumulate)}, rng.fork(3), s.freeze_encoder);
        },
        keep_best(s, folder, out, [&device, &all, &folder] {
            metrics_map metrics;
            score_classifier(device, all, folder, "", metrics, "val");
            return metrics.count("val.species.accuracy") ? metrics.at("val.species.accuracy") : 0.0;
        }));
}

training_summary metric_learn(examples::device& device, const settings& s, const specimens& all, model_folder& folder, const std::string& out) {
    const partition data = take_partition(all, {"train"}, duplicates::drop);
    const auto genus = label_table(all, "genus", data.rows).of(all, data.rows);
    const auto species = label_table(all, "species", data.rows).of(all, data.rows);
    const auto shifts = folder.encoder.shifts(device.cpu(), data.barcodes);
    const auto variant = variant_of(s, folder.encoder);
    folder.model = with_classifier(folder.model, 0, philox{s.seed, 7});
    folder.task = "metric";
    folder.pooling = s.pooling.empty() ? "masked_mean" : s.pooling;
    token_batch batch;
    const auto n = static_cast<index_t>(s.batch_size);
    tensor<std::int32_t, 1> genus_of({n}), species_of({n});
    const tensor_view<const std::int32_t, 1> ranks[] = {genus_of.view(), species_of.view()};
    const double weights[] = {1.0 / s.accumulate, s.species_weight / s.accumulate};
    fit_plan plan = plan_of(s, "metric", out, folder);
    plan.fingerprint["temperature"] = s.temperature;
    plan.fingerprint["species_weight"] = s.species_weight;
    return train_on(
        device, s, folder, plan, [&](index_t epoch) { return train::class_balanced_order(genus, 4, philox{s.seed, 8}, epoch); },
        [&](auto& ctx, auto& trainer, std::span<const index_t> samples, philox rng) {
            folder.encoder.encode(device.cpu(), batch, data.barcodes, shifts, samples, variant, rng.fork(1));
            for (std::size_t i = 0; i < samples.size(); ++i) {
                genus_of(static_cast<index_t>(i)) = genus[static_cast<std::size_t>(samples[i])];
                species_of(static_cast<index_t>(i)) = species[static_cast<std::size_t>(samples[i])];
            }
            return trainer.accumulate_sup_con(ctx, batch.ids.view(), batch.mask.view(), ranks, weights, pooling_of(folder.pooling), s.temperature, rng.fork(3));
        },
        keep_best(s, folder, out, [&device, &s, &all, &folder] { return nearest_accuracy(device, s, all, folder, "val_unseen", "genus"); }));
}

}  // namespace dna_barcode
