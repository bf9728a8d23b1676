#ifndef INSTAR_TESTS_SUPPORT_GOLDEN_FILL_HPP
#define INSTAR_TESTS_SUPPORT_GOLDEN_FILL_HPP

// The values of parameters in golden tests, computed from a name and an index alone: what tests/reference/bert_fill.py does.
//
//     nn::bert<float> model(config);
//     test::golden_fill(model.layout(), model.parameters());
//     const test::golden_file golden("bert_k3");                         // tests/golden/data/bert_k3.safetensors
//     const auto logits = golden.read<double>("logits");
//     CHECK(golden.worst_parameter("gradient", model.layout(), gradients.view()).error <= 1e-4);
//
// A golden file holds outputs and, of each gradient, `.summary` = [L2 norm, sum] and up to 64 entries `.value` at `.index`.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "instar/io/safetensors.hpp"
#include "instar/nn/parameters.hpp"

namespace instar::test {

/// FNV-1a, 64 bits.
constexpr std::uint64_t golden_hash(std::string_view name) {
    std::uint64_t h = 14695981039346656037ull;
    for (const char c : name) h = (h ^ static_cast<unsigned char>(c)) * 1099511628211ull;
    return h;
}

/// splitmix64's output function of hash + (index + 1) · golden ratio.
constexpr std::uint64_t golden_bits(std::uint64_t hash, std::uint64_t index) {
    std::uint64_t z = hash + (index + 1) * 0x9E3779B97F4A7C15ull;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

/// In [−1, 1) in steps of 2⁻¹⁹: exact in float, also times a power of two, also plus 1 when divided by four.
constexpr double golden_unit(std::uint64_t hash, std::uint64_t index) {
    return (static_cast<double>(golden_bits(hash, index) >> 44) - 524288.0) / 524288.0;
}

/// Integer in [0, n).
constexpr std::int64_t golden_below(std::uint64_t hash, std::uint64_t index, std::uint64_t n) {
    return static_cast<std::int64_t>(((golden_bits(hash, index) >> 32) * n) >> 32);
}

/// Every parameter of a layout: scale · unit, LayerNorm weights 1 + unit/4, the zero row of an embedding 0.
template <class T>
void golden_fill(const nn::parameter_layout& layout, tensor_view<T, 1> values, double scale = 0.25) {
    for (const nn::parameter_info& info : layout.infos()) {
        const std::uint64_t hash = golden_hash(info.name);
        const bool norm_weight = info.name.find("LayerNorm.weight") != std::string::npos;
        T* p = values.data() + info.offset;
        for (index_t i = 0; i < info.size; ++i) {
            const double u = golden_unit(hash, static_cast<std::uint64_t>(i));
            p[i] = static_cast<T>(norm_weight ? 1.0 + 0.25 * u : scale * u);
        }
        if (info.zero_row >= 0) {
            const index_t row = info.size / info.shape[0];
            std::fill_n(p + info.zero_row * row, row, T(0));
        }
    }
}

/// A file of tests/golden/data, and comparisons with what it holds.
class golden_file {
public:
    explicit golden_file(const std::string& name)
        : file_((std::filesystem::path(__FILE__).parent_path().parent_path() / "golden" / "data" / (name + ".safetensors")).string()) {}

    const io::safetensors_file& file() const { return file_; }
    template <class T>
    std::vector<T> read(const std::string& name) const {
        return file_.read<T>(name);
    }
    double scalar(const std::string& name) const { return file_.read<double>(name).at(0); }

    /// Largest |actual − expected| over the largest |expected|; infinite when sizes differ or something is not finite.
    template <class T>
    double max_error(const std::string& name, const T* actual, index_t n) const {
        const auto expected = read<double>(name);
        if (static_cast<index_t>(expected.size()) != n) return k_infinity;
        double error = 0.0, largest = 0.0;
        for (index_t i = 0; i < n; ++i) {
            const double e = expected[static_cast<std::size_t>(i)], d = std::fabs(static_cast<double>(actual[i]) - e);
            if (!(d <= error)) error = d;  // a NaN stays
            if (std::isnan(error)) return k_infinity;
            largest = std::max(largest, std::fabs(e));
        }
        return error == 0.0 ? 0.0 : error / largest;
    }

    /// How far the entries, the norm and the sum of one parameter's values are off, in units of its norm (sum: of norm · √n),
    /// with `floor` for parameters whose norm is below it: a gradient that is zero in exact arithmetic is rounding noise.
    template <class T>
    double summary_error(const std::string& key, const T* values, index_t n, double floor) const {
        const auto summary = read<double>(key + ".summary"), expected = read<double>(key + ".value");
        const auto places = read<std::int64_t>(key + ".index");
        double squares = 0.0, sum = 0.0;
        for (index_t i = 0; i < n; ++i) {
            squares += static_cast<double>(values[i]) * static_cast<double>(values[i]);
            sum += static_cast<double>(values[i]);
        }
        const double unit = std::max(summary[0], floor);
        double error = std::fabs(std::sqrt(squares) - summary[0]) / unit;
        const auto worse = [&](double e) {
            if (!(e <= error)) error = e;
        };
        worse(std::fabs(sum - summary[1]) / (unit * std::sqrt(static_cast<double>(n))));
        for (std::size_t i = 0; i < places.size(); ++i) {
            if (places[i] < 0 || places[i] >= n) return k_infinity;
            worse(std::fabs(static_cast<double>(values[places[i]]) - expected[i]) / unit);
        }
        return std::isnan(error) ? k_infinity : error;
    }

    struct worst {
        double error = 0.0;
        std::string name;
        index_t n_compared = 0;
    };
    /// summary_error of every parameter of the layout under "prefix.name", with 1e-3 of the whole's norm as floor (of a
    /// BERT's gradients only those of key biases, zero in exact arithmetic, lie below it). A parameter
    /// that the file lacks counts as infinitely wrong.
    template <class T>
    worst worst_parameter(const std::string& prefix, const nn::parameter_layout& layout, tensor_view<T, 1> flat) const {
        double squares = 0.0;
        for (const auto& info : layout.infos()) {
            if (!file_.contains(prefix + "." + info.name + ".summary")) return {k_infinity, info.name, 0};
            const double norm = read<double>(prefix + "." + info.name + ".summary")[0];
            squares += norm * norm;
        }
        worst w;
        for (const auto& info : layout.infos()) {
            const double e = summary_error(prefix + "." + info.name, flat.data() + info.offset, info.size, 1e-3 * std::sqrt(squares));
            if (!(e <= w.error)) w = {e, info.name, w.n_compared};
            ++w.n_compared;
        }
        return w;
    }

private:
    static constexpr double k_infinity = std::numeric_limits<double>::infinity();
    io::safetensors_file file_;
};

}  // namespace instar::test

#endif
