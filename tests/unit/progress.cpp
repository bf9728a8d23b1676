// train/progress.hpp, train/log.hpp, train/interrupt.hpp: what a run tells while it goes on, and how it is stopped.
#include <doctest/doctest.h>

#include <cmath>
#include <csignal>
#include <limits>
#include <sstream>

#include "instar/io/file.hpp"
#include "instar/train/interrupt.hpp"
#include "instar/train/log.hpp"
#include "instar/train/progress.hpp"
#include "support/compare.hpp"
#include "support/temp_folder.hpp"

using namespace instar;
using test::error_text;

namespace {

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

double g_now = 0.0;  // the clock of these tests
double test_clock() { return g_now; }

}  // namespace

TEST_CASE("progress: plain lines at intervals where there is no terminal") {
    g_now = 100.0;
    std::ostringstream out;
    train::progress bar(out, {.n_samples = 1000, .label = "epoch 1/2", .interval = 5.0, .clock = test_clock});
    for (int i = 0; i < 10; ++i) {
        g_now += 2.0;
        bar.advance(100, 1.0 / (i + 1));
    }
    bar.finish();
    bar.finish();
    CHECK(bar.done() == 1000);
    CHECK(bar.rate() == doctest::Approx(50.0));
    CHECK(out.str() ==
          "epoch 1/2: 300/1000 samples (30 %), 50 samples/s, loss 0.3333, 14 s left\n"
          "epoch 1/2: 600/1000 samples (60 %), 50 samples/s, loss 0.1667, 8 s left\n"
          "epoch 1/2: 900/1000 samples (90 %), 50 samples/s, loss 0.1111, 2 s left\n"
          "epoch 1/2: 1000/1000 samples (100 %), 50 samples/s, loss 0.1000, in 20 s\n");
}

TEST_CASE("progress: one redrawn line on a terminal, never wider than it") {
    g_now = 0.0;
    for (int columns : {0, 1, 10, 40, 60, 80, 120}) {
        std::ostringstream out;
        {
            train::progress bar(out, {.n_samples = 20'000, .label = "époque 3/10", .terminal = true, .columns = columns, .clock = test_clock});
            for (int i = 0; i < 3; ++i) {
                g_now += 1.0;
                bar.advance(2'500, 0.5);
            }
            CHECK_FALSE(contains(out.str(), "\n"));
            bar.finish();
        }
        std::istringstream lines(out.str());
        std::string line;
        int n = 0;
        while (std::getline(lines, line, '\r')) {
            if (line.empty()) continue;
            ++n;
            const std::string shown = line.substr(0, line.find("\x1b[K"));
            int width = 0;
            for (const char c : shown) width += (static_cast<unsigned char>(c) & 0xc0) != 0x80;
            CHECK(width <= std::max(0, columns - 1));
            CHECK(contains(line, "\x1b[K"));
        }
        CHECK(n == 4);
        CHECK(out.str().ends_with("\x1b[K\n"));
        if (columns == 120) {
            CHECK(contains(out.str(), "\repoque 3/10") == false);
            CHECK(contains(out.str(), "époque 3/10  ━━━━╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌  12 %  2,500/20,000  2500 samples/s  loss 0.5000  7 s left"));
        }
    }
}

TEST_CASE("progress: unknown length, resumed runs, no loss, a diverged loss, a rate that changes") {
    std::ostringstream out;
    g_now = 0.0;
    train::progress unknown(out, {.unit = "barcodes", .interval = 1.0, .clock = test_clock});
    g_now = 2.0;
    unknown.advance(7);
    CHECK(out.str() == "7 barcodes, 3.5 barcodes/s\n");
    out.str("");
    g_now = 0.0;
    train::progress resumed(out, {.n_samples = 1000, .n_done = 900, .interval = 1.0, .clock = test_clock});
    g_now = 10.0;
    resumed.advance(50, std::numeric_limits<double>::quiet_NaN());
    CHECK(out.str() == "950/1000 samples (95 %), 5 samples/s, loss nan, 10 s left\n");
    out.str("");
    g_now = 0.0;
    train::progress slowing(out, {.n_samples = 1'000'000, .interval = 1000.0, .clock = test_clock});
    for (int i = 0; i < 100; ++i) g_now += 1.0, slowing.advance(1000);
    CHECK(slowing.rate() == doctest::Approx(1000.0));
    for (int i = 0; i < 100; ++i) g_now += 1.0, slowing.advance(10);
    CHECK(slowing.rate() == doctest::Approx(10.0).epsilon(0.2));  // the last seconds count, not the average of 505
    {
        std::ostringstream broken;
        train::progress bar(broken, {.n_samples = 10, .terminal = true, .clock = test_clock});
        g_now += 1;
        bar.advance(1);
        CHECK_FALSE(broken.str().ends_with("\n"));
    }
    CHECK(train::duration_text(7.4) == "7 s");
    CHECK(train::duration_text(59.6) == "1 min 00 s");
    CHECK(train::duration_text(3725) == "1 h 02 min");
    CHECK(train::duration_text(std::numeric_limits<double>::infinity()) == "?");
    CHECK(train::duration_text(-1) == "?");
    CHECK_FALSE(train::is_terminal(-1));
    CHECK(train::terminal_columns(-1) == 80);
}

TEST_CASE("log: one object a line, appended, also after a line that was cut off") {
    test::temp_folder folder;
    const std::string path = folder / "train.jsonl";
    {
        train::jsonl_log log(path);
        log.write({{"step", 12}, {"loss", 0.53125}, {"split", "val"}, {"best", true}});
        log.write({{"nan", std::nan("")}, {"text", std::string("a\"\n")}, {"big", std::uint64_t{1} << 63}, {"f", 0.1f}, {"c", std::int8_t{-3}}});
        log.write({});
    }
    CHECK(io::read_text(path) == "{\"step\":12,\"loss\":0.53125,\"split\":\"val\",\"best\":true}\n"
                                 "{\"nan\":null,\"text\":\"a\\\"\\n\",\"big\":9223372036854775808,\"f\":0.10000000149011612,\"c\":-3}\n{}\n");
    io::write_file(path, "{\"a\":1}\n{\"cut");
    train::jsonl_log(path).write({{"b", 2}});
    CHECK(io::read_text(path) == "{\"a\":1}\n{\"cut\n{\"b\":2}\n");
    train::jsonl_log(path).write({{"c", 3}});
    CHECK(io::read_text(path) == "{\"a\":1}\n{\"cut\n{\"b\":2}\n{\"c\":3}\n");
    train::jsonl_log(path, false).write({{"d", 4}});
    CHECK(io::read_text(path) == "{\"d\":4}\n");
    CHECK(contains(error_text<io_error>([&] { train::jsonl_log log(folder / "no/log"); }), "no/log: cannot open for appending: No such file"));
    if (io::exists("/dev/full")) {
        train::jsonl_log full("/dev/full");
        CHECK(error_text<io_error>([&] { full.write({{"a", 1}}); }) == "/dev/full: cannot append 8 bytes: No space left on device");
    }
}

TEST_CASE("interrupt: the first signal sets a flag, the end of the scope restores the handler") {
    static volatile std::sig_atomic_t outer = 0;
    const auto before = std::signal(SIGTERM, [](int) { outer = 1; });
    {
        train::interrupt_guard interrupt;
        CHECK_FALSE(interrupt.requested());
        CHECK(interrupt.signal_number() == 0);
        CHECK(contains(error_text<value_error>([] { train::interrupt_guard second; }), "there is one already"));
        std::raise(SIGTERM);
        CHECK(interrupt.requested());
        CHECK(interrupt.signal_number() == SIGTERM);
        CHECK(outer == 0);
    }
    std::raise(SIGTERM);
    CHECK(outer == 1);
    std::signal(SIGTERM, before);
    train::interrupt_guard again;
    CHECK_FALSE(again.requested());
}

TEST_CASE("interrupt: the second signal ends the process, whichever of the two it is") {
    for (const auto& [first, second] : {std::pair{SIGINT, SIGINT}, {SIGINT, SIGTERM}, {SIGTERM, SIGINT}}) {
        const int first_signal = first, second_signal = second;
        const int status = test::run_in_child([&] {
            std::signal(SIGINT, SIG_DFL);
            std::signal(SIGTERM, SIG_DFL);
            train::interrupt_guard interrupt;
            std::raise(first_signal);
            if (!interrupt.requested()) ::_exit(3);
            std::raise(second_signal);
        });
        CHECK(WIFSIGNALED(status));
        CHECK(WTERMSIG(status) == second_signal);
    }
}
