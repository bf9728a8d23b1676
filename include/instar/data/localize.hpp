#ifndef INSTAR_DATA_LOCALIZE_HPP
#define INSTAR_DATA_LOCALIZE_HPP

// Where the specimen is in a photograph on a plain background, without a trained detector.
//
//     const auto found = localize_specimen(photo);                     // found->box in the photo's pixels; empty: nothing stands out
//     if (found) image specimen = crop_specimen(photo, found->box);
//
// The background is a smooth surface of colour fitted to the photograph's rim, robustly, so that a leg or a tube's edge that touches the rim
// does not count; what differs from it more than the rim's own noise and more than Otsu's threshold is the specimen, once specks are gone.
// It is for photographs such as BIOSCAN's, one animal on a light plate. A cluttered scene needs a detector; its boxes go to crop_specimen.

#include <array>
#include <cmath>
#include <cstdint>
#include <optional>
#include <vector>

#include "instar/data/image_crop.hpp"

namespace instar::data {

struct localize_options {
    index_t working_size = 256;    ///< the longer side at which the search is done
    double rim = 0.06;             ///< the background's samples: this share of the shorter side along each border
    double least_contrast = 8.0;   ///< levels (of 255) by which something must differ, the root mean square of the channels
    double least_area = 1e-4;      ///< of the photograph: smaller pieces are specks
    double least_share = 0.1;      ///< of the largest piece's area: smaller pieces are not the specimen's
    double largest_gap = 0.2;      ///< between the largest piece and others of the animal, of that piece's longer side
};

struct localized_specimen {
    real_box box;           ///< in the photograph's pixels
    double contrast = 0.0;  ///< mean difference of the specimen from the background, levels
    double area = 0.0;      ///< share of the photograph
};

namespace detail {

/// Solves a·x = b for symmetric positive definite a, 6 × 6, by Cholesky; a tiny ridge keeps flat photographs solvable.
inline std::array<double, 6> solve_6(std::array<std::array<double, 6>, 6> a, std::array<double, 6> b) {
    for (std::size_t i = 0; i < 6; ++i) a[i][i] += 1e-9 + 1e-9 * a[i][i];
    for (std::size_t i = 0; i < 6; ++i) {
        for (std::size_t j = 0; j <= i; ++j) {
            double s = a[i][j];
            for (std::size_t k = 0; k < j; ++k) s -= a[i][k] * a[j][k];
            a[i][j] = i == j ? std::sqrt(std::max(s, 1e-12)) : s / a[j][j];
        }
    }
    for (std::size_t i = 0; i < 6; ++i) {
        for (std::size_t k = 0; k < i; ++k) b[i] -= a[i][k] * b[k];
        b[i] /= a[i][i];
    }
    for (std::size_t i = 6; i-- > 0;) {
        for (std::size_t k = i + 1; k < 6; ++k) b[i] -= a[k][i] * b[k];
        b[i] /= a[i][i];
    }
    return b;
}

/// Threshold that parts a histogram best: the largest variance between the two sides (Otsu 1979).
inline std::size_t otsu(const std::vector<double>& histogram) {
    double total = 0.0, sum = 0.0;
    for (std::size_t i = 0; i < histogram.size(); ++i) total += histogram[i], sum += static_cast<double>(i) * histogram[i];
    double below = 0.0, below_sum = 0.0, best = -1.0;
    std::size_t at = 0;
    for (std::size_t i = 0; i + 1 < histogram.size(); ++i) {
        below += histogram[i];
        below_sum += static_cast<double>(i) * histogram[i];
        if (below <= 0.0 || total - below <= 0.0) continue;
        const double d = below_sum / below - (sum - below_sum) / (total - below);
        const double between = below * (total - below) * d * d;
        if (between > best) best = between, at = i;
    }
    return at;
}

}  // namespace detail

/// Finds the specimen. Empty when nothing stands out. Throws value_error for an empty image and for a working_size below 16.
/// Deterministic. Cost: 4 ms for a photograph of 683 × 512, 8 ms for one of 2592 × 1944, on a core of an AMD EPYC.
inline std::optional<localized_specimen> localize_specimen(const image& photo, const localize_options& o = {}) {
    if (photo.height < 1 || photo.width < 1) throw value_error("localize_specimen: the image is empty");
    if (o.working_size < 16) throw value_error("localize_specimen: working_size must be at least 16, is " + std::to_string(o.working_size));
    const index_t longer = std::max(photo.height, photo.width);
    const double shrink = longer > o.working_size ? static_cast<double>(o.working_size) / static_cast<double>(longer) : 1.0;
    const auto size = [&](index_t n) { return std::max<index_t>(1, static_cast<index_t>(std::llround(static_cast<double>(n) * shrink))); };
    const image x = shrink < 1.0 ? resize(photo, size(photo.height), size(photo.width)) : photo;
    const index_t h = x.height, w = x.width, n = h * w;
    const auto basis = [&](index_t i, index_t j) {
        const double u = 2.0 * (static_cast<double>(j) + 0.5) / static_cast<double>(w) - 1.0, v = 2.0 * (static_cast<double>(i) + 0.5) / static_cast<double>(h) - 1.0;
        return std::array<double, 6>{1.0, u, v, u * u, u * v, v * v};
    };

    // The rim, and a quadratic surface through each channel of it; six rounds of Tukey's weights.
    const index_t rim = std::clamp<index_t>(std::llround(o.rim * static_cast<double>(std::min(h, w))), 1, std::max<index_t>(1, std::min(h, w) / 3));
    std::vector<std::array<index_t, 2>> samples;
    for (index_t i = 0; i < h; ++i) {
        for (index_t j = 0; j < w; ++j) {
            if (i < rim || j < rim || i >= h - rim || j >= w - rim) samples.push_back({i, j});
        }
    }
    std::vector<double> weight(samples.size(), 1.0), distance(samples.size());
    std::array<std::array<double, 6>, 3> surface{};
    double noise = 0.0;
    for (int round = 0; round < 6; ++round) {
        std::array<std::array<double, 6>, 6> a{};
        std::array<std::array<double, 6>, 3> b{};
        for (std::size_t s = 0; s < samples.size(); ++s) {
            const auto f = basis(samples[s][0], samples[s][1]);
            const std::uint8_t* p = x.row(samples[s][0]) + 3 * samples[s][1];
            for (std::size_t r = 0; r < 6; ++r) {
                for (std::size_t c = 0; c < 6; ++c) a[r][c] += weight[s] * f[r] * f[c];
                for (std::size_t c = 0; c < 3; ++c) b[c][r] += weight[s] * f[r] * p[c];
            }
        }
        for (std::size_t c = 0; c < 3; ++c) surface[c] = detail::solve_6(a, b[c]);
        for (std::size_t s = 0; s < samples.size(); ++s) {
            const auto f = basis(samples[s][0], samples[s][1]);
            const std::uint8_t* p = x.row(samples[s][0]) + 3 * samples[s][1];
            double squares = 0.0;
            for (std::size_t c = 0; c < 3; ++c) {
                double expected = 0.0;
                for (std::size_t r = 0; r < 6; ++r) expected += surface[c][r] * f[r];
                squares += (p[c] - expected) * (p[c] - expected);
            }
            distance[s] = std::sqrt(squares / 3.0);
        }
        std::vector<double> sorted = distance;
        std::nth_element(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2), sorted.end());
        noise = std::max(0.5, 1.4826 * sorted[sorted.size() / 2]);
        for (std::size_t s = 0; s < samples.size(); ++s) {
            const double t = distance[s] / (4.685 * noise);
            weight[s] = t < 1.0 ? (1.0 - t * t) * (1.0 - t * t) : 0.0;
        }
    }

    // How much each pixel differs, and from where on that is the specimen.
    std::vector<float> difference(static_cast<std::size_t>(n));
    std::vector<double> histogram(256);
    for (index_t i = 0; i < h; ++i) {
        for (index_t j = 0; j < w; ++j) {
            const auto f = basis(i, j);
            const std::uint8_t* p = x.row(i) + 3 * j;
            double squares = 0.0;
            for (std::size_t c = 0; c < 3; ++c) {
                double expected = 0.0;
                for (std::size_t r = 0; r < 6; ++r) expected += surface[c][r] * f[r];
                squares += (p[c] - expected) * (p[c] - expected);
            }
            const double d = std::sqrt(squares / 3.0);
            difference[static_cast<std::size_t>(i * w + j)] = static_cast<float>(d);
            histogram[static_cast<std::size_t>(std::min(255.0, d))] += 1.0;
        }
    }
    // Otsu's is between body and background; wings and legs are fainter than that: half of it, unless noise is as high.
    const double threshold = std::max({o.least_contrast, 4.0 * noise, 0.5 * static_cast<double>(detail::otsu(histogram))});

    // Connected pieces (eight neighbours).
    std::vector<std::int32_t> piece(static_cast<std::size_t>(n), -1);
    struct extent {
        index_t left, top, right, bottom, area;
        double contrast;
    };
    std::vector<extent> pieces;
    std::vector<index_t> stack;
    for (index_t start = 0; start < n; ++start) {
        if (piece[static_cast<std::size_t>(start)] >= 0 || static_cast<double>(difference[static_cast<std::size_t>(start)]) < threshold) continue;
        const auto number = static_cast<std::int32_t>(pieces.size());
        extent e{w, h, 0, 0, 0, 0.0};
        stack.assign(1, start);
        piece[static_cast<std::size_t>(start)] = number;
        while (!stack.empty()) {
            const index_t at = stack.back(), i = at / w, j = at % w;
            stack.pop_back();
            e.left = std::min(e.left, j), e.right = std::max(e.right, j + 1), e.top = std::min(e.top, i), e.bottom = std::max(e.bottom, i + 1);
            ++e.area;
            e.contrast += static_cast<double>(difference[static_cast<std::size_t>(at)]);
            for (index_t di = -1; di <= 1; ++di) {
                for (index_t dj = -1; dj <= 1; ++dj) {
                    const index_t ni = i + di, nj = j + dj;
                    if (ni < 0 || nj < 0 || ni >= h || nj >= w) continue;
                    const auto next = static_cast<std::size_t>(ni * w + nj);
                    if (piece[next] >= 0 || static_cast<double>(difference[next]) < threshold) continue;
                    piece[next] = number;
                    stack.push_back(ni * w + nj);
                }
            }
        }
        pieces.push_back(e);
    }
    // The piece of most contrast; others of the animal are those of some size that do not run along the border, as a plate's edge does.
    const auto along_border = [&](const extent& e) {
        const bool touches = e.left == 0 || e.top == 0 || e.right == w || e.bottom == h;
        return touches && (e.right - e.left > w * 9 / 10 || e.bottom - e.top > h * 9 / 10) && e.area < (e.right - e.left) * (e.bottom - e.top) / 3;
    };
    const extent* best = nullptr;
    for (const extent& e : pieces) {
        if (static_cast<double>(e.area) < o.least_area * static_cast<double>(n) || along_border(e)) continue;
        if (best == nullptr || e.contrast > best->contrast) best = &e;
    }
    if (best == nullptr) return std::nullopt;
    // What belongs to it is near it: legs and wings that a bright spot parts from the body, not another thing on the plate.
    extent all = *best;
    std::vector<bool> taken(pieces.size());
    taken[static_cast<std::size_t>(best - pieces.data())] = true;
    for (bool grown = true; grown;) {
        grown = false;
        for (std::size_t k = 0; k < pieces.size(); ++k) {
            const extent& e = pieces[k];
            if (taken[k] || along_border(e) || static_cast<double>(e.area) < std::max(o.least_area * static_cast<double>(n), o.least_share * static_cast<double>(best->area))) continue;
            const index_t gap = std::max({e.left - all.right, all.left - e.right, e.top - all.bottom, all.top - e.bottom, index_t{0}});
            if (static_cast<double>(gap) > o.largest_gap * static_cast<double>(std::max(best->right - best->left, best->bottom - best->top))) continue;
            all = {std::min(all.left, e.left), std::min(all.top, e.top), std::max(all.right, e.right), std::max(all.bottom, e.bottom), all.area + e.area, all.contrast + e.contrast};
            taken[k] = grown = true;
        }
    }
    const double sx = static_cast<double>(photo.width) / static_cast<double>(w), sy = static_cast<double>(photo.height) / static_cast<double>(h);
    return localized_specimen{.box = {static_cast<double>(all.left) * sx, static_cast<double>(all.top) * sy, static_cast<double>(all.right) * sx, static_cast<double>(all.bottom) * sy},
                              .contrast = all.contrast / static_cast<double>(all.area),
                              .area = static_cast<double>(all.area) / static_cast<double>(n)};
}

}  // namespace instar::data

#endif
