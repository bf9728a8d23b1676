#ifndef INSTAR_EXAMPLES_COMMON_FIT_HPP
#define INSTAR_EXAMPLES_COMMON_FIT_HPP

// The loop that all example trainers share: order of samples, schedule, progress, log, checkpoints, interruption.
//
//     trainable what{.state = {{"parameters", {n}, p}, {"adamw.m", {n}, m}}, .set_steps = …, .update = [&](const optim::rates& r) { … }};
//     fit(what, plan, order_of_epoch, [&](std::span<const index_t> samples, index_t first_of_step, philox rng) { return loss; });
//
// Everything is a function of the step: a resumed run computes the same bits as an uninterrupted one.

#include <chrono>
#include <filesystem>
#include <functional>
#include <iostream>
#include <optional>
#include <span>

#include "instar/core/philox.hpp"
#include "instar/io/json.hpp"
#include "instar/optim/schedule.hpp"
#include "instar/train/checkpoint.hpp"
#include "instar/train/interrupt.hpp"
#include "instar/train/log.hpp"
#include "instar/train/progress.hpp"

namespace examples {

using instar::index_t;

/// Loss curves and other facts of a training run, for results.json and the report.
struct training_summary {
    std::vector<double> step, loss;  // one point per log interval
    double seconds = 0.0;
    double samples_per_second = 0.0;
    double final_loss = 0.0;
};

/// What a run changes, and how.
struct trainable {
    std::vector<instar::io::named_tensor> state;               // all that a checkpoint must hold: parameters, the optimiser's, running statistics
    std::function<void(index_t)> set_steps;                    // tells the optimiser how many updates it has made; may be empty
    std::function<void(const instar::optim::rates&)> update;  // one step of the optimiser; then gradients are zero
    std::function<void()> to_host{};                           // brings `state` up to date, where training changes copies of it on a device
    std::function<void()> to_device{};                         // the other way: after a checkpoint was read
};

struct fit_plan {
    std::string task;
    index_t n_epochs = 1;
    index_t batch_size = 64;
    index_t accumulate = 1;
    double max_lr = 1e-4;             // already scaled by the batch
    std::uint64_t seed = 7;
    std::string out;                  // folder of log and checkpoint; empty = neither
    std::string checkpoint;           // default OUT/checkpoint.safetensors
    index_t log_interval = 100;
    bool quiet = false;
    double checkpoint_seconds = 60.0;
    instar::io::json fingerprint;     // what a checkpoint must agree with
    std::string schedule_name = "one_cycle";
    // Rates of step `step` of `total`; default: one cycle up to max_lr.
    std::function<instar::optim::rates(index_t step, index_t total, index_t steps_per_epoch)> schedule{};
};

/// Where a plan's checkpoint is: --checkpoint, or in the output folder; empty = nowhere.
inline std::string checkpoint_of(const fit_plan& plan) {
    return !plan.checkpoint.empty() ? plan.checkpoint : plan.out.empty() ? "" : plan.out + "/checkpoint.safetensors";
}

/// Whether fit() would go on from a checkpoint: then what the model starts from does not matter.
inline bool has_checkpoint(const fit_plan& plan) { return !checkpoint_of(plan).empty() && std::filesystem::exists(checkpoint_of(plan)); }

/// When it returns, and when after_epoch is called, `what.state` is that of the last step.
/// One optimiser step is `accumulate` calls of `gradients`, each over batch_size samples; it returns its share of the loss.
inline training_summary fit(const trainable& what, const fit_plan& plan,
                            const std::function<std::vector<index_t>(index_t epoch)>& order_of_epoch,
                            const std::function<double(std::span<const index_t> samples, index_t first_of_step, instar::philox rng)>& gradients,
                            const std::function<void(index_t epoch)>& after_epoch = {}) {
    using namespace instar;
    using clock = std::chrono::steady_clock;
    training_summary summary;
    const index_t per_step = plan.batch_size * plan.accumulate;
    std::vector<index_t> order = order_of_epoch(0);
    const index_t steps_per_epoch = static_cast<index_t>(order.size()) / per_step;
    if (steps_per_epoch < 1) {
        throw value_error(plan.task + ": " + std::to_string(order.size()) + " samples are fewer than one step of " + std::to_string(per_step) + "; lower --batch-size");
    }
    const index_t total = steps_per_epoch * plan.n_epochs;
    const auto rates_at = [&](index_t step) {
        return plan.schedule ? plan.schedule(step, total, steps_per_epoch) : optim::one_cycle{.max_lr = plan.max_lr, .total_steps = total}(step);
    };

    const std::string checkpoint_path = checkpoint_of(plan);
    io::json facts = plan.fingerprint;
    facts["task"] = plan.task;
    facts["epochs"] = plan.n_epochs;
    facts["batch_size"] = plan.batch_size;
    facts["accumulate"] = plan.accumulate;
    facts["max_lr"] = plan.max_lr;
    facts["seed"] = plan.seed;
    facts["n_samples"] = order.size();
    const auto save = [&](index_t step) {
        if (checkpoint_path.empty()) return;
        if (what.to_host) what.to_host();
        train::save_checkpoint(checkpoint_path,
                               {.step = step, .epoch = step / steps_per_epoch, .position = step % steps_per_epoch * per_step, .n_samples = step * per_step,
                                .seed = plan.seed, .schedule = plan.schedule_name, .config = facts.dump()},
                               what.state);
    };

    index_t step = 0;
    if (has_checkpoint(plan)) {
        // The plan first: loading would overwrite a model that the checkpoint does not belong to.
        const auto saved = train::read_checkpoint_state(checkpoint_path);
        if (io::parse_json(saved.config, checkpoint_path) != facts) {
            throw value_error(checkpoint_path + " is of another run: it holds " + saved.config + ", this run is " + facts.dump() + "; remove it or choose another --out");
        }
        train::load_checkpoint(checkpoint_path, what.state);
        if (what.to_device) what.to_device();
        step = saved.step;
        if (step < 0 || step > total) throw parse_error(checkpoint_path, "step " + std::to_string(step) + " is outside this run's " + std::to_string(total));
        if (what.set_steps) what.set_steps(step);
        if (!plan.quiet) std::cerr << plan.task << ": resuming at step " << step << " of " << total << '\n';
    }

    if (!plan.out.empty()) std::filesystem::create_directories(plan.out);
    std::optional<train::jsonl_log> log;
    if (!plan.out.empty()) log.emplace(plan.out + "/log.jsonl");
    train::interrupt_guard interrupt;
    std::optional<train::progress> progress;
    if (!plan.quiet) {
        progress.emplace(std::cerr, train::progress_options{.n_samples = total * per_step, .n_done = step * per_step, .label = plan.task,
                                                            .terminal = train::is_terminal(2), .columns = train::terminal_columns(2)});
    }

    const auto start = clock::now();
    auto last_save = start;
    const index_t first_step = step;
    double interval_loss = 0.0, smooth = 0.0;
    index_t interval_steps = 0, order_epoch = 0;
    for (; step < total; ++step) {
        const index_t epoch = step / steps_per_epoch, in_epoch = step % steps_per_epoch;
        if (epoch != order_epoch) {
            order = order_of_epoch(epoch);
            order_epoch = epoch;
        }
        const philox rng = philox{plan.seed, 0}.fork(static_cast<std::uint64_t>(step) + 1);
        double loss = 0.0;
        for (index_t a = 0; a < plan.accumulate; ++a) {
            const auto begin = static_cast<std::size_t>(in_epoch * per_step + a * plan.batch_size);
            loss += gradients(std::span<const index_t>(order).subspan(begin, static_cast<std::size_t>(plan.batch_size)), in_epoch * per_step,
                              rng.fork(static_cast<std::uint64_t>(a)));
        }
        if (!std::isfinite(loss)) {
            throw error(plan.task + ": the loss is not finite at step " + std::to_string(step) + "; the last checkpoint is kept; lower --lr");
        }
        const optim::rates rates = rates_at(step);
        what.update(rates);
        interval_loss += loss;
        ++interval_steps;
        smooth = step == first_step ? loss : 0.95 * smooth + 0.05 * loss;
        if (progress) progress->advance(per_step, smooth);
        const bool last = step + 1 == total;
        if (interval_steps == plan.log_interval || last) {
            summary.step.push_back(static_cast<double>(step + 1));
            summary.loss.push_back(interval_loss / static_cast<double>(interval_steps));
            if (log) {
                log->write({{"step", step + 1}, {"epoch", epoch}, {"loss", summary.loss.back()}, {"lr", rates.lr}, {"beta1", rates.beta1},
                            {"seconds", std::chrono::duration<double>(clock::now() - start).count()}});
            }
            interval_loss = 0.0;
            interval_steps = 0;
        }
        if (after_epoch && in_epoch + 1 == steps_per_epoch) {
            if (what.to_host) what.to_host();
            after_epoch(epoch);
        }
        if (interrupt.requested()) {
            save(step + 1);
            if (progress) progress->finish();
            throw cancelled_error(plan.task + ": interrupted at step " + std::to_string(step + 1) + " of " + std::to_string(total) +
                                  (checkpoint_path.empty() ? std::string() : "; run the same command again to go on from " + checkpoint_path));
        }
        if (std::chrono::duration<double>(clock::now() - last_save).count() >= plan.checkpoint_seconds) {
            save(step + 1);
            last_save = clock::now();
        }
    }
    if (what.to_host) what.to_host();
    if (progress) progress->finish();
    summary.seconds = std::chrono::duration<double>(clock::now() - start).count();
    summary.samples_per_second = static_cast<double>((total - first_step) * per_step) / std::max(summary.seconds, 1e-9);
    summary.final_loss = summary.loss.empty() ? 0.0 : summary.loss.back();
    return summary;
}

/// Removes the checkpoint of a finished run, once its model is saved.
inline void drop_checkpoint(const std::string& out, const std::string& checkpoint) {
    std::error_code ignored;
    const std::string path = !checkpoint.empty() ? checkpoint : out + "/checkpoint.safetensors";
    std::filesystem::remove(path, ignored);
}

}  // namespace examples

#endif
