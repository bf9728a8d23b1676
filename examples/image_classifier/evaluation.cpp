// Predictions, the scores of BIOSCAN-1M, and the report.
#include "instar/core/build_info.hpp"
#include "instar/data/image_encode.hpp"
#include "instar/metrics/classification.hpp"
#include "instar/metrics/top_k.hpp"
#include "instar/ops/softmax.hpp"

#include "common/html_report.hpp"
#include "tasks.hpp"

namespace image_classifier {

predictions predict(cpu_context& ctx, const image_model& model, image_network& network, image_cache& cache, const std::vector<index_t>& rows) {
    const image_facts& facts = model.facts();
    data::image_loader loader = batches(ctx, cache, facts, augmentation::none, 32, false);
    predictions p{{}, tensor<float, 2>({static_cast<index_t>(rows.size()), model.n_labels()})};
    loader.start(rows, {});
    while (const data::image_batch* batch = loader.next()) {
        if (batch->size() == 0) continue;
        const auto begin = static_cast<index_t>(p.rows.size());
        ops::softmax_forward<float>(ctx, p.probability.view().rows(begin, begin + batch->size()), network.logits(batch->pixels()));
        p.rows.insert(p.rows.end(), batch->items.begin(), batch->items.end());
    }
    if (loader.n_broken() == 0) return p;
    cache.report(loader);
    if (p.rows.empty()) throw value_error("none of the " + std::to_string(rows.size()) + " images can be read");
    tensor<float, 2> read({static_cast<index_t>(p.rows.size()), model.n_labels()});
    std::copy_n(p.probability.data(), read.size(), read.data());
    p.probability = std::move(read);
    return p;
}

namespace {

/// Classes of a row, the likeliest first; equal ones by number.
std::vector<std::int32_t> ranking(tensor_view<const float, 2> p, index_t row) {
    std::vector<std::int32_t> order(static_cast<std::size_t>(p.extent(1)));
    for (std::size_t c = 0; c < order.size(); ++c) order[c] = static_cast<std::int32_t>(c);
    std::sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) { return p(row, a) != p(row, b) ? p(row, a) > p(row, b) : a < b; });
    return order;
}

std::string percent(double share) {
    char text[32];
    std::snprintf(text, sizeof text, "%.2f", 100.0 * share);
    return text;
}

}  // namespace

void score(metrics_map& metrics, const std::string& prefix, const image_set& set, const predictions& p, const std::vector<int>& k) {
    if (p.rows.empty()) return;
    const auto n_classes = static_cast<index_t>(set.classes.size());
    std::vector<std::int32_t> predicted, truth;
    for (std::size_t i = 0; i < p.rows.size(); ++i) {
        predicted.push_back(ranking(p.probability.view(), static_cast<index_t>(i))[0]);
        truth.push_back(set.labels[static_cast<std::size_t>(p.rows[i])]);
    }
    const std::vector<index_t> ks(k.begin(), k.end());
    const auto top = metrics::top_k_scores(p.probability.view(), truth, ks);
    for (std::size_t j = 0; j < ks.size(); ++j) {
        if (j > 0 && ks[j] >= n_classes) continue;  // all classes are among the first k
        const std::string key = prefix + ".top" + std::to_string(ks[j]);
        metrics[key + ".micro"] = top.micro[j];
        metrics[key + ".macro"] = top.macro[j];
        if (top.n_classes_present < n_classes) metrics[key + ".macro_all_classes"] = top.macro_all[j];
    }
    if (!prefix.starts_with("baseline.")) {
        for (std::size_t c = 0; c < set.classes.size(); ++c) {
            if (top.class_count[c] > 0) metrics[prefix + ".class." + set.classes[c] + ".top1"] = top.class_accuracy[c];
        }
    }
    const auto all = metrics::classification_scores(predicted, truth);
    metrics[prefix + ".f1.macro"] = all.f1_macro;
    metrics[prefix + ".n"] = static_cast<double>(p.rows.size());
}

void write_report(const std::string& path, const settings& s, const image_set& set, const image_cache& cache, const image_model& model, const predictions& p, const metrics_map& metrics,
                  const std::string& split, const training_curves* curves, double seconds) {
    const auto of = [&](const std::string& key) {
        const auto it = metrics.find(key);
        return it == metrics.end() ? std::string("–") : percent(it->second);
    };
    examples::html_report report("Image classifier", model.architecture() + ", " + std::to_string(set.classes.size()) + " classes");
    report.card("images (" + split + ")", std::to_string(p.rows.size()));
    report.card("right, micro", of(split + ".top1.micro") + " %");
    report.card("right, macro", of(split + ".top1.macro") + " %");
    char text[96];
    std::snprintf(text, sizeof text, "%.1f min", seconds / 60.0);
    report.card("time", text);

    report.section("Accuracy, percent");
    std::vector<std::string> header{"classifier"};
    std::vector<int> shown;
    for (const int k : s.k) {
        if (metrics.count(split + ".top" + std::to_string(k) + ".micro") != 0) shown.push_back(k);
    }
    for (const int k : shown) {
        header.push_back("top-" + std::to_string(k) + " micro");
        header.push_back("top-" + std::to_string(k) + " macro");
    }
    header.push_back("F1 macro");
    std::vector<std::vector<std::string>> rows;
    for (const auto& [name, prefix] : {std::pair{model.architecture(), split}, std::pair{std::string("colour histogram, linear"), "baseline.color_histogram." + split}}) {
        if (metrics.count(prefix + ".n") == 0) continue;
        std::vector<std::string> row{name};
        for (const int k : shown) {
            row.push_back(of(prefix + ".top" + std::to_string(k) + ".micro"));
            row.push_back(of(prefix + ".top" + std::to_string(k) + ".macro"));
        }
        row.push_back(of(prefix + ".f1.macro"));
        rows.push_back(std::move(row));
    }
    report.table(header, rows);
    report.paragraph("Micro: the share of images; macro: the mean over the classes that occur among them, each counting the same.");

    if (curves != nullptr) {
        report.section("Training");
        report.line_chart("loss", {{"train", curves->summary.step, curves->summary.loss}}, "step", "loss");
        if (!curves->epoch.empty()) {
            report.line_chart("validation", {{"micro", curves->epoch, curves->val_micro}, {"macro", curves->epoch, curves->val_macro}}, "epoch", "right, %");
        }
    }

    const std::size_t n_classes = set.classes.size();
    std::vector<double> confusion(n_classes * n_classes, 0.0), count(n_classes, 0.0), right(n_classes, 0.0);
    std::vector<examples::gallery_item> wrong, correct;
    std::vector<std::pair<double, std::size_t>> worst;
    for (std::size_t i = 0; i < p.rows.size(); ++i) {
        const auto label = static_cast<std::size_t>(set.labels[static_cast<std::size_t>(p.rows[i])]);
        const auto guess = static_cast<std::size_t>(ranking(p.probability.view(), static_cast<index_t>(i))[0]);
        confusion[label * n_classes + guess] += 1.0;
        count[label] += 1.0;
        right[label] += guess == label ? 1.0 : 0.0;
        if (guess != label) worst.emplace_back(-static_cast<double>(p.probability(static_cast<index_t>(i), static_cast<index_t>(guess))), i);
    }
    if (n_classes <= 40) {
        report.section("Confusion");
        report.heat_map("Images by their own class and by the predicted one", set.classes, set.classes, confusion, "class", "predicted");
    }
    std::vector<std::string> occurring;
    examples::bar_series bars{"right", {}};
    for (std::size_t c = 0; c < n_classes && occurring.size() < 40; ++c) {
        if (count[c] == 0.0) continue;
        occurring.push_back(set.classes[c]);
        bars.values.push_back(100.0 * right[c] / count[c]);
    }
    report.section("By class");
    report.bar_chart(occurring, {bars}, "right, %");

    const auto picture = [&](std::size_t i) {
        const index_t row = p.rows[i];
        const auto order = ranking(p.probability.view(), static_cast<index_t>(i));
        const std::string truth = set.classes[static_cast<std::size_t>(set.labels[static_cast<std::size_t>(row)])], guess = set.classes[static_cast<std::size_t>(order[0])];
        std::snprintf(text, sizeof text, ", %.0f %%", 100.0 * static_cast<double>(p.probability(static_cast<index_t>(i), order[0])));
        std::string jpeg;
        cache.with(row, [&](const data::image& x) { jpeg = data::encode_jpeg(data::shrink_to(x, 120)); });
        return examples::gallery_item{jpeg, "image/jpeg", truth == guess ? guess + text : guess + text + " – is " + truth, truth == guess};
    };
    std::sort(worst.begin(), worst.end());
    for (std::size_t i = 0; i < std::min<std::size_t>(12, worst.size()); ++i) wrong.push_back(picture(worst[i].second));
    for (std::size_t i = 0; i < p.rows.size() && correct.size() < 12; i += std::max<std::size_t>(1, p.rows.size() / 24)) {
        if (ranking(p.probability.view(), static_cast<index_t>(i))[0] == set.labels[static_cast<std::size_t>(p.rows[i])]) correct.push_back(picture(i));
    }
    if (!wrong.empty()) {
        report.section("Wrong, the surest first");
        report.gallery(wrong);
    }
    if (!correct.empty()) {
        report.section("Right, every so many");
        report.gallery(correct);
    }
    report.paragraph("Parameters: " + std::to_string(model.n_parameters()) + ". Images at " + std::to_string(model.facts().crop_size) + " pixels. Seed " + std::to_string(s.seed) + ". " +
                     build_info().text());
    report.write(path);
}

}  // namespace image_classifier
