// train: one network, one loop.
#include <filesystem>
#include <iostream>

#include "instar/train/batch_order.hpp"

#include "common/linear_probe.hpp"
#include "tasks.hpp"

namespace image_classifier {

namespace {

/// Weights that make rare classes count more; their mean over the training images is 1.
std::vector<float> class_weights(const image_set& set, const std::vector<index_t>& train, const std::string& how) {
    std::vector<double> count(set.classes.size(), 0.0), weight(count.size(), 0.0);
    for (const index_t i : train) count[static_cast<std::size_t>(set.labels[static_cast<std::size_t>(i)])] += 1.0;
    double total = 0.0;
    for (std::size_t c = 0; c < count.size(); ++c) {
        if (count[c] == 0.0) continue;
        weight[c] = how == "inverse" ? 1.0 / count[c] : how == "sqrt" ? 1.0 / std::sqrt(count[c]) : 1.0;
        total += weight[c] * count[c];
    }
    std::vector<float> w;
    for (const double v : weight) w.push_back(static_cast<float>(v * static_cast<double>(train.size()) / total));
    return w;
}

}  // namespace

void apply_preset(settings& s, const std::string& preset) {
    s.preset = preset;
    if (preset == "small") {
        s.model = "resnet18";
        s.epochs = 80;
        s.lr = 0.02;
        s.mean = {0.5, 0.5, 0.5};
        s.deviation = {0.25, 0.25, 0.25};
        return;
    }
    if (preset == "paper") {
        s.model = "resnet50";
        s.image_size = 256;
        s.crop_size = 224;
        s.augment = "flip";
        s.epochs = 100;
        s.scheduler = "step";
        s.lr = 1e-3;
        s.weight_decay = 1e-4;
        s.label_smoothing = 0.0;
        s.mean.clear();
        s.deviation.clear();
        return;
    }
    throw value_error("--preset " + preset + ": expected small or paper");
}

training_curves train(cpu_context& ctx, const settings& s, const image_set& set, image_cache& cache, image_model& model, image_network& network) {
    const std::vector<index_t> rows = set.of(split_of::train), val = set.of(split_of::val);
    const augmentation how = s.augment == "none" ? augmentation::none : s.augment == "flip" ? augmentation::flip : augmentation::strong;
    const std::vector<float> weight_of = class_weights(set, rows, s.class_weights);
    examples::fit_plan plan{.task = "train", .n_epochs = s.epochs, .batch_size = s.batch_size, .max_lr = s.lr, .seed = s.seed, .out = s.out, .checkpoint = "", .log_interval = s.log_interval, .quiet = s.quiet,
                            .fingerprint = {{"architecture", model.architecture()}, {"optimizer", s.optimizer}, {"scheduler", s.scheduler}, {"weight_decay", s.weight_decay}, {"momentum", s.momentum},
                                            {"loss", s.loss}, {"gamma", s.gamma}, {"label_smoothing", s.label_smoothing}, {"class_weights", s.class_weights}, {"augment", s.augment},
                                            {"image_size", s.image_size}, {"crop_size", s.crop_size}, {"classes", set.classes}, {"crop_to_specimen", s.crop_to_specimen}, {"bf16", s.bf16}}};
    plan.schedule_name = s.scheduler;
    if (s.scheduler == "step") {
        plan.schedule = [&](index_t step, index_t, index_t steps_per_epoch) {
            double lr = s.lr;
            for (const int epoch : s.epoch_decay) lr *= step / steps_per_epoch >= epoch ? 0.1 : 1.0;
            return optim::rates{.lr = lr};
        };
    }
    data::image_loader loader = batches(ctx, cache, model.facts(), how, s.batch_size, true);
    std::vector<index_t> order_of_this_epoch;
    index_t this_epoch = 0;
    bool started = false;
    tensor<std::int32_t, 1> targets({s.batch_size});
    tensor<float, 1> weights({s.batch_size});
    training_curves curves;
    double best = -1.0;
    const auto after_epoch = [&](index_t epoch) {
        if (val.empty()) return;
        metrics_map m;
        score(m, "val", set, predict(ctx, model, network, cache, val), {1});
        curves.epoch.push_back(static_cast<double>(epoch + 1));
        curves.val_micro.push_back(100.0 * m.at("val.top1.micro"));
        curves.val_macro.push_back(100.0 * m.at("val.top1.macro"));
        if (s.save_best_model && !s.out.empty() && m.at("val.top1.micro") > best) {
            best = m.at("val.top1.micro");
            model.save(s.out + "/best");
        }
    };
    curves.summary = examples::fit(
        network.trained_by(s), plan,
        [&](index_t epoch) {
            auto order = train::epoch_order(static_cast<index_t>(rows.size()), philox{s.seed, 2}, epoch);
            for (index_t& i : order) i = rows[static_cast<std::size_t>(i)];
            order_of_this_epoch = order;
            this_epoch = epoch;
            started = false;
            return order;
        },
        [&](std::span<const index_t>, index_t position, philox rng) {
            if (!started) loader.start(std::move(order_of_this_epoch), philox{s.seed, 3}.fork(static_cast<std::uint64_t>(this_epoch)), position / s.batch_size);
            started = true;
            const data::image_batch& batch = *loader.next();
            const index_t n_read = batch.size();
            if (n_read == 0) return 0.0;  // all of them broken: nothing to learn from
            double denominator = 0.0;
            for (std::size_t i = 0; i < batch.items.size(); ++i) {
                const std::int32_t label = set.labels[static_cast<std::size_t>(batch.items[i])];
                targets(static_cast<index_t>(i)) = label;
                weights(static_cast<index_t>(i)) = weight_of[static_cast<std::size_t>(label)];
                denominator += static_cast<double>(weight_of[static_cast<std::size_t>(label)]);
            }
            return network.accumulate(batch.pixels(), targets.view().rows(0, n_read), weights.view().rows(0, n_read),
                                    {.focal = s.loss == "Focal", .gamma = s.gamma, .label_smoothing = s.label_smoothing, .denominator = denominator}, rng.fork(2));
        },
        after_epoch);
    cache.report(loader);
    return curves;
}

void score_baseline(cpu_context& ctx, metrics_map& metrics, const image_set& set, const image_cache& cache, split_of split, const std::vector<int>& k, std::uint64_t seed) {
    const auto train = set.of(split_of::train), query = set.of(split);
    if (train.empty() || query.empty()) return;
    std::vector<std::int32_t> y;
    for (const index_t i : train) y.push_back(set.labels[static_cast<std::size_t>(i)]);
    const auto probe = examples::train_linear_probe(ctx, color_histograms(ctx, cache, train).view(), y, static_cast<index_t>(set.classes.size()), {.weight_decay = 1e-3, .per_feature = true, .seed = seed});
    predictions p{query, tensor<float, 2>({static_cast<index_t>(query.size()), static_cast<index_t>(set.classes.size())})};
    ops::linear_forward<float>(ctx, p.probability.view(), color_histograms(ctx, cache, query).view(), probe.weight.view(), probe.bias.view());
    score(metrics, std::string("baseline.color_histogram.") + split_name(split), set, p, k);
}

}  // namespace image_classifier
