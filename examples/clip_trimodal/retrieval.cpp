#include <unordered_map>

#include "instar/cluster/knn.hpp"
#include "instar/core/build_info.hpp"
#include "instar/metrics/retrieval.hpp"

#include "common/html_report.hpp"
#include "common/table.hpp"

#include "tasks.hpp"

namespace clip_trimodal {

namespace {

std::string percent(const metrics_map& m, const std::string& key) {
    const auto at = m.find(key);
    if (at == m.end()) return "–";
    char text[16];
    std::snprintf(text, sizeof text, "%.1f", 100.0 * at->second);
    return text;
}

}  // namespace

retrieval_rows rows_of(const specimen_set& set, const std::string& eval_on) {
    retrieval_rows r{set.rows({"train", "key_unseen"}), set.rows({eval_on}), set.rows({eval_on + "_unseen"})};
    if (r.keys.empty() || (r.seen.empty() && r.unseen.empty())) {
        throw value_error("the metadata has no keys (splits train, key_unseen) or no queries (" + eval_on + ", " + eval_on + "_unseen)");
    }
    return r;
}

std::vector<index_t> usable(const specimen_set& set, std::vector<index_t> rows, std::string_view modality) {
    if (modality == "image") std::erase_if(rows, [&](index_t i) { return !set.has_image(i); });
    if (modality == "dna") std::erase_if(rows, [&](index_t i) { return set.table.barcode[static_cast<std::size_t>(i)].empty(); });
    return rows;
}

std::vector<std::pair<std::string, std::string>> directions_of(const settings& s, const trimodal_model& model) {
    std::vector<std::pair<std::string, std::string>> all;
    if (s.pairs.empty()) {
        for (const auto& [q, k] : {std::pair{"image", "dna"}, std::pair{"image", "image"}, std::pair{"dna", "dna"}, std::pair{"image", "text"}, std::pair{"dna", "text"}}) {
            if (model.has(q) && model.has(k)) all.emplace_back(q, k);
        }
        return all;
    }
    for (const std::string& pair : s.pairs) {
        const std::size_t colon = std::min(pair.find(':'), pair.size());
        const std::string q = pair.substr(0, colon), k = pair.substr(std::min(colon + 1, pair.size()));
        for (const std::string& kind : {q, k}) {
            const bool both = kind == "averaged" || kind == "concatenated";
            if (!both && kind != "image" && kind != "dna" && kind != "text") {
                throw value_error("--pairs " + pair + ": must be QUERY:KEY, each of image, dna, text, averaged and concatenated (image and DNA together)");
            }
            for (const char* m : {"image", "dna", "text"}) {
                if ((both ? std::string_view(m) != "text" : kind == m) && !model.has(m)) throw value_error("--pairs " + pair + ": the model has no tower for " + m);
            }
        }
        if ((q == "concatenated") != (k == "concatenated")) throw value_error("--pairs " + pair + ": concatenated embeddings are twice as long, and compare with concatenated ones only");
        all.emplace_back(q, k);
    }
    return all;
}

namespace {

/// Rows and vectors of one kind of query or key; a specimen without a picture is no image.
struct side {
    std::vector<index_t> rows;
    tensor<float, 2> vectors;
};

side features(examples::device& device, const trimodal_model& model, const specimen_set& set, const std::vector<index_t>& of, const std::string& kind) {
    side x;
    if (kind != "averaged" && kind != "concatenated") {
        x.rows = usable(set, of, kind);
        x.vectors = model.embed(device, set, x.rows, kind);
        return x;
    }
    x.rows = usable(set, usable(set, of, "image"), "dna");
    const auto a = model.embed(device, set, x.rows, "image"), b = model.embed(device, set, x.rows, "dna");
    const tensor_view<const float, 2> image = a.view(), dna = b.view();
    x.vectors = kind == "averaged" ? metrics::average_embeddings(image, dna) : metrics::concatenate_embeddings(image, dna);
    return x;
}

cluster::knn_result nearest(cpu_context& ctx, const tensor<float, 2>& queries, const tensor<float, 2>& keys, index_t k) {
    return cluster::knn(ctx, tensor_view<const float, 2>(queries.view()), tensor_view<const float, 2>(keys.view()), {.k = k, .metric = cluster::knn_metric::inner_product});
}

/// Numbers of the names of each rank; −1 for a missing one.
class label_numbers {
public:
    explicit label_numbers(const specimen_set& set) : set_(set) {}
    std::vector<std::int32_t> operator()(std::size_t rank, const std::vector<index_t>& of) {
        std::vector<std::int32_t> y;
        for (const index_t i : of) {
            const std::string& name = set_.label(rank, i);
            y.push_back(name.empty() ? -1 : number_[rank].try_emplace(name, static_cast<std::int32_t>(number_[rank].size())).first->second);
        }
        return y;
    }

private:
    const specimen_set& set_;
    std::array<std::unordered_map<std::string, std::int32_t>, 4> number_;
};

void add_harmonic_means(metrics_map& metrics, const std::string& name) {
    for (const char* rank : k_scored_ranks) {
        for (const char* kind : {"micro", "macro"}) {
            const std::string end = std::string(rank) + "." + kind + ".top1";
            metrics[name + "harmonic." + end] = metrics::harmonic_mean(metrics[name + "seen." + end], metrics[name + "unseen." + end]);
        }
    }
}

}  // namespace

void score_retrieval(examples::device& device, metrics_map& metrics, const std::string& prefix, const settings& s, const trimodal_model& model, const specimen_set& set, const retrieval_rows& rows) {
    std::map<std::pair<std::string, char>, side> known;
    const auto get = [&](const std::string& kind, char which) -> const side& {
        const auto [at, fresh] = known.try_emplace({kind, which});
        if (fresh) at->second = features(device, model, set, which == 'k' ? rows.keys : which == 's' ? rows.seen : rows.unseen, kind);
        return at->second;
    };
    const std::vector<index_t> ks(s.k_list.begin(), s.k_list.end());
    const index_t k_most = *std::max_element(ks.begin(), ks.end());
    label_numbers labels(set);
    for (const auto& [q, k] : directions_of(s, model)) {
        const std::string name = prefix + q + "_to_" + k + ".";
        const side& key = get(k, 'k');
        if (static_cast<index_t>(key.rows.size()) < k_most) throw value_error(std::to_string(key.rows.size()) + " keys have what " + k + " needs; the largest --k is " + std::to_string(k_most));
        for (const bool is_seen : {true, false}) {
            const side& query = get(q, is_seen ? 's' : 'u');
            if (query.rows.empty()) continue;
            const auto near = nearest(device.cpu(), query.vectors, key.vectors, k_most);
            for (std::size_t rank = 0; rank < 4; ++rank) {
                const auto predicted = metrics::neighbour_labels(near.index.view(), labels(rank, key.rows));
                const auto report = metrics::retrieval_scores(predicted.view(), labels(rank, query.rows), ks);
                for (std::size_t i = 0; i < ks.size(); ++i) {
                    const std::string at = name + (is_seen ? "seen." : "unseen.") + k_scored_ranks[rank];
                    metrics[at + ".micro.top" + std::to_string(ks[i])] = report.micro[i];
                    metrics[at + ".macro.top" + std::to_string(ks[i])] = report.macro[i];
                }
            }
        }
        if (!rows.seen.empty() && !rows.unseen.empty()) add_harmonic_means(metrics, name);
    }
    if (!prefix.empty()) return;
    // A key drawn at random.
    for (std::size_t rank = 0; rank < 4; ++rank) {
        std::unordered_map<std::int32_t, double> share;
        for (const std::int32_t y : labels(rank, rows.keys)) share[y] += 1.0 / static_cast<double>(rows.keys.size());
        for (const bool is_seen : {true, false}) {
            double sum = 0.0, n = 0.0;
            for (const std::int32_t y : labels(rank, is_seen ? rows.seen : rows.unseen)) {
                if (y < 0) continue;
                sum += share.contains(y) ? share.at(y) : 0.0;
                n += 1.0;
            }
            if (n > 0.0) metrics[std::string("chance.") + (is_seen ? "seen." : "unseen.") + k_scored_ranks[rank] + ".micro.top1"] = sum / n;
        }
    }
}

void score_fusion(examples::device& device, metrics_map& metrics, const settings& s, const trimodal_model& model, const specimen_set& set) {
    for (const char* m : {"image", "dna"}) {
        if (!model.has(m)) throw value_error(std::string("--fusion needs towers for image and dna; the model has none for ") + m);
    }
    const std::vector<index_t> ks(s.k_list.begin(), s.k_list.end());
    const index_t k_most = *std::max_element(ks.begin(), ks.end());
    const side seen_keys = features(device, model, set, set.rows({"train"}), "image"), unseen_keys = features(device, model, set, set.rows({"key_unseen"}), "dna");
    for (const side* keys : {&seen_keys, &unseen_keys}) {
        if (static_cast<index_t>(keys->rows.size()) < k_most) throw value_error("--fusion: the split " + std::string(keys == &seen_keys ? "train has fewer pictures" : "key_unseen has fewer barcodes") + " than the largest --k");
    }
    label_numbers labels(set);
    struct queries {
        side own;
        cluster::knn_result seen, unseen;
        tensor<std::int32_t, 2> seen_labels, unseen_labels;
        metrics::fusion_candidates candidates(label_numbers& labels, std::size_t rank, const side& seen_keys, const side& unseen_keys) {
            seen_labels = metrics::neighbour_labels(seen.index.view(), labels(rank, seen_keys.rows));
            unseen_labels = metrics::neighbour_labels(unseen.index.view(), labels(rank, unseen_keys.rows));
            return {seen_labels.view(), seen.distance.view(), unseen_labels.view()};
        }
    };
    std::map<std::string, queries> all;
    for (const char* split : {"val", "val_unseen", "test", "test_unseen"}) {
        queries& q = all[split];
        q.own = features(device, model, set, set.rows({split}), "image");
        if (q.own.rows.empty()) throw value_error(std::string("--fusion: the split ") + split + " has no pictures; the threshold is tuned on val and val_unseen, and scored on test and test_unseen");
        q.seen = nearest(device.cpu(), q.own.vectors, seen_keys.vectors, k_most);
        q.unseen = nearest(device.cpu(), q.own.vectors, unseen_keys.vectors, k_most);
        std::transform(q.seen.distance.data(), q.seen.distance.data() + q.seen.distance.size(), q.seen.distance.data(), std::negate<>());  // −inner product → similarity
    }
    constexpr std::size_t k_species = 3;
    const auto seen_val = all["val"].candidates(labels, k_species, seen_keys, unseen_keys), unseen_val = all["val_unseen"].candidates(labels, k_species, seen_keys, unseen_keys);
    const auto best = metrics::best_fusion_threshold(seen_val, labels(k_species, all["val"].own.rows), unseen_val, labels(k_species, all["val_unseen"].own.rows));
    metrics["fusion.threshold"] = best.threshold;
    for (const bool is_seen : {true, false}) {
        queries& q = all[is_seen ? "test" : "test_unseen"];
        for (std::size_t rank = 0; rank < 4; ++rank) {
            const auto fused = metrics::fuse_by_threshold(q.candidates(labels, rank, seen_keys, unseen_keys), best.threshold);
            const auto report = metrics::retrieval_scores(fused.view(), labels(rank, q.own.rows), ks);
            for (std::size_t i = 0; i < ks.size(); ++i) {
                const std::string at = std::string("fusion.") + (is_seen ? "seen." : "unseen.") + k_scored_ranks[rank];
                metrics[at + ".micro.top" + std::to_string(ks[i])] = report.micro[i];
                metrics[at + ".macro.top" + std::to_string(ks[i])] = report.macro[i];
            }
        }
    }
    add_harmonic_means(metrics, "fusion.");
}

namespace {

std::vector<std::vector<std::string>> retrieval_table(const metrics_map& metrics, const settings& s, const trimodal_model& model, bool unaligned, const std::string& kind) {
    std::vector<std::vector<std::string>> rows;
    const auto add = [&](const std::string& label, const std::string& name) {
        std::vector<std::string> row{label};
        for (const char* rank : k_scored_ranks) {
            for (const char* side : {"seen", "unseen"}) row.push_back(percent(metrics, name + side + "." + rank + "." + kind + ".top1"));
        }
        rows.push_back(std::move(row));
    };
    for (const auto& [q, k] : directions_of(s, model)) {
        add(q + " → " + k, q + "_to_" + k + ".");
        if (unaligned) add("  before training", "unaligned." + q + "_to_" + k + ".");
    }
    if (metrics.contains("fusion.threshold")) add("image → image or dna", "fusion.");
    if (kind == "micro") add("a key at random", "chance.");
    return rows;
}

const std::vector<std::string> k_header{"query → key", "order seen", "unseen", "family seen", "unseen", "genus seen", "unseen", "species seen", "unseen"};

}  // namespace

void print_retrieval(const metrics_map& metrics, const settings& s, const trimodal_model& model, bool unaligned) {
    for (const char* kind : {"micro", "macro"}) {
        std::printf("Top-1 accuracy in percent, %s\n\n", kind);
        examples::text_table table(k_header);
        for (auto& row : retrieval_table(metrics, s, model, unaligned, kind)) table.add_row(std::move(row));
        std::printf("%s\n", table.text().c_str());
    }
}

void write_report(examples::device& device, const std::string& path, const settings& s, const trimodal_model& model, const specimen_set& set, const retrieval_rows& rows, const metrics_map& metrics,
                  const examples::training_summary* training) {
    examples::html_report report("Images, barcodes and text aligned", "clip_trimodal");
    const auto first_unaligned = metrics.lower_bound("unaligned.");
    const bool unaligned = first_unaligned != metrics.end() && first_unaligned->first.starts_with("unaligned.");
    report.card("image → DNA, genus of unseen species", percent(metrics, "image_to_dna.unseen.genus.micro.top1") + " %");
    report.card("image → DNA, seen species", percent(metrics, "image_to_dna.seen.species.micro.top1") + " %");
    report.card("keys", std::to_string(rows.keys.size()));
    report.card("queries, seen and unseen", std::to_string(rows.seen.size()) + " + " + std::to_string(rows.unseen.size()));
    for (const char* kind : {"micro", "macro"}) {
        report.section(std::string("Top-1 accuracy, ") + kind + ", percent");
        report.table(k_header, retrieval_table(metrics, s, model, unaligned, kind));
    }
    report.paragraph("Every query searches the keys of seen and of unseen species together; the nearest key's labels are the answer, each rank by itself. Micro: the share of queries; macro: the mean over "
                     "the classes that occur among the queries.");
    if (metrics.contains("fusion.threshold")) {
        report.paragraph("Image → image or dna: a picture's nearest pictures of seen species where their cosine exceeds " + std::to_string(metrics.at("fusion.threshold")).substr(0, 5) + ", else its nearest barcodes of unseen species.");
    }
    if (training != nullptr) {
        report.section("Training");
        report.line_chart("loss", {{"train", training->step, training->loss}}, "step", "loss");
    }
    if (model.has("image")) {
        // Queries and the pictures of their nearest keys, by DNA where there is a tower for it.
        const std::string key = model.has("dna") ? "dna" : "image";
        for (const bool is_seen : {true, false}) {
            const auto all = usable(set, is_seen ? rows.seen : rows.unseen, "image"), keys = usable(set, rows.keys, key);
            std::vector<index_t> queries;
            for (std::size_t i = 0; i < all.size() && queries.size() < 6; i += std::max<std::size_t>(1, all.size() / 6)) queries.push_back(all[i]);
            if (queries.empty()) continue;
            const auto q = model.embed(device, set, queries, "image"), k = model.embed(device, set, keys, key);
            const auto near = nearest(device.cpu(), q, k, std::min<index_t>(5, k.extent(0)));
            report.section(std::string(is_seen ? "Seen" : "Unseen") + " species: a picture, and the specimens whose " + key + " is nearest");
            std::vector<examples::gallery_item> items;
            for (std::size_t i = 0; i < queries.size(); ++i) {
                const auto name = [&](index_t row) { return set.label(3, row).empty() ? set.label(2, row) : set.label(3, row); };
                items.push_back({data::encode_jpeg(data::shrink_to(set.images[static_cast<std::size_t>(queries[i])], 96)), "image/jpeg", "query: " + name(queries[i]), true});
                for (index_t r = 0; r < near.index.extent(1); ++r) {
                    const index_t row = keys[static_cast<std::size_t>(near.index(static_cast<index_t>(i), r))];
                    const bool right = !set.label(2, row).empty() && set.label(2, row) == set.label(2, queries[i]);
                    if (set.has_image(row)) items.push_back({data::encode_jpeg(data::shrink_to(set.images[static_cast<std::size_t>(row)], 96)), "image/jpeg", name(row), right});
                }
            }
            report.gallery(items);
        }
        report.paragraph("Each query is followed by the pictures of its five nearest keys; marked wrong are those of another genus.");
    }
    report.paragraph("Embeddings of " + std::to_string(s.output_dim) + " numbers; seed " + std::to_string(s.seed) + ". " + build_info().text());
    report.write(path);
}

}  // namespace clip_trimodal
