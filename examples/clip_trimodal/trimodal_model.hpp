#ifndef INSTAR_EXAMPLES_CLIP_TRIMODAL_TRIMODAL_MODEL_HPP
#define INSTAR_EXAMPLES_CLIP_TRIMODAL_TRIMODAL_MODEL_HPP

// A contrastive model with everything its inputs need: how barcodes become tokens, the text's vocabulary, the pictures' size.
//
//     trimodal_model model = trimodal_model::create(ctx, settings, set, train_rows);    // or trimodal_model::load("run/")
//     nn::clip_batch<float> batch = model.batch(ctx, memory, set, rows, augment, rng);
//     tensor<float, 2> e = model.embed(device, set, rows, "dna");                         // unit rows
//     device.run([&](auto& ctx) { auto& clip = model.on(ctx); … });                       // the network where ctx computes
//     model.save("run/");
//
// Folder: config.json and model.safetensors with CLIBD's names (nn/clip_io.hpp), "instar" in the config; anchor.safetensors; vocab.txt.

#include <map>
#include <memory>
#include <set>

#include "instar/data/image_warp.hpp"
#include "instar/nn/bert_io.hpp"
#include "instar/nn/clip_io.hpp"
#include "instar/tokenize/tokenizer_json.hpp"

#include "common/device.hpp"
#include "dna_barcode/barcodes.hpp"

#include "settings.hpp"
#include "specimen_set.hpp"

namespace clip_trimodal {

/// A batch's inputs; kept from step to step.
struct batch_memory {
    tensor<float, 4> images;
    dna_barcode::token_batch dna;
    tensor<std::int32_t, 2> dna_clibd;
    tokenize::text_batch text;
    tensor<std::uint8_t, 1> image_there;
};

class trimodal_model {
public:
    static trimodal_model create(cpu_context& ctx, const settings& s, const specimen_set& set, std::span<const index_t> train_rows) {
        trimodal_model m;
        const auto wants = [&](const char* name) { return std::find(s.modalities.begin(), s.modalities.end(), name) != s.modalities.end(); };
        const bool paper = s.preset == "paper";
        nn::clip_config c{.d_embedding = s.output_dim};
        if (s.loss == "siglip") {
            c.initial_logit_scale = std::log(10.0);
            c.initial_logit_bias = -10.0;
        }
        m.image_size_ = s.image_size;
        m.max_len_ = s.max_len;
        m.text_length_ = s.text_length;
        m.clibd_tokens_ = paper;
        m.k_ = paper ? 5 : s.k_mer;
        if (wants("image")) {
            if (!s.image_model.empty()) c.vit = nn::load_vit<float>(s.image_model).config();
            else if (paper) c.vit = nn::vit_config::base();
            else c.resnet = nn::resnet_config{.n_blocks = {1, 1, 1, 1}, .bottleneck = false, .width = 24, .stem = nn::resnet_stem::small_image};
            if (c.vit) m.image_size_ = static_cast<int>(c.vit->image_size);
        }
        if (wants("dna")) {
            std::vector<std::string_view> barcodes;
            for (const index_t r : train_rows) barcodes.push_back(set.table.barcode[static_cast<std::size_t>(r)]);
            data::barcode_anchor anchor;
            if (!s.dna_model.empty()) {
                // Its own k and tokens; its vocabulary tells k.
                const auto bert = nn::load_bert<float>(s.dna_model);
                m.k_ = 1;
                while (m.k_ < 12 && (index_t{1} << (2 * m.k_)) + 2 != bert.config().vocab_size) ++m.k_;
                if (m.k_ == 12) throw value_error(s.dna_model + ": a vocabulary of " + std::to_string(bert.config().vocab_size) + " is not 4^k + 2: no model of k-mers");
                m.clibd_tokens_ = false;
                c.dna = bert.config();
                c.dna->n_labels = 0;
                if (std::filesystem::exists(s.dna_model + "/anchor.safetensors")) anchor = load_anchor(s.dna_model);
            } else if (paper) {
                c.dna = nn::bert_config{.vocab_size = 1027};
            } else {
                c.dna = nn::bert_config{.vocab_size = (index_t{1} << (2 * m.k_)) + 2, .d_model = 96, .n_layers = 2, .n_heads = 4, .d_ff = 384, .dropout = 0.0f, .attention_dropout = 0.0f};
            }
            if (s.anchor && !paper && s.dna_model.empty()) anchor = data::barcode_anchor::learn(ctx, barcodes, {.n_columns = s.max_len});
            m.barcodes_ = std::make_unique<dna_barcode::barcode_encoder>(tokenize::kmer_options{.k = m.k_, .max_length = m.max_len_}, std::move(anchor));
            c.dna_pooling = paper ? nn::clip_pooling::softmax_mean : nn::clip_pooling::masked_mean;
        }
        if (wants("text")) {
            m.make_vocabulary(s, set, train_rows);
            if (!s.text_model.empty()) c.text = nn::load_bert<float>(s.text_model).config();
            else if (paper) c.text = nn::bert_config{.vocab_size = m.text_->vocab_size(), .d_model = 512, .n_layers = 4, .n_heads = 8, .d_ff = 2048};
            else c.text = nn::bert_config{.vocab_size = m.text_->vocab_size(), .d_model = 64, .n_layers = 2, .n_heads = 2, .d_ff = 256, .max_positions = 64, .dropout = 0.0f, .attention_dropout = 0.0f};
            if (c.text->vocab_size < m.text_->vocab_size()) throw value_error(s.text_model + ": its vocabulary of " + std::to_string(c.text->vocab_size) + " is smaller than the tokenizer's");
            c.text->n_labels = 0;
        }
        m.clip_ = std::make_unique<nn::clip<float>>(c, philox{.seed = s.seed, .stream = 9});
        const auto start = [](tensor_view<float, 1> to, tensor_view<const float, 1> from) { std::copy_n(from.data(), std::min(to.size(), from.size()), to.data()); };
        if (!s.dna_model.empty() && c.dna) start(m.clip_->dna_tower()->encoder.parameters(), std::as_const(*std::make_unique<nn::bert<float>>(nn::load_bert<float>(s.dna_model))).parameters());
        if (!s.text_model.empty() && c.text) start(m.clip_->text_tower()->encoder.parameters(), std::as_const(*std::make_unique<nn::bert<float>>(nn::load_bert<float>(s.text_model))).parameters());
        if (!s.image_model.empty() && c.vit) {
            // By name: the classifier is another.
            auto from = nn::load_vit<float>(s.image_model);
            auto& to = *m.clip_->image_tower()->vit;
            const auto theirs = nn::named_parameters(from.layout(), from.parameters());
            for (auto& p : nn::named_parameters(to.layout(), to.parameters())) {
                for (const auto& q : theirs) {
                    if (q.name != p.name || q.shape != p.shape || p.name.starts_with("head.")) continue;
                    std::copy_n(static_cast<const float*>(q.data), io::element_count(p.shape), static_cast<float*>(p.data));
                }
            }
        }
        return m;
    }

    static trimodal_model load(const std::string& folder) {
        trimodal_model m;
        m.clip_ = std::make_unique<nn::clip<float>>(nn::load_clip<float>(folder));
        const auto& c = m.clip_->config();
        const io::hf_folder files(folder);
        const io::json_view config = files.config_view();
        if (config.has("instar")) {
            const io::json_view own = config.child("instar");
            m.image_size_ = own.get<int>("image_size");
            m.max_len_ = own.get<int>("max_len");
            m.k_ = own.get<int>("k_mer");
            m.text_length_ = own.get<int>("text_length");
            m.clibd_tokens_ = own.get<bool>("clibd_tokens");
            m.metadata_ = own.get_or<std::string>("metadata", "");
            m.images_root_ = own.get_or<std::string>("images", "");
        } else {
            // CLIBD's: 5-mers behind three special tokens, 20 tokens of text, the ViT's own size.
            m.clibd_tokens_ = true;
            m.k_ = 5;
            m.max_len_ = 660;
            m.text_length_ = 20;
            m.image_size_ = c.vit ? static_cast<int>(c.vit->image_size) : 224;
        }
        if (c.dna) {
            data::barcode_anchor anchor;
            if (std::filesystem::exists(folder + "/anchor.safetensors")) anchor = load_anchor(folder);
            m.barcodes_ = std::make_unique<dna_barcode::barcode_encoder>(tokenize::kmer_options{.k = m.k_, .max_length = m.max_len_}, std::move(anchor));
        }
        if (c.text) m.text_ = tokenize::load_tokenizer(folder);
        return m;
    }

    void save(const std::string& folder, const std::string& metadata, const std::string& images) {
        std::filesystem::create_directories(folder);
        if (barcodes_ && barcodes_->anchored()) {
            auto profile = barcodes_->anchor().profile();
            const std::vector<io::named_tensor> tensors{{"profile", {profile.extent(0), profile.extent(1)}, profile.data()}};
            io::write_safetensors(folder + "/anchor.safetensors", tensors);
        }
        if (text_) {
            std::string vocab;
            for (const auto& t : text_->vocabulary().tokens()) vocab += t + "\n";
            io::write_file(folder + "/vocab.txt", vocab);
        }
        nn::save_clip(*clip_, folder,
                      {{"instar",
                        {{"image_size", image_size_}, {"max_len", max_len_}, {"k_mer", k_}, {"text_length", text_length_}, {"clibd_tokens", clibd_tokens_}, {"metadata", metadata}, {"images", images}}}});
    }

    /// The network on the host: what is loaded and saved.
    nn::clip<float>& clip() { return *clip_; }
    /// The network where ctx computes: the host's, or its copy on the device, made once. Who changes one brings the other up to date.
    template <class Context>
    nn::clip<float, typename Context::memory>& on(Context& ctx) const {
        if constexpr (is_host_memory<typename Context::memory>) {
            return *clip_;
        } else {
            if (!placed_) {
                placed_ = std::make_unique<nn::clip<float, examples::device_memory>>(clip_->config());
                nn::copy_parameters(ctx, *placed_, *clip_);
            }
            return *placed_;
        }
    }
    bool has(std::string_view modality) const {
        const auto& c = clip_->config();
        return modality == "image" ? c.has_image() : modality == "dna" ? c.dna.has_value() : modality == "text" && c.text.has_value();
    }
    int image_size() const { return image_size_; }
    const std::string& metadata() const { return metadata_; }      // what it was trained on
    const std::string& images_root() const { return images_root_; }
    int text_length() const { return text_length_; }

    /// Places of the set's barcodes, once: they cost more than the tokens.
    void use(cpu_context& ctx, const specimen_set& set) {
        if (barcodes_) shifts_ = barcodes_->shifts(ctx, set.table.barcode);
    }

    /// Inputs of some rows. which: empty = all modalities of the model. Augments pictures when asked: crop, mirrors, turn, light.
    nn::clip_batch<float> batch(cpu_context& ctx, batch_memory& memory, const specimen_set& set, std::span<const index_t> rows, bool augment, philox rng, std::string_view which = "") const {
        const auto n = static_cast<index_t>(rows.size());
        nn::clip_batch<float> b;
        const auto wanted = [&](const char* m) { return has(m) && (which.empty() || which == m); };
        if (wanted("image")) {
            if (memory.images.extent(0) != n) {
                memory.images = tensor<float, 4>({n, 3, image_size_, image_size_});
                memory.image_there = tensor<std::uint8_t, 1>({n});
            }
            parallel_for(ctx, n, 4, [&](index_t begin, index_t end) {
                for (index_t i = begin; i < end; ++i) {
                    const index_t row = rows[static_cast<std::size_t>(i)];
                    const data::image& x = set.images[static_cast<std::size_t>(row)];
                    memory.image_there(i) = x.height > 0;
                    float* to = &memory.images(i, 0, 0, 0);
                    if (x.height == 0) {
                        std::fill_n(to, 3 * image_size_ * image_size_, 0.0f);
                        continue;
                    }
                    const philox own = rng.fork(static_cast<std::uint64_t>(row));
                    data::warp_options options;
                    data::affine_map map = data::center_map(x, image_size_);
                    if (augment) {
                        map = data::random_affine(x, image_size_, {.scale_min = 0.6f, .rotation = 20.0f, .mirror = true, .flip = false}, own.fork(1));
                        options.brightness = 0.8f + 0.4f * own.uniform(3);
                    }
                    data::warp_image(tensor_view<float, 3>(to, {3, image_size_, image_size_}), x, map, options);
                }
            });
            b.images = memory.images.view();
        }
        if (wanted("dna")) {
            barcodes_->encode(ctx, memory.dna, set.table.barcode, shifts_, rows, {}, rng);
            if (clibd_tokens_) {
                // CLIBD's ids: one more for <MASK> <CLS> <UNK>, a leading 0, no mask.
                const index_t t = memory.dna.ids.extent(1);
                if (memory.dna_clibd.extent(0) != n) memory.dna_clibd = tensor<std::int32_t, 2>({n, t + 1});
                for (index_t i = 0; i < n; ++i) {
                    memory.dna_clibd(i, 0) = 0;
                    for (index_t k = 0; k < t; ++k) memory.dna_clibd(i, k + 1) = memory.dna.ids(i, k) + 1;
                }
                b.dna = memory.dna_clibd.view();
            } else {
                b.dna = memory.dna.ids.view();
                b.dna_mask = memory.dna.mask.view();
            }
        }
        if (wanted("text")) {
            std::vector<std::string_view> texts;
            for (const index_t r : rows) texts.push_back(set.text[static_cast<std::size_t>(r)]);
            memory.text = text_->encode(ctx, texts, {.max_length = text_length_, .padding = tokenize::padding::max_length});
            b.text = memory.text.ids.view();
            b.text_mask = memory.text.mask.view();
        }
        return b;
    }

    /// Unit vectors of one modality, [rows, output_dim].
    tensor<float, 2> embed(examples::device& device, const specimen_set& set, std::span<const index_t> rows, std::string_view modality) const {
        constexpr std::size_t k_batch = 128;
        tensor<float, 2> y({static_cast<index_t>(rows.size()), clip_->config().d_embedding});
        batch_memory memory;
        for (std::size_t begin = 0; begin < rows.size(); begin += k_batch) {
            const auto part = rows.subspan(begin, std::min(k_batch, rows.size() - begin));
            const auto inputs = batch(device.cpu(), memory, set, part, false, {}, modality);
            const auto e = device.run([&](auto& ctx) { return on(ctx).embed(ctx, inputs, static_cast<index_t>(part.size())); });
            const auto& from = modality == "image" ? e.image : modality == "dna" ? e.dna : e.text;
            std::copy_n(from.data(), from.size(), y.data() + static_cast<index_t>(begin) * y.extent(1));
        }
        return y;
    }

private:
    static data::barcode_anchor load_anchor(const std::string& folder) {
        const io::safetensors_file file(folder + "/anchor.safetensors");
        const auto& shape = file.info("profile").shape;
        if (shape.size() != 2) throw parse_error(folder + "/anchor.safetensors", "tensor profile must have two dimensions");
        tensor<float, 2> profile({shape[0], shape[1]});
        file.read_into("profile", profile);
        return data::barcode_anchor::from_profile(profile);
    }

    /// A given one, or: special tokens, characters, and every word that five training specimens share.
    void make_vocabulary(const settings& s, const specimen_set& set, std::span<const index_t> rows) {
        const std::string& from = !s.vocab.empty() ? s.vocab : s.text_model;
        if (!from.empty()) {
            text_ = tokenize::load_tokenizer(from);
            return;
        }
        if (s.preset == "paper") throw value_error("--preset paper needs --vocab or --text-model: BERT's vocab.txt for the text");
        std::map<std::string, int> count;
        std::set<std::string> characters;
        for (const index_t r : rows) {
            std::string word;
            for (const char c : set.text[static_cast<std::size_t>(r)] + " ") {
                const auto u = static_cast<unsigned char>(c);
                if (std::isalnum(u) != 0) {
                    word += static_cast<char>(std::tolower(u));
                    characters.insert(std::string(1, word.back()));
                } else {
                    if (!word.empty()) ++count[word];
                    word.clear();
                    if (u < 128 && c != ' ') characters.insert(std::string(1, c));
                }
            }
        }
        std::vector<std::string> tokens{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
        for (const auto& c : characters) tokens.insert(tokens.end(), {c, "##" + c});
        for (const auto& [word, n] : count) {
            if (n >= 5 && word.size() > 1) tokens.push_back(word);
        }
        text_ = std::make_unique<tokenize::wordpiece>(std::move(tokens));
    }

    std::unique_ptr<nn::clip<float>> clip_;
    mutable std::unique_ptr<nn::clip<float, examples::device_memory>> placed_;  // see on()
    std::unique_ptr<dna_barcode::barcode_encoder> barcodes_;
    std::unique_ptr<tokenize::text_tokenizer> text_;
    std::vector<int> shifts_;
    int image_size_ = 32, max_len_ = 660, k_ = 4, text_length_ = 20;
    bool clibd_tokens_ = false;
    std::string metadata_, images_root_;
};

}  // namespace clip_trimodal

#endif
