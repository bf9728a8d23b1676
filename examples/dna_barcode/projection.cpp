// project: a closed-form metric. Every token at its own place, projected on the principal directions of the training
// barcodes and whitened by what varies within genera.
//
//     embedding = R · Vᵀ · vec(mask ⊙ (h − mean h)),   R = (S_w + λ · tr(S_w) / q · I)^(−1/2)
//
// V: the first q principal directions of the training barcodes' tokens; S_w: scatter within genera in those coordinates.
// Without genera (or with --no-labels), R divides by the square root of the directions' spread instead.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // g++ 12's AVX-512 headers, seen through Eigen: GCC bug 105593
#endif
#include <Eigen/Dense>

#include "instar/ops/gemm.hpp"

#include "tasks.hpp"

namespace dna_barcode {

using namespace instar;

namespace {

using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

tensor_view<float, 2> view(matrix& m) { return {m.data(), {m.rows(), m.cols()}}; }

/// Orthonormal columns with the same span.
void orthonormalise(matrix& m) {
    const Eigen::HouseholderQR<Eigen::MatrixXf> qr(m);
    m = qr.householderQ() * Eigen::MatrixXf::Identity(m.rows(), m.cols());
}

struct principal_directions {
    matrix v;                      // [width, q], columns by falling spread
    std::vector<double> spread;    // singular values
};

/// The q leading right singular vectors of x by subspace iteration (Halko, Martinsson, Tropp 2011, algorithm 4.4).
principal_directions leading_directions(cpu_context& ctx, tensor_view<const float, 2> x, index_t q, philox rng) {
    const index_t n = x.extent(0), width = x.extent(1), wide = std::min({q + 32, n, width});
    matrix z(width, wide), y(n, wide);
    for (index_t i = 0; i < width * wide; ++i) z.data()[i] = rng.normal(static_cast<std::uint64_t>(i));
    for (int round = 0; round < 4; ++round) {
        ops::gemm<float>(ctx, view(y), x, view(z));
        orthonormalise(y);
        ops::gemm<float>(ctx, view(z), x, view(y), {.transpose_a = true});
        if (round < 3) orthonormalise(z);
    }
    // x ≈ y zᵀ: the directions of zᵀ from the small Gram matrix zᵀz.
    matrix gram(wide, wide);
    ops::gemm<float>(ctx, view(gram), view(z), view(z), {.transpose_a = true});
    const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(gram.cast<double>());
    principal_directions result;
    Eigen::MatrixXf rotation(wide, q);
    for (index_t k = 0; k < q; ++k) {
        const double s = std::sqrt(std::max(solver.eigenvalues()(wide - 1 - k), 0.0));
        result.spread.push_back(s);
        rotation.col(k) = (solver.eigenvectors().col(wide - 1 - k) / std::max(s, 1e-30)).cast<float>();
    }
    matrix r = rotation;
    result.v.resize(width, q);
    ops::gemm<float>(ctx, view(result.v), view(z), view(r));
    return result;
}

/// R of the file's head from coordinates z [n, q] and genera (−1 = unknown); empty when no genus has two barcodes.
/// A genus counts as at most ten pairs: the largest would decide alone otherwise.
matrix within_whitening(const matrix& z, const std::vector<std::int32_t>& genus, double shrinkage) {
    const index_t q = z.cols();
    std::map<std::int32_t, std::vector<index_t>> members;
    for (std::size_t i = 0; i < genus.size(); ++i) {
        if (genus[i] >= 0) members[genus[i]].push_back(static_cast<index_t>(i));
    }
    Eigen::MatrixXd scatter = Eigen::MatrixXd::Zero(q, q);
    double count = 0.0;
    for (const auto& [label, rows] : members) {
        if (rows.size() < 2) continue;
        Eigen::MatrixXd own(static_cast<index_t>(rows.size()), q);
        for (std::size_t i = 0; i < rows.size(); ++i) own.row(static_cast<index_t>(i)) = z.row(rows[i]).cast<double>();
        own.rowwise() -= own.colwise().mean().eval();
        const double weight = std::min(1.0, 10.0 / static_cast<double>(rows.size()));
        scatter.noalias() += weight * (own.transpose() * own);
        count += weight * static_cast<double>(rows.size() - 1);
    }
    if (count == 0.0 || !(scatter.trace() > 0.0)) return {};
    scatter /= count;
    scatter.diagonal().array() += shrinkage * scatter.trace() / static_cast<double>(q);
    const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(scatter);
    return solver.operatorInverseSqrt().cast<float>();
}

}  // namespace

void fit_projection(examples::device& device, const settings& s, const specimens& all, model_folder& folder) {
    cpu_context& ctx = device.cpu();  // of all but the encoder
    const partition data = take_partition(all, {"train"}, duplicates::drop);
    if (data.rows.empty()) throw value_error("project: the metadata has no row of split train");
    // Enough for the directions, and bounded memory: 8,192 barcodes of 110 tokens × 128 are 460 MB.
    partition sample;
    const auto order = train::epoch_order(static_cast<index_t>(data.rows.size()), philox{s.seed, 31}, 0);
    for (std::size_t i = 0; i < std::min<std::size_t>(order.size(), 8192); ++i) {
        sample.rows.push_back(data.rows[static_cast<std::size_t>(order[i])]);
        sample.barcodes.push_back(data.barcodes[static_cast<std::size_t>(order[i])]);
    }
    const index_t n = static_cast<index_t>(sample.rows.size()), seq_len = folder.encoder.tokenizer().seq_len(), d = folder.model.config().d_model;
    const index_t q = std::min<index_t>({static_cast<index_t>(s.components), n - 1, seq_len * d});
    if (q < 1) throw value_error("project: one barcode in split train gives no direction");

    tensor<float, 2> features({n, seq_len * d}), centre({seq_len, d});
    tensor<std::uint8_t, 2> masks({n, seq_len});
    const auto shifts = folder.encoder.shifts(ctx, sample.barcodes);
    device.run([&](auto& there) {
        using memory = typename std::remove_reference_t<decltype(there)>::memory;
        const auto& model = examples::on_device(there, folder.model);
        token_batch batch;
        nn::bert_activations<float, memory> activations;
        device_input<std::int32_t, 2, memory> ids;
        device_input<std::uint8_t, 2, memory> mask;
        host_output<float, 3, memory> hidden;
        std::vector<index_t> rows;
        for (index_t begin = 0; begin < n; begin += 64) {
            rows.clear();
            for (index_t i = begin; i < std::min(n, begin + 64); ++i) rows.push_back(i);
            folder.encoder.encode(ctx, batch, sample.barcodes, shifts, rows, {}, {});
            const auto h = hidden(there, model.forward(there, activations, ids(there, batch.ids.view()), mask(there, batch.mask.view())));
            std::copy_n(h.data(), h.size(), &features(begin, 0));
            std::copy_n(batch.mask.data(), batch.mask.size(), &masks(begin, 0));
        }
    });
    for (index_t t = 0; t < seq_len; ++t) {
        std::vector<double> sum(static_cast<std::size_t>(d), 0.0);
        double seen = 0.0;
        for (index_t i = 0; i < n; ++i) {
            if (masks(i, t) == 0) continue;
            seen += 1.0;
            for (index_t c = 0; c < d; ++c) sum[static_cast<std::size_t>(c)] += static_cast<double>(features(i, t * d + c));
        }
        for (index_t c = 0; c < d; ++c) centre(t, c) = seen > 0 ? static_cast<float>(sum[static_cast<std::size_t>(c)] / seen) : 0.0f;
    }
    nn::position_projection<float>::centred(ctx, centre.view(), features.view(), std::as_const(features).view().reshape<3>({n, seq_len, d}), masks.view());

    auto directions = leading_directions(ctx, std::as_const(features).view(), q, philox{s.seed, 32});
    matrix rotation;
    if (s.use_labels) {
        matrix z(n, q);
        ops::gemm<float>(ctx, view(z), std::as_const(features).view(), view(directions.v));
        rotation = within_whitening(z, label_table(all, "genus", sample.rows).of(all, sample.rows), s.shrinkage);
    }
    if (rotation.size() == 0) {
        rotation = matrix::Zero(q, q);
        for (index_t k = 0; k < q; ++k) {
            const double s_k = directions.spread[static_cast<std::size_t>(k)];
            rotation(k, k) = s_k > 1e-6 * directions.spread[0] ? static_cast<float>(std::sqrt(directions.spread[0] / s_k)) : 0.0f;
        }
    }
    tensor<float, 2> weight({q, seq_len * d});
    ops::gemm<float>(ctx, weight.view(), view(rotation), view(directions.v), {.transpose_a = true, .transpose_b = true});
    folder.projection = nn::position_projection<float>(std::move(centre), std::move(weight));
    folder.task = "project";
    folder.pooling = "projection";
}

}  // namespace dna_barcode
