#include <unordered_map>

#include "instar/nn/lora.hpp"
#include "instar/ops/elementwise.hpp"
#include "instar/optim/adamw.hpp"
#include "instar/train/batch_order.hpp"

#include "tasks.hpp"

namespace clip_trimodal {

namespace {

/// Equal numbers make partners; a sample without a label is only its own.
std::vector<std::int32_t> partner_labels(const settings& s, const specimen_set& set) {
    const auto n = static_cast<std::size_t>(set.size());
    std::vector<std::int32_t> labels;
    if (s.partners == "index") return labels;
    const auto& names = s.partners == "barcode" ? set.table.barcode : set.table.label[dna_barcode::rank_index(s.partners == "bin" ? "dna_bin" : "species")];
    std::unordered_map<std::string_view, std::int32_t> number;
    std::int32_t next = 0;
    for (std::size_t i = 0; i < n; ++i) {
        if (names[i].empty()) labels.push_back(next++);
        else if (const auto [at, fresh] = number.try_emplace(names[i], next); labels.push_back(at->second), fresh) ++next;
    }
    return labels;
}

template <class Context>
examples::training_summary train_on(Context& ctx, cpu_context& cpu, const settings& s, const specimen_set& set, std::span<const index_t> rows, trimodal_model& model) {
    using memory = typename Context::memory;
    auto& clip = model.on(ctx);
    const std::vector<std::int32_t> labels = partner_labels(s, set);
    // What is trained: every part of the model, or adapters of the encoders, with the heads and the temperature.
    struct trained {
        std::string name;
        tensor_view<float, 1> parameters, gradients;
        nn::clip_part<float> part;
        std::unique_ptr<nn::lora<float, memory>> adapters{};
        std::unique_ptr<optim::adamw<float, memory>> optimiser{};
    };
    std::vector<trained> all;
    examples::trainable what{.state = {}, .set_steps = {}, .update = {}};
    examples::host_copies<Context> copies(ctx);
    const auto on_host = model.clip().parts();
    for (auto& p : clip.parts()) {
        // The model that is saved follows, whether its own parameters are trained or adapters are.
        const auto here = copies.add(p.parameters, on_host[all.size()].parameters);
        trained t{p.name, p.parameters, p.gradients, p};
        if (s.lora_rank > 0 && (p.name == "image" || p.name == "dna" || p.name == "text")) {
            if (p.name == "image" && !clip.config().vit) throw value_error("--lora-rank: the image tower is a ResNet, without queries and values; start from a vision transformer with --image-model, or leave image out");
            const std::vector<std::string> whole = p.name == "image" ? std::vector<std::string>{"head."} : std::vector<std::string>{};
            t.adapters = std::make_unique<nn::lora<float, memory>>(ctx, *p.layout, p.parameters, nn::lora_config{.rank = s.lora_rank, .whole = whole}, philox{s.seed, 5}.fork(all.size()));
            t.parameters = t.adapters->parameters();
            t.gradients = t.adapters->gradients();
        }
        t.optimiser = std::make_unique<optim::adamw<float, memory>>(t.parameters.size(), optim::adamw_config{.weight_decay = s.weight_decay});
        const std::vector<index_t> shape{t.parameters.size()};
        what.state.emplace_back(t.name, shape, (t.adapters ? copies.add(t.parameters) : here).data());
        what.state.emplace_back(t.name + ".adamw.m", shape, copies.add(t.optimiser->m()).data());
        what.state.emplace_back(t.name + ".adamw.v", shape, copies.add(t.optimiser->v()).data());
        all.push_back(std::move(t));
    }
    if (const auto [layout, values] = clip.buffers(); layout != nullptr) {
        what.state.emplace_back("image.running", std::vector<index_t>{values.size()}, copies.add(values, model.clip().buffers().second).data());
    }
    what.to_host = [&] { copies.to_host(); };
    what.to_device = [&] { copies.to_device(); };
    what.set_steps = [&](index_t steps) {
        for (auto& t : all) {
            t.optimiser->set_steps(steps);
            if (t.adapters) t.adapters->merge(ctx);
        }
    };
    what.update = [&](const optim::rates& r) {
        for (auto& t : all) {
            if (t.name == "logit_scale" && s.fix_temperature) continue;
            if (t.adapters) {
                ops::fill<float>(ctx, t.gradients, 0.0f);
                t.adapters->pull(ctx, t.part.gradients);
            }
            t.optimiser->step(ctx, t.parameters, t.gradients, r);
            if (t.adapters) t.adapters->merge(ctx);
        }
        clip.zero_gradients(ctx);
    };
    static const std::map<std::string, int> k_modality{{"", -1}, {"image", 0}, {"dna", 1}, {"text", 2}};
    nn::clip_loss_options options{.chunk = s.chunk};
    options.contrastive.bind_to = k_modality.at(s.bind_to);
    if (s.loss == "siglip") options.loss = nn::clip_loss::siglip;
    const examples::fit_plan plan{.task = "train", .n_epochs = s.epochs, .batch_size = s.batch_size, .max_lr = s.max_lr, .seed = s.seed, .out = s.out, .checkpoint = "", .log_interval = s.log_interval, .quiet = s.quiet,
                                  .fingerprint = {{"weight_decay", s.weight_decay}, {"partners", s.partners}, {"bind_to", s.bind_to}, {"chunk", s.chunk}, {"output_dim", s.output_dim}, {"modalities", s.modalities},
                                                  {"image_size", s.image_size}, {"preset", s.preset}, {"fix_temperature", s.fix_temperature}, {"loss", s.loss}, {"lora_rank", s.lora_rank}, {"bf16", s.bf16}}};
    batch_memory inputs;
    tensor<std::int32_t, 1> batch_labels({s.batch_size});
    tensor<std::uint8_t, 1> dna_there({s.batch_size});
    const bool all_barcodes = std::none_of(rows.begin(), rows.end(), [&](index_t i) { return set.table.barcode[static_cast<std::size_t>(i)].empty(); });
    return examples::fit(
        what, plan,
        [&](index_t epoch) {
            auto order = train::epoch_order(static_cast<index_t>(rows.size()), philox{s.seed, 2}, epoch);
            for (index_t& i : order) i = rows[static_cast<std::size_t>(i)];
            return order;
        },
        [&](std::span<const index_t> samples, index_t, philox rng) {
            const auto batch = model.batch(cpu, inputs, set, samples, true, rng.fork(1));
            if (!labels.empty()) {
                for (std::size_t i = 0; i < samples.size(); ++i) batch_labels(static_cast<index_t>(i)) = labels[static_cast<std::size_t>(samples[i])];
                options.labels = batch_labels.view();
            }
            if (set.n_missing > 0 && batch.images.data() != nullptr) options.image_there = inputs.image_there.view();
            if (!all_barcodes && batch.dna.data() != nullptr) {
                for (std::size_t i = 0; i < samples.size(); ++i) dna_there(static_cast<index_t>(i)) = !set.table.barcode[static_cast<std::size_t>(samples[i])].empty();
                options.dna_there = dna_there.view();
            }
            return clip.accumulate(ctx, batch, options, rng.fork(2));
        });
}

}  // namespace

examples::training_summary train(examples::device& device, const settings& s, const specimen_set& set, std::span<const index_t> rows, trimodal_model& model) {
    return device.run([&](auto& ctx) { return train_on(ctx, device.cpu(), s, set, rows, model); });
}

}  // namespace clip_trimodal
