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

std::vector<std::pair<std::string, std::string>> directions_of(const trimodal_model& model) {
    std::vector<std::pair<std::string, std::string>> all;
    for (const auto& [q, k] : {std::pair{"image", "dna"}, std::pair{"image", "image"}, std::pair{"dna", "dna"}, std::pair{"image", "text"}, std::pair{"dna", "text"}}) {
        if (model.has(q) && model.has(k)) all.emplace_back(q, k);
    }
    return all;
}

void score_retrieval(cpu_context& ctx, metrics_map& metrics, const std::string& prefix, const settings& s, const trimodal_model& model, const specimen_set& set, const retrieval_rows& rows) {
    // Rows and vectors of each modality; a specimen without a picture is no image.
    struct side {
        std::vector<index_t> rows;
        tensor<float, 2> vectors;
    };
    std::map<std::string, side> keys, seen, unseen;
    for (const char* m : {"image", "dna", "text"}) {
        if (!model.has(m)) continue;
        const auto add = [&](std::map<std::string, side>& to, const std::vector<index_t>& of) {
            side& x = to[m];
            x.rows = usable(set, of, m);
            x.vectors = model.embed(ctx, set, x.rows, m);
        };
        add(keys, rows.keys);
        if (std::string_view(m) == "text") continue;  // a text tells the answer: no query
        add(seen, rows.seen);
        add(unseen, rows.unseen);
    }
    std::vector<index_t> ks;
    for (const int k : s.k_list) ks.push_back(k);
    const index_t k_most = *std::max_element(ks.begin(), ks.end());
    // Numbers of the names of each rank; −1 for a missing one.
    std::array<std::unordered_map<std::string, std::int32_t>, 4> number;
    const auto labels = [&](std::size_t rank, const std::vector<index_t>& of) {
        std::vector<std::int32_t> y;
        for (const index_t i : of) {
            const std::string& name = set.label(rank, i);
            y.push_back(name.empty() ? -1 : number[rank].try_emplace(name, static_cast<std::int32_t>(number[rank].size())).first->second);
        }
        return y;
    };
    for (const auto& [q, k] : directions_of(model)) {
        const std::string name = prefix + q + "_to_" + k + ".";
        const side& key = keys.at(k);
        if (static_cast<index_t>(key.rows.size()) < k_most) throw value_error(std::to_string(key.rows.size()) + " keys have what " + k + " needs; the largest --k is " + std::to_string(k_most));
        for (const bool is_seen : {true, false}) {
            const side& query = (is_seen ? seen : unseen).at(q);
            if (query.rows.empty()) continue;
            const auto near = cluster::knn(ctx, tensor_view<const float, 2>(query.vectors.view()), tensor_view<const float, 2>(key.vectors.view()),
                                           {.k = k_most, .metric = cluster::knn_metric::inner_product});
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
        if (rows.seen.empty() || rows.unseen.empty()) continue;
        for (const char* rank : k_scored_ranks) {
            for (const char* kind : {"micro", "macro"}) {
                const std::string end = std::string(rank) + "." + kind + ".top1";
                metrics[name + "harmonic." + end] = metrics::harmonic_mean(metrics[name + "seen." + end], metrics[name + "unseen." + end]);
            }
        }
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

namespace {

std::vector<std::vector<std::string>> retrieval_table(const metrics_map& metrics, const trimodal_model& model, bool unaligned, const std::string& kind) {
    std::vector<std::vector<std::string>> rows;
    const auto add = [&](const std::string& label, const std::string& name) {
        std::vector<std::string> row{label};
        for (const char* rank : k_scored_ranks) {
            for (const char* side : {"seen", "unseen"}) row.push_back(percent(metrics, name + side + "." + rank + "." + kind + ".top1"));
        }
        rows.push_back(std::move(row));
    };
    for (const auto& [q, k] : directions_of(model)) {
        add(q + " → " + k, q + "_to_" + k + ".");
        if (unaligned) add("  before training", "unaligned." + q + "_to_" + k + ".");
    }
    if (kind == "micro") add("a key at random", "chance.");
    return rows;
}

const std::vector<std::string> k_header{"query → key", "order seen", "unseen", "family seen", "unseen", "genus seen", "unseen", "species seen", "unseen"};

}  // namespace

void print_retrieval(const metrics_map& metrics, const trimodal_model& model, bool unaligned) {
    for (const char* kind : {"micro", "macro"}) {
        std::printf("Top-1 accuracy in percent, %s\n\n", kind);
        examples::text_table table(k_header);
        for (auto& row : retrieval_table(metrics, model, unaligned, kind)) table.add_row(std::move(row));
        std::printf("%s\n", table.text().c_str());
    }
}

void write_report(cpu_context& ctx, const std::string& path, const settings& s, const trimodal_model& model, const specimen_set& set, const retrieval_rows& rows, const metrics_map& metrics,
                  const examples::training_summary* training) {
    examples::html_report report("Images, barcodes and text aligned", "clip_trimodal");
    const bool unaligned = metrics.contains("unaligned.image_to_dna.unseen.genus.micro.top1");
    report.card("image → DNA, genus of unseen species", percent(metrics, "image_to_dna.unseen.genus.micro.top1") + " %");
    report.card("image → DNA, seen species", percent(metrics, "image_to_dna.seen.species.micro.top1") + " %");
    report.card("keys", std::to_string(rows.keys.size()));
    report.card("queries, seen and unseen", std::to_string(rows.seen.size()) + " + " + std::to_string(rows.unseen.size()));
    for (const char* kind : {"micro", "macro"}) {
        report.section(std::string("Top-1 accuracy, ") + kind + ", percent");
        report.table(k_header, retrieval_table(metrics, model, unaligned, kind));
    }
    report.paragraph("Every query searches the keys of seen and of unseen species together; the nearest key's labels are the answer, each rank by itself. Micro: the share of queries; macro: the mean over "
                     "the classes that occur among the queries.");
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
            const auto q = model.embed(ctx, set, queries, "image"), k = model.embed(ctx, set, keys, key);
            const auto near = cluster::knn(ctx, tensor_view<const float, 2>(q.view()), tensor_view<const float, 2>(k.view()), {.k = std::min<index_t>(5, k.extent(0)), .metric = cluster::knn_metric::inner_product});
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
