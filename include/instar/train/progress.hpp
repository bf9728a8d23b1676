#ifndef INSTAR_TRAIN_PROGRESS_HPP
#define INSTAR_TRAIN_PROGRESS_HPP

// A progress bar for a loop of known length: rate, loss, time left. In a log file or a pipe, plain lines at intervals instead.
//
//     train::progress bar(std::cerr, {.n_samples = n, .label = "epoch 3/10", .terminal = train::is_terminal(STDERR_FILENO)});
//     for (…) { step(); bar.advance(batch_size, loss); }
//     bar.finish();
//
//     epoch 3/10  ━━━━━━━━━━╌╌╌╌╌╌╌╌╌╌  52 %  7,616/14,665  412 samples/s  loss 1.2034  17 s left      (a terminal)
//     epoch 3/10: 7616/14665 samples (52 %), 412 samples/s, loss 1.2034, 17 s left                     (elsewhere)
//
// The rate is that of the last seconds, not of the whole run; the last line gives the whole run's. The clock can be replaced.

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <limits>
#include <ostream>
#include <string>

#include "instar/core/element.hpp"

namespace instar::train {

/// Whether a file descriptor is a terminal that understands a carriage return.
inline bool is_terminal(int descriptor) { return ::isatty(descriptor) == 1; }

/// Columns of a terminal; 80 when it does not say.
inline int terminal_columns(int descriptor) {
    struct winsize size {};
    return ::ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

/// Seconds of a steady clock.
inline double steady_seconds() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// "7 s", "3 min 20 s", "2 h 05 min"
inline std::string duration_text(double seconds) {
    if (!std::isfinite(seconds) || seconds < 0 || seconds > 3.6e8) return "?";
    const auto s = static_cast<long long>(std::llround(seconds));
    char text[64];
    if (s < 60) std::snprintf(text, sizeof text, "%lld s", s);
    else if (s < 3600) std::snprintf(text, sizeof text, "%lld min %02lld s", s / 60, s % 60);
    else std::snprintf(text, sizeof text, "%lld h %02lld min", s / 3600, s % 3600 / 60);
    return text;
}

struct progress_options {
    index_t n_samples = 0;         ///< of the whole loop; 0 = unknown: no bar, no time left
    index_t n_done = 0;            ///< already done before this process began: a resumed run
    std::string label{};           ///< "epoch 3/10"
    std::string unit = "samples";
    bool terminal = false;         ///< redraw one line; false: plain lines
    int columns = 80;              ///< of the terminal
    double interval = 0.0;         ///< seconds between two outputs; 0 = 0.1 on a terminal, 10 elsewhere
    double (*clock)() = &steady_seconds;
};

/// Prints where a loop stands. Writes to the stream it is given, and nowhere else.
class progress {
public:
    progress(std::ostream& out, progress_options options)
        : out_(out), options_(std::move(options)), done_(options_.n_done), rated_(done_), begin_(options_.clock()), last_shown_(begin_), last_rated_(begin_) {
        if (options_.interval <= 0) options_.interval = options_.terminal ? 0.1 : 10.0;
    }
    progress(const progress&) = delete;
    progress& operator=(const progress&) = delete;
    ~progress() {
        // Leave the cursor on a line of its own even when an exception ends the loop.
        if (drawn_ && !finished_) out_ << '\n' << std::flush;
    }

    /// `n` more samples are done.
    void advance(index_t n) {
        done_ += n;
        const double now = options_.clock();
        update_rate(now);
        if (now - last_shown_ < options_.interval) return;
        last_shown_ = now;
        show(rate_, remaining(), false);
    }
    /// The same, with the loss of the last step. A NaN is shown: a diverged run should be seen.
    void advance(index_t n, double loss) {
        has_loss_ = true;
        loss_ = loss;
        advance(n);
    }
    /// The last line: the whole run's rate and time.
    void finish() {
        if (finished_) return;
        finished_ = true;
        const double seconds = options_.clock() - begin_;
        show(seconds > 0 ? static_cast<double>(done_ - options_.n_done) / seconds : 0.0, seconds, true);
    }

    index_t done() const noexcept { return done_; }
    /// Samples a second, lately.
    double rate() const noexcept { return rate_; }

private:
    void update_rate(double now) {
        const double seconds = now - last_rated_;
        if (seconds < 0.5 && rate_ > 0) return;
        if (seconds <= 0) return;
        const double recent = static_cast<double>(done_ - rated_) / seconds;
        // Forgets with a time constant of 15 seconds, whatever the steps' length.
        const double keep = rate_ > 0 ? std::exp(-seconds / 15.0) : 0.0;
        rate_ = keep * rate_ + (1 - keep) * recent;
        rated_ = done_;
        last_rated_ = now;
    }
    double remaining() const {
        return rate_ > 0 ? static_cast<double>(options_.n_samples - done_) / rate_ : std::numeric_limits<double>::infinity();
    }
    static bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; }
    /// Code points of a UTF-8 text; every character used here takes one column.
    static int columns_of(const std::string& s) {
        return static_cast<int>(std::count_if(s.begin(), s.end(), [](char c) { return !is_continuation(c); }));
    }
    static std::string grouped(index_t n) {
        std::string s = std::to_string(n);
        for (std::size_t i = s.size(); i > 3 && i <= s.size(); i -= 3) s.insert(i - 3, ",");
        return s;
    }
    static std::string number(double v) {
        char text[32];
        if (std::abs(v) >= 100) std::snprintf(text, sizeof text, "%.0f", v);
        else std::snprintf(text, sizeof text, "%.3g", v);
        return text;
    }
    std::string loss_text() const {
        char text[32];
        std::snprintf(text, sizeof text, "loss %.4f", loss_);
        return std::isnan(loss_) ? "loss nan" : text;
    }

    void show(double rate, double seconds, bool last) {
        const bool known = options_.n_samples > 0;
        const double share = known ? std::min(1.0, static_cast<double>(done_) / static_cast<double>(options_.n_samples)) : 0.0;
        const std::string percent = std::to_string(static_cast<int>(share * 100)) + " %";
        const std::string time = last ? "in " + duration_text(seconds) : known ? duration_text(seconds) + " left" : "";
        const std::string speed = number(rate) + " " + options_.unit + "/s";
        if (!options_.terminal) {
            std::string line = options_.label + (options_.label.empty() ? "" : ": ") + std::to_string(done_);
            if (known) line += "/" + std::to_string(options_.n_samples);
            line += " " + options_.unit + (known ? " (" + percent + ")" : "") + ", " + speed;
            if (has_loss_) line += ", " + loss_text();
            if (!time.empty()) line += ", " + time;
            out_ << line << '\n' << std::flush;
            return;
        }
        std::string tail;
        if (known) tail += "  " + percent;
        tail += "  " + grouped(done_) + (known ? "/" + grouped(options_.n_samples) : "");
        tail += "  " + speed;
        if (has_loss_) tail += "  " + loss_text();
        if (!time.empty()) tail += "  " + time;
        // What does not fit is cut, never wrapped: a wrapped line cannot be redrawn.
        const int room = options_.columns - 1 - columns_of(options_.label) - columns_of(tail) - 2;
        std::string line = options_.label;
        if (known && room >= 5) {
            const int width = std::min(room, 30), filled = static_cast<int>(std::lround(share * width));
            line += "  ";
            for (int i = 0; i < width; ++i) line += i < filled ? "━" : "╌";
        }
        line += tail;
        while (columns_of(line) > std::max(0, options_.columns - 1)) {
            while (!line.empty() && is_continuation(line.back())) line.pop_back();
            line.pop_back();
        }
        out_ << '\r' << line << "\x1b[K";
        if (last) out_ << '\n';
        out_ << std::flush;
        drawn_ = true;
    }

    std::ostream& out_;
    progress_options options_;
    index_t done_;
    index_t rated_;  // done_ when the rate was last taken
    double begin_, last_shown_, last_rated_;
    double rate_ = 0.0;
    double loss_ = 0.0;
    bool has_loss_ = false;
    bool drawn_ = false;
    bool finished_ = false;
};

}  // namespace instar::train

#endif
