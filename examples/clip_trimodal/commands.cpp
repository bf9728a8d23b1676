#include "instar/cluster/knn.hpp"
#include "instar/data/fasta.hpp"
#include "instar/io/npy.hpp"

#include "common/html_report.hpp"
#include "common/table.hpp"

#include "tasks.hpp"

namespace clip_trimodal {

namespace {

examples::device device_of(const settings& s) { return {{s.device, s.threads, s.bf16}, "clip_trimodal", "pictures, tokens, nearest neighbours, scores"}; }

/// Metadata and the root of the pictures: given, or what the model was trained on.
std::pair<std::string, std::string> data_of(const settings& s, const trimodal_model& model) {
    if (!s.metadata.empty()) {
        if (s.images.empty() && model.has("image")) throw value_error("--metadata needs --images: the folder below which BIOSCAN's image paths begin");
        return {s.metadata, s.images};
    }
    if (model.metadata().empty()) throw value_error("--metadata is needed: the model's folder does not say what it was trained on");
    return {model.metadata(), model.images_root()};
}

}  // namespace

void apply_preset(settings& s, const std::string& preset) {
    if (preset != "small" && preset != "paper") throw value_error("--preset is \"" + preset + "\"; small or paper");
    s.preset = preset;
    if (preset == "small") return;
    s.output_dim = 768;
    s.image_size = 224;
    s.k_mer = 5;
    s.anchor = false;
    s.text_length = 20;
    s.epochs = 20;
    s.batch_size = 2000;
    s.chunk = 50;
    s.max_lr = 2e-4;
    s.partners = "index";
}

int run_train(const settings& s) {
    examples::device device = device_of(s);
    cpu_context& ctx = device.cpu();
    const auto start = std::chrono::steady_clock::now();
    std::filesystem::create_directories(s.out);
    const bool simulated = s.metadata.empty();
    const std::string metadata = simulated ? simulate_into(ctx, s.out, s.n_specimens, s.image_size + s.image_size / 4, s.seed, s.quiet) : s.metadata;
    const std::string root = simulated ? s.out : s.images;
    const bool with_images = std::find(s.modalities.begin(), s.modalities.end(), "image") != s.modalities.end();
    if (!simulated && with_images && s.images.empty()) throw value_error("--metadata needs --images: the folder below which BIOSCAN's image paths begin");
    const specimen_set set = load_set(ctx, metadata, root, s.package, s.image_size + s.image_size / 4, with_images);
    std::vector<index_t> rows = set.rows({"pretrain", "train"});
    if (rows.empty()) throw value_error(metadata + ": no specimen is in the splits pretrain or train");
    const retrieval_rows queries = rows_of(set, s.eval_on);
    trimodal_model model = s.model.empty() ? trimodal_model::create(ctx, s, set, rows) : trimodal_model::load(s.model);
    model.use(ctx, set);
    metrics_map metrics;
    const std::string from = std::filesystem::absolute(metadata).string(), from_images = root.empty() ? root : std::filesystem::absolute(root).string();
    if (s.unaligned) {
        score_retrieval(device, metrics, "unaligned.", s, model, set, queries);
        model.save(s.out + "/unaligned", from, from_images);
    }
    const auto summary = train(device, s, set, rows, model);
    model.save(s.out, from, from_images);
    score_retrieval(device, metrics, "", s, model, set, queries);
    metrics["train.loss"] = summary.final_loss;
    metrics["temperature"] = std::exp(-static_cast<double>(model.clip().logit_scale()));
    print_retrieval(metrics, s, model, s.unaligned);
    write_report(device, s.out + "/report.html", s, model, set, queries, metrics, &summary);
    examples::write_results(s.out, "train", examples::seconds_since(start), summary.samples_per_second, metrics);
    examples::drop_checkpoint(s.out, "");
    std::printf("report: %s/report.html\n", s.out.c_str());
    return 0;
}

int run_eval(const settings& s) {
    examples::device device = device_of(s);
    cpu_context& ctx = device.cpu();
    const auto start = std::chrono::steady_clock::now();
    trimodal_model model = trimodal_model::load(s.model);
    const auto [metadata, root] = data_of(s, model);
    const specimen_set set = load_set(ctx, metadata, root, s.package, model.image_size() + model.image_size() / 4, model.has("image"));
    model.use(ctx, set);
    directions_of(s, model);  // a pair that cannot be is said before work is done
    const retrieval_rows rows = rows_of(set, s.eval_on);
    metrics_map metrics;
    score_retrieval(device, metrics, "", s, model, set, rows);
    if (s.fusion) score_fusion(device, metrics, s, model, set);
    print_retrieval(metrics, s, model, false);
    if (!s.out.empty()) {
        const double seconds = examples::seconds_since(start);
        examples::write_results(s.out, "eval", seconds, static_cast<double>(rows.seen.size() + rows.unseen.size()) / seconds, metrics);
        if (!s.out.ends_with(".json")) write_report(device, s.out + "/report.html", s, model, set, rows, metrics, nullptr);
    }
    return 0;
}

int run_embed(const settings& s) {
    examples::device device = device_of(s);
    cpu_context& ctx = device.cpu();
    trimodal_model model = trimodal_model::load(s.model);
    const auto [metadata, root] = data_of(s, model);
    const specimen_set set = load_set(ctx, metadata, root, s.package, model.image_size() + model.image_size() / 4, model.has("image"));
    model.use(ctx, set);
    std::vector<index_t> rows = set.rows({s.eval_on, s.eval_on + "_unseen"});
    std::erase_if(rows, [&](index_t i) { return (model.has("image") && !set.has_image(i)) || set.label(3, i).empty(); });
    if (rows.empty()) throw value_error(metadata + ": no specimen of " + s.eval_on + " has a species and what the model needs");
    std::filesystem::create_directories(s.out);
    for (const char* m : {"image", "dna", "text"}) {
        if (!model.has(m)) continue;
        const auto e = model.embed(device, set, rows, m);
        io::write_npy(s.out + "/" + m + ".npy", tensor_view<const float, 2>(e.view()));
    }
    std::string species, ids;
    for (const index_t i : rows) {
        species += set.label(3, i) + "\n";
        ids += set.table.processid[static_cast<std::size_t>(i)] + "\n";
    }
    io::write_file(s.out + "/species.txt", species);
    io::write_file(s.out + "/processid.txt", ids);
    std::printf("%zu specimens: %s/{image,dna,text}.npy, species.txt, processid.txt\n", rows.size(), s.out.c_str());
    return 0;
}

int run_retrieve(const settings& s) {
    examples::device device = device_of(s);
    cpu_context& ctx = device.cpu();
    if (s.image.empty() == s.fasta.empty()) throw value_error("retrieve needs one of --image and --fasta");
    trimodal_model model = trimodal_model::load(s.model);
    const std::string query = s.image.empty() ? "dna" : "image";
    for (const std::string& m : {query, s.keys}) {
        if (!model.has(m)) throw value_error(s.model + ": the model has no tower for " + m);
    }
    // The query as a specimen of its own, behind the keys.
    specimen_set own;
    std::vector<std::string> names;
    if (!s.image.empty()) {
        own.images.push_back(data::shrink_to(data::read_image(s.image), model.image_size() + model.image_size() / 4));
        names.push_back(s.image);
        own.table.barcode.emplace_back();
    } else {
        for (const auto& record : data::read_fasta(s.fasta)) {
            names.push_back(record.id);
            own.table.barcode.push_back(record.sequence);
        }
        if (names.empty()) throw parse_error(s.fasta, "no record");
        own.images.resize(names.size());
    }
    own.text.resize(names.size());
    std::vector<index_t> query_rows(names.size());
    for (std::size_t i = 0; i < names.size(); ++i) query_rows[i] = static_cast<index_t>(i);
    model.use(ctx, own);
    const auto q = model.embed(device, own, query_rows, query);
    const auto [metadata, root] = data_of(s, model);
    const specimen_set set = load_set(ctx, metadata, root, s.package, model.image_size() + model.image_size() / 4, !root.empty());
    model.use(ctx, set);
    std::vector<index_t> rows = set.rows({"train", "key_unseen"});
    rows = usable(set, std::move(rows), s.keys);
    if (rows.empty()) throw value_error(metadata + ": no specimen of the splits train and key_unseen has what " + s.keys + " needs");
    const auto k = model.embed(device, set, rows, s.keys);
    const auto near = cluster::knn(ctx, tensor_view<const float, 2>(q.view()), tensor_view<const float, 2>(k.view()),
                                   {.k = std::min<index_t>(s.n_neighbors, k.extent(0)), .metric = cluster::knn_metric::inner_product});
    examples::html_report report("Specimens like the query", "clip_trimodal retrieve");
    for (std::size_t i = 0; i < names.size(); ++i) {
        std::printf("%s\n", names[i].c_str());
        examples::text_table table({"rank", "cosine", "specimen", "order", "family", "genus", "species"});
        std::vector<examples::gallery_item> items;
        report.section(names[i]);
        if (own.images[i].height > 0) items.push_back({data::encode_jpeg(data::shrink_to(own.images[i], 96)), "image/jpeg", "query", true});
        for (index_t r = 0; r < near.index.extent(1); ++r) {
            const index_t at = near.index(static_cast<index_t>(i), r), row = rows[static_cast<std::size_t>(at)];
            float cosine = 0.0f;
            for (index_t d = 0; d < q.extent(1); ++d) cosine += q(static_cast<index_t>(i), d) * k(at, d);
            char text[16];
            std::snprintf(text, sizeof text, "%.3f", static_cast<double>(cosine));
            table.add_row({std::to_string(r + 1), text, set.table.processid[static_cast<std::size_t>(row)], set.label(0, row), set.label(1, row), set.label(2, row), set.label(3, row)});
            if (set.has_image(row)) items.push_back({data::encode_jpeg(data::shrink_to(set.images[static_cast<std::size_t>(row)], 96)), "image/jpeg", set.text[static_cast<std::size_t>(row)] + ", " + text, true});
        }
        std::printf("%s\n", table.text().c_str());
        if (!items.empty()) report.gallery(items);
    }
    if (!s.out.empty()) report.write(s.out);
    return 0;
}

}  // namespace clip_trimodal
