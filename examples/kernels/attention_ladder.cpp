// Attention from three loops with a T × T matrix in memory to the library's, forward and backward, each step checked, then timed.
//
//     kernels attention [seq_len]        8 heads of 64, [1, seq_len, 8, 64], float; default 1024
//
// The text that goes with it is docs/kernels/attention.md.
#include <limits>

#include "ladder.hpp"
#include "tile.hpp"

#include "instar/ops/attention.hpp"

namespace kernels {

namespace {

using instar::index_t;

constexpr index_t k_heads = 8, k_d = 64, k_stride = k_heads * k_d;  // one position to the next
constexpr float k_scale = 0.125f;                                    // 1 / √64
constexpr float k_infinity = std::numeric_limits<float>::infinity();

// A head's part of the buffers [seq_len, k_heads, k_d]: row i of q is q + i · k_stride.
struct head {
    float* o;
    const float *q, *k, *v;
    index_t n;  // seq_len
};

// What the steps need besides: allocated once, so that none is charged for it.
struct scratch {
    std::vector<float> scores, keys, values;
    explicit scratch(index_t n) : scores(static_cast<std::size_t>(n * n)), keys(static_cast<std::size_t>((n + 63) / 64 * 64 * k_d)), values(keys.size()) {}
};

void softmax_rows(float* s, index_t n) {
    for (float* row = s; row != s + n * n; row += n) {
        const float largest = *std::max_element(row, row + n);
        float sum = 0.0f;
        for (index_t j = 0; j < n; ++j) sum += row[j] = std::exp(row[j] - largest);
        for (index_t j = 0; j < n; ++j) row[j] /= sum;
    }
}

// 1. The definition: scores, softmax, weighted sums, with a T × T matrix between them. The inner loop of the first product is one chain of
// additions, that of the second walks down a column of v.
void three_loops(const head& h, scratch& with) {
    float* s = with.scores.data();
    for (index_t i = 0; i < h.n; ++i) {
        for (index_t j = 0; j < h.n; ++j) {
            float sum = 0.0f;
            for (index_t c = 0; c < k_d; ++c) sum += h.q[i * k_stride + c] * h.k[j * k_stride + c];
            s[i * h.n + j] = k_scale * sum;
        }
    }
    softmax_rows(s, h.n);
    for (index_t i = 0; i < h.n; ++i) {
        for (index_t c = 0; c < k_d; ++c) {
            float sum = 0.0f;
            for (index_t j = 0; j < h.n; ++j) sum += s[i * h.n + j] * h.v[j * k_stride + c];
            h.o[i * k_stride + c] = sum;
        }
    }
}

// 2. Products whose inner loops are independent sums along rows, so that the compiler uses vectors: keys are transposed once for the first,
// the loops of the second change places. The matrix (4 MiB) still goes out of the second-level cache and comes back three times.
void row_updates(const head& h, scratch& with) {
    float *s = with.scores.data(), *kt = with.keys.data();
    for (index_t j = 0; j < h.n; ++j) {
        for (index_t c = 0; c < k_d; ++c) kt[c * h.n + j] = h.k[j * k_stride + c];
    }
    std::fill_n(s, h.n * h.n, 0.0f);
    for (index_t i = 0; i < h.n; ++i) {
        for (index_t c = 0; c < k_d; ++c) {
            const float x = k_scale * h.q[i * k_stride + c];
            for (index_t j = 0; j < h.n; ++j) s[i * h.n + j] += x * kt[c * h.n + j];
        }
    }
    softmax_rows(s, h.n);
    for (index_t i = 0; i < h.n; ++i) {
        float o[k_d] = {};
        for (index_t j = 0; j < h.n; ++j) {
            for (index_t c = 0; c < k_d; ++c) o[c] += s[i * h.n + j] * h.v[j * k_stride + c];
        }
        std::copy_n(o, k_d, h.o + i * k_stride);
    }
}

constexpr index_t k_queries = 48, k_keys = 64;  // of a block: its scores are 12 KiB

// Keys and values of a head by blocks of 64: keys transposed, [block][k_d][k_keys]; zeros where there are none.
void pack_keys(const head& h, scratch& with, float factor) {
    std::fill(with.keys.begin(), with.keys.end(), 0.0f);
    std::fill(with.values.begin(), with.values.end(), 0.0f);
    for (index_t j = 0; j < h.n; ++j) {
        float* key = with.keys.data() + j / k_keys * k_keys * k_d + j % k_keys;
        for (index_t c = 0; c < k_d; ++c) key[c * k_keys] = factor * h.k[j * k_stride + c];
        std::copy_n(h.v + j * k_stride, k_d, with.values.data() + j * k_d);
    }
}

// c += a · b for a block: a [k_queries, 64], b [64, 64], c [k_queries, 64].
using block_product = void (*)(float* c, const float* a, const float* b);

void product_by_rows(float* c, const float* a, const float* b) {
    for (index_t i = 0; i < k_queries; ++i) {
        for (index_t k = 0; k < 64; ++k) {
            for (index_t j = 0; j < 64; ++j) c[i * 64 + j] += a[i * 64 + k] * b[k * 64 + j];
        }
    }
}

void product_by_tiles(float* c, const float* a, const float* b) {
    for (index_t i = 0; i < k_queries; i += 6) register_tile<6, 4>(c + i * 64, 64, a + i * 64, 64, 1, b, 64, 64);
}

// s[0, k_keys) = e^(s − largest) or 2^(s − largest); returns the sum.
using exponentials = float (*)(float* s, float largest);

float library_exp(float* s, float largest) {
    float sum = 0.0f;
    for (index_t j = 0; j < k_keys; ++j) sum += s[j] = std::exp(s[j] - largest);
    return sum;
}

// 2ˣ for x ≤ 0 without a table or a branch: the integer nearest to x goes into the exponent's bits, the rest, at most ½, through seven terms
// of the series of e^(x ln 2). Adding 1.5 · 2²³ leaves that integer in the low bits of the sum.
float vector_exp2(float* s, float largest) {
    using bits = int __attribute__((vector_size(64), aligned(4), may_alias));
    vec sum = {};
    for (index_t j = 0; j < k_keys; j += k_lanes) {
        vec x = at(s + j) - largest;
        x = x < -125.0f ? vec{} - 125.0f : x;
        const vec shifted = x + 12582912.0f, f = (x - (shifted - 12582912.0f)) * 0.693147181f;
        const vec p = 1.0f + f * (1.0f + f * (1 / 2.0f + f * (1 / 6.0f + f * (1 / 24.0f + f * (1 / 120.0f + f * (1 / 720.0f))))));
        const bits power = reinterpret_cast<const bits&>(p) + (reinterpret_cast<const bits&>(shifted) << 23);
        at(s + j) = reinterpret_cast<const vec&>(power);
        sum += at(s + j);
    }
    return total(sum);
}

float largest_of(const float* s) {
    vec m = at(s);
    for (index_t j = k_lanes; j < k_keys; j += k_lanes) m = at(s + j) > m ? at(s + j) : m;
    float largest = m[0];
    for (index_t l = 1; l < k_lanes; ++l) largest = std::max(largest, m[l]);
    return largest;
}

// Softmax in one pass: a block of queries meets the blocks of keys one after the other, with the largest score and the sum so far. When a
// larger score comes, what was summed is scaled down by base^(old − new). Scores live in the first-level cache; no T × T matrix exists.
void one_pass(const head& h, scratch& with, block_product multiply, exponentials exponentiate, bool powers_of_two) {
    pack_keys(h, with, powers_of_two ? k_scale * 1.44269504f : k_scale);  // e^x = 2^(x · log2 e): the factor rides on the keys
    alignas(64) float q[k_queries * k_d], s[k_queries * k_keys], o[k_queries * k_d];
    for (index_t i0 = 0; i0 < h.n; i0 += k_queries) {
        const index_t rows = std::min(k_queries, h.n - i0);
        std::fill(std::begin(q), std::end(q), 0.0f);
        std::fill(std::begin(o), std::end(o), 0.0f);
        for (index_t i = 0; i < rows; ++i) std::copy_n(h.q + (i0 + i) * k_stride, k_d, q + i * k_d);
        float largest[k_queries], sum[k_queries] = {};
        std::fill(std::begin(largest), std::end(largest), -k_infinity);
        for (index_t j0 = 0; j0 < h.n; j0 += k_keys) {
            std::fill(std::begin(s), std::end(s), 0.0f);
            multiply(s, q, with.keys.data() + j0 * k_d);
            for (index_t i = 0; i < rows; ++i) {
                float* row = s + i * k_keys;
                std::fill(row + std::min(k_keys, h.n - j0), row + k_keys, -k_infinity);  // keys that are not there
                const float before = largest[i], now = std::max(before, largest_of(row));
                const float scale = powers_of_two ? std::exp2(before - now) : std::exp(before - now);
                sum[i] = sum[i] * scale + exponentiate(row, now);
                for (index_t c = 0; c < k_d; ++c) o[i * k_d + c] *= scale;
                largest[i] = now;
            }
            multiply(o, s, with.values.data() + j0 * k_d);
        }
        for (index_t i = 0; i < rows; ++i) {
            for (index_t c = 0; c < k_d; ++c) h.o[(i0 + i) * k_stride + c] = o[i * k_d + c] / sum[i];
        }
    }
}

// 3. One pass over blocks. 4. The same with tiles in registers. 5. The same with 2ˣ of whole vectors.
void one_pass_rows(const head& h, scratch& with) { one_pass(h, with, product_by_rows, library_exp, false); }
void one_pass_tiles(const head& h, scratch& with) { one_pass(h, with, product_by_tiles, library_exp, false); }
void one_pass_exp2(const head& h, scratch& with) { one_pass(h, with, product_by_tiles, vector_exp2, true); }

// The backward by its formulas, an element of the T × T matrices at a time; T is the type that everything is computed in. p is recomputed
// from q and k, so that this is also what the other steps are checked against, in double.
template <class T>
void backward_loops(T* dq, T* dk, T* dv, const float* d_o, const head& h) {
    std::vector<T> p(static_cast<std::size_t>(h.n)), dp(p.size());
    const auto dot = [](const float* x, const float* y) {
        T sum = 0;
        for (index_t c = 0; c < k_d; ++c) sum += static_cast<T>(x[c]) * static_cast<T>(y[c]);
        return sum;
    };
    for (T* gradient : {dq, dk, dv}) {
        for (index_t i = 0; i < h.n; ++i) std::fill_n(gradient + i * k_stride, k_d, T(0));
    }
    for (index_t i = 0; i < h.n; ++i) {
        const float *q = h.q + i * k_stride, *d = d_o + i * k_stride;
        T largest = -std::numeric_limits<T>::infinity(), sum = 0, mean = 0;
        for (index_t j = 0; j < h.n; ++j) {
            p[static_cast<std::size_t>(j)] = static_cast<T>(k_scale) * dot(q, h.k + j * k_stride);
            dp[static_cast<std::size_t>(j)] = dot(d, h.v + j * k_stride);
            largest = std::max(largest, p[static_cast<std::size_t>(j)]);
        }
        for (T& x : p) sum += x = std::exp(x - largest);
        for (std::size_t j = 0; j < p.size(); ++j) mean += (p[j] /= sum) * dp[j];  // D_i of the contract
        for (index_t j = 0; j < h.n; ++j) {
            const T weight = p[static_cast<std::size_t>(j)], ds = static_cast<T>(k_scale) * weight * (dp[static_cast<std::size_t>(j)] - mean);
            for (index_t c = 0; c < k_d; ++c) {
                dq[i * k_stride + c] += ds * static_cast<T>(h.k[j * k_stride + c]);
                dk[j * k_stride + c] += ds * static_cast<T>(q[c]);
                dv[j * k_stride + c] += weight * static_cast<T>(d[c]);
            }
        }
    }
}

// All of o, in double.
std::vector<double> exact_forward(const float* q, const float* k, const float* v, index_t n) {
    std::vector<double> o(static_cast<std::size_t>(n * k_stride)), p(static_cast<std::size_t>(n));
    for (index_t at = 0; at < n * k_heads; ++at) {
        const index_t first = at % k_heads * k_d, i = at / k_heads;
        double largest = -std::numeric_limits<double>::infinity(), sum = 0.0;
        for (index_t j = 0; j < n; ++j) {
            double s = 0.0;
            for (index_t c = first; c < first + k_d; ++c) s += static_cast<double>(q[i * k_stride + c]) * static_cast<double>(k[j * k_stride + c]);
            p[static_cast<std::size_t>(j)] = s * static_cast<double>(k_scale);
            largest = std::max(largest, p[static_cast<std::size_t>(j)]);
        }
        for (double& x : p) sum += x = std::exp(x - largest);
        for (index_t j = 0; j < n; ++j) {
            for (index_t c = first; c < first + k_d; ++c) o[static_cast<std::size_t>(i * k_stride + c)] += p[static_cast<std::size_t>(j)] / sum * static_cast<double>(v[j * k_stride + c]);
        }
    }
    return o;
}

double difference(const std::vector<float>& x, const std::vector<double>& exact) {
    double worst = 0.0, largest = 1.0;
    for (const double e : exact) largest = std::max(largest, std::fabs(e));
    for (std::size_t i = 0; i < x.size(); ++i) {
        const double d = std::fabs(static_cast<double>(x[i]) - exact[i]);
        worst = d > worst || std::isnan(d) ? d : worst;
        if (std::isnan(worst)) break;
    }
    return worst / largest;
}

}  // namespace

int run_attention(index_t n) {
    const auto q = random_values(n * k_stride, 1), k = random_values(n * k_stride, 2), v = random_values(n * k_stride, 3), d_o = random_values(n * k_stride, 4);
    std::vector<float> o(q.size()), lse(static_cast<std::size_t>(k_heads * n)), dq(q.size()), dk(q.size()), dv(q.size());
    scratch with(n);
    const auto each_head = [&](auto&& f) {
        for (index_t c = 0; c < k_stride; c += k_d) f(head{o.data() + c, q.data() + c, k.data() + c, v.data() + c, n}, c);
    };
    instar::cpu_context one(1), all;
    const auto view = [&](auto& x) { return instar::tensor_view(x.data(), {index_t{1}, n, k_heads, k_d}); };
    const instar::ops::attention_saved<float> saved{{lse.data(), {1, k_heads, n}}};
    const double pairs = static_cast<double>(k_heads) * static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(k_d);
    const std::string shape = "8 heads of 64, " + std::to_string(n) + " positions";

    ladder forward("attention, forward, " + shape, {.flop = 4.0 * pairs});
    const std::vector<double> exact = exact_forward(q.data(), k.data(), v.data(), n);
    const auto error = [&] { return difference(o, exact); };
    using function = void (*)(const head&, scratch&);
    const std::pair<const char*, function> rungs[] = {{"1 three loops, T × T", three_loops}, {"2 row updates, T × T", row_updates}, {"3 one pass in blocks", one_pass_rows},
                                                      {"4 register tiles", one_pass_tiles}, {"5 powers of two", one_pass_exp2}};
    for (const auto& [name, f] : rungs) forward.rung(name, 1, [&] { each_head([&](const head& h, index_t) { f(h, with); }); }, error);
    const auto run_forward = [&](instar::cpu_context& ctx) {
        instar::ops::attention_forward<float>(ctx, view(o), saved, view(q), view(k), view(v), {}, {.scale = static_cast<double>(k_scale)});
    };
    forward.rung("6 instar, one thread", 1, [&] { run_forward(one); }, error);
    forward.rung("7 instar, all threads", all.max_threads(), [&] { run_forward(all); }, error);
    int code = forward.finish();

    ladder backward("attention, backward, " + shape, {.flop = 10.0 * pairs});
    std::vector<double> exact_q(q.size()), exact_k(q.size()), exact_v(q.size());
    each_head([&](const head& h, index_t c) { backward_loops(exact_q.data() + c, exact_k.data() + c, exact_v.data() + c, d_o.data() + c, h); });
    const auto gradient_error = [&] { return difference(dq, exact_q) + difference(dk, exact_k) + difference(dv, exact_v); };
    backward.rung("1 loops over pairs", 1,
                  [&] { each_head([&](const head& h, index_t c) { backward_loops(dq.data() + c, dk.data() + c, dv.data() + c, d_o.data() + c, h); }); }, gradient_error);
    const auto run_backward = [&](instar::cpu_context& ctx) {
        instar::ops::attention_backward<float>(ctx, view(dq), view(dk), view(dv), view(d_o), view(o), saved, view(q), view(k), view(v), {},
                                               {.scale = static_cast<double>(k_scale)});
    };
    backward.rung("2 instar, one thread", 1, [&] { run_backward(one); }, gradient_error);
    backward.rung("3 instar, all threads", all.max_threads(), [&] { run_backward(all); }, gradient_error);
    code |= backward.finish();
    return code;
}

}  // namespace kernels
