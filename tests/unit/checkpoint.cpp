// train/checkpoint.hpp: a checkpoint comes back exactly, or not at all; whatever happens, the previous one still loads.
#include <doctest/doctest.h>

#include <csignal>

#include "instar/train/checkpoint.hpp"
#include "support/compare.hpp"
#include "support/temp_folder.hpp"

using namespace instar;
using test::error_text;

namespace {

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// A run in miniature: parameters, two moments, and where it stands.
struct run {
    std::vector<float> values, m;
    std::vector<double> v;
    std::vector<std::int64_t> order{3, 1, 2};
    train::checkpoint_state state;

    explicit run(std::size_t n = 1000, float value = 0.0f) : values(n, value), m(n, value + 1), v(n, static_cast<double>(value) + 2) {}
    std::vector<io::named_tensor> tensors() {
        const auto n = static_cast<index_t>(values.size());
        return {{"parameters", {n}, values.data()}, {"adamw.m", {n}, m.data()}, {"adamw.v", {n / 10, 10}, v.data()}, {"order", {3}, order.data()}};
    }
};

run filled(std::size_t n, float value) {
    run r(n, value);
    r.state = {.step = static_cast<index_t>(value), .epoch = 3, .position = 4096, .n_samples = 123'456, .seed = ~0ull,
               .schedule = "one_cycle max_lr=1e-4", .config = "{\"k_mer\": 4, \"text\": \"ü\"}", .extra = {{"best", "0.25"}, {"", "x"}}};
    return r;
}

struct fixture {
    test::temp_folder folder;
    const std::string path = folder / "checkpoint.safetensors";
};

}  // namespace

TEST_CASE_FIXTURE(fixture, "checkpoint: what is saved is loaded, bit for bit") {
    run a = filled(1000, 7.0f);
    a.values[3] = -0.0f;
    a.v[5] = 1.0 / 3.0;
    train::save_checkpoint(path, a.state, a.tensors());
    run b;
    const train::checkpoint_state state = train::load_checkpoint(path, b.tensors());
    CHECK(state == a.state);
    CHECK(state.extra.at("") == "x");
    CHECK(std::memcmp(a.values.data(), b.values.data(), 4000) == 0);
    CHECK(a.m == b.m);
    CHECK(a.v == b.v);
    CHECK(a.order == b.order);
    CHECK(train::read_checkpoint_state(path) == a.state);
    CHECK(folder.names() == std::vector<std::string>{"checkpoint.safetensors"});
    const std::string bytes = io::read_text(path);
    train::save_checkpoint(path, a.state, a.tensors());
    CHECK(io::read_text(path) == bytes);  // nothing in it depends on the time or the machine
}

TEST_CASE_FIXTURE(fixture, "checkpoint: any other run is refused, with every disagreement, and its memory is untouched") {
    run a = filled(1000, 7.0f);
    train::save_checkpoint(path, a.state, a.tensors());
    run b;
    auto wanted = b.tensors();
    wanted[0].name = "weights";
    wanted[1].shape = {10, 100};
    wanted[2] = io::named_tensor("adamw.v", {100, 10}, b.m.data());
    const std::string text = error_text<parse_error>([&] { train::load_checkpoint(path, wanted); });
    CHECK(contains(text, "checkpoint.safetensors: the checkpoint does not fit this run:"));
    CHECK(contains(text, "\n  'weights' is missing in the file"));
    CHECK(contains(text, "\n  'adamw.m' has shape [1000], expected [10, 100]"));
    CHECK(contains(text, "\n  'adamw.v' has type F64, expected F32"));
    CHECK(contains(text, "\n  'parameters' is in the file, but not in this run"));
    wanted = b.tensors();
    wanted[1].shape = {10, 100};
    CHECK(contains(error_text<shape_error>([&] { train::load_checkpoint(path, wanted); }), "'adamw.m' has shape [1000], expected [10, 100]"));
    CHECK(b.values == std::vector<float>(1000, 0.0f));
    CHECK(b.m == std::vector<float>(1000, 1.0f));
}

TEST_CASE_FIXTURE(fixture, "checkpoint: damage anywhere is seen, and memory is untouched") {
    run a = filled(20, 7.0f);
    train::save_checkpoint(path, a.state, a.tensors());
    const std::string good = io::read_text(path);
    int n_seen = 0;
    for (std::size_t i = 0; i < good.size(); ++i) {
        std::string bad = good;
        bad[i] = static_cast<char>(bad[i] ^ (1 << i % 8));
        if (i >= 8 && i < good.size() && good[i] == ' ' && bad[i] != ' ') ++n_seen;  // header padding must stay blank
        std::FILE* f = std::fopen(path.c_str(), "wb");  // not io::write_file: a thousand fsyncs take their time
        std::fwrite(bad.data(), 1, bad.size(), f);
        std::fclose(f);
        run b(20);
        CAPTURE(i);
        REQUIRE_FALSE(error_text<error>([&] { train::load_checkpoint(path, b.tensors()); }).empty());
        REQUIRE(b.values == run(20).values);
        REQUIRE(b.order == run(20).order);
    }
    CHECK(n_seen > 0);
    for (const std::size_t n : {std::size_t{0}, std::size_t{7}, std::size_t{100}, good.size() / 2, good.size() - 1}) {
        io::write_file(path, good.substr(0, n));
        run b(20);
        CHECK(contains(error_text<error>([&] { train::load_checkpoint(path, b.tensors()); }), "checkpoint.safetensors"));
        CHECK(contains(error_text<error>([&] { train::read_checkpoint_state(path); }), "checkpoint.safetensors"));
    }
}

TEST_CASE_FIXTURE(fixture, "checkpoint: files that are none") {
    run a = filled(1000, 7.0f);
    io::write_safetensors(path, a.tensors(), {{"format", "pt"}});
    CHECK(contains(error_text<parse_error>([&] { train::load_checkpoint(path, a.tensors()); }), "is no checkpoint of instar"));
    io::write_safetensors(path, a.tensors(), {{"instar.checkpoint", "2"}});
    CHECK(contains(error_text<parse_error>([&] { train::load_checkpoint(path, a.tensors()); }), "checkpoint format \"2\" is not known"));
    io::safetensors_metadata m{{"instar.checkpoint", "1"}, {"step", "1"}, {"epoch", "0"}, {"position", "0"}, {"n_samples", "0"},
                               {"seed", "18446744073709551615"}, {"schedule", ""}, {"config", ""}};
    io::write_safetensors(path, a.tensors(), m);
    CHECK(train::read_checkpoint_state(path).seed == ~0ull);
    CHECK(contains(error_text<parse_error>([&] { train::load_checkpoint(path, a.tensors()); }), "the file says nothing: the file is damaged"));
    for (const char* bad : {"", "-1", "1.5", "1 ", "99999999999999999999"}) {
        m["step"] = bad;
        io::write_safetensors(path, a.tensors(), m);
        CHECK(contains(error_text<parse_error>([&] { train::read_checkpoint_state(path); }), "the checkpoint's 'step' is \"" + std::string(bad) + "\""));
    }
    m.erase("step");
    io::write_safetensors(path, a.tensors(), m);
    CHECK(contains(error_text<parse_error>([&] { train::read_checkpoint_state(path); }), "the checkpoint lacks 'step'"));
    a.state.step = -1;
    CHECK(contains(error_text<value_error>([&] { train::save_checkpoint(path, a.state, a.tensors()); }), "must not be negative"));
    a.state.step = 0;
    a.state.config = "\xff";
    CHECK(contains(error_text<value_error>([&] { train::save_checkpoint(path, a.state, a.tensors()); }), "not UTF-8"));
    CHECK(contains(error_text<io_error>([&] { train::load_checkpoint(folder / "none", a.tensors()); }), "none: cannot open"));
}

TEST_CASE_FIXTURE(fixture, "checkpoint: a full disk leaves the previous one") {
    run a = filled(10'000, 1.0f), b = filled(10'000, 2.0f), c(10'000);
    train::save_checkpoint(path, a.state, a.tensors());
    for (const std::uint64_t room : {0u, 8u, 500u, 65'536u, 150'000u}) {
        const test::file_size_limit limit(room);
        CHECK(contains(error_text<io_error>([&] { train::save_checkpoint(path, b.state, b.tensors()); }), "checkpoint.safetensors: cannot write"));
        CHECK(folder.names() == std::vector<std::string>{"checkpoint.safetensors"});
    }
    CHECK(train::load_checkpoint(path, c.tensors()) == a.state);
    CHECK(c.v == a.v);
    if (io::exists("/dev/full")) {
        CHECK(contains(error_text<io_error>([&] { train::save_checkpoint("/dev/full", a.state, a.tensors()); }), "No space left on device"));
    }
}

TEST_CASE_FIXTURE(fixture, "checkpoint: killed at any byte, the previous one loads and the next one is written") {
    run a = filled(10'000, 1.0f), b = filled(10'000, 2.0f);
    train::save_checkpoint(path, a.state, a.tensors());
    for (const std::uint64_t at : {0u, 5u, 8u, 500u, 1'000u, 70'000u, 160'000u}) {
        const int status = test::run_in_child([&] {
            const test::file_size_limit limit(at, true);
            train::save_checkpoint(path, b.state, b.tensors());
        });
        CHECK(WIFSIGNALED(status));
        run c(10'000);
        CHECK(train::load_checkpoint(path, c.tensors()) == a.state);
        CHECK(c.values == a.values);
    }
    train::save_checkpoint(path, b.state, b.tensors());
    run c(10'000);
    CHECK(train::load_checkpoint(path, c.tensors()) == b.state);
    CHECK(folder.names() == std::vector<std::string>{"checkpoint.safetensors"});
}

TEST_CASE_FIXTURE(fixture, "checkpoint: SIGKILL at any time leaves a whole checkpoint, the old or the new") {
    run a = filled(50'000, 1.0f);
    train::save_checkpoint(path, a.state, a.tensors());
    for (int attempt = 0; attempt < 12; ++attempt) {
        const pid_t child = ::fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            try {
                for (float step = 2;; ++step) {
                    run b = filled(50'000, step);
                    train::save_checkpoint(path, b.state, b.tensors());
                }
            } catch (...) {
            }
            ::_exit(1);
        }
        ::usleep(static_cast<useconds_t>(1'000 + 2'300 * attempt));
        ::kill(child, SIGKILL);
        int status = 0;
        ::waitpid(child, &status, 0);
        REQUIRE(WIFSIGNALED(status));
        run c(50'000);
        const train::checkpoint_state state = train::load_checkpoint(path, c.tensors());
        CHECK(c.values == std::vector<float>(50'000, static_cast<float>(state.step)));  // all of one step
        CHECK(c.v[49'999] == static_cast<double>(state.step) + 2);
    }
}

TEST_CASE("checkpoint: the checksum does not depend on how the bytes are cut, and sees every bit") {
    std::vector<unsigned char> bytes(1000);
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<unsigned char>(i * 37 + i / 7);
    train::detail::checksum whole;
    whole.add(bytes.data(), bytes.size());
    for (const std::size_t piece : {1u, 7u, 31u, 32u, 33u, 100u, 999u}) {
        train::detail::checksum parts;
        for (std::size_t i = 0; i < bytes.size(); i += piece) parts.add(bytes.data() + i, std::min(piece, bytes.size() - i));
        CHECK(parts.hex() == whole.hex());
    }
    for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
        auto other = bytes;
        other[bit / 8] = static_cast<unsigned char>(other[bit / 8] ^ (1u << bit % 8));
        train::detail::checksum sum;
        sum.add(other.data(), other.size());
        REQUIRE(sum.hex() != whole.hex());
    }
    train::detail::checksum shorter, longer;
    shorter.add(bytes.data(), 10);
    longer.add(bytes.data(), 10);
    longer.add("\0", 1);
    CHECK(shorter.hex() != longer.hex());
    CHECK(shorter.hex().size() == 16);
}
