#ifndef INSTAR_DATA_SIMULATE_IMAGE_HPP
#define INSTAR_DATA_SIMULATE_IMAGE_HPP

// Pictures of simulated specimens: insects from above, whose shapes and colours are the traits that evolved with the barcodes.
//
//     auto specimens = data::simulate_specimens({.n_specimens = 20000});
//     data::image x = data::draw_specimen(specimens[0], 64);                      // 64 × 64, the same each time
//
// Close relatives look alike, as their barcodes do; single specimens differ in pose, size, light and a little in every trait.

#include <algorithm>
#include <array>
#include <cmath>

#include "instar/core/philox.hpp"
#include "instar/data/image.hpp"
#include "instar/data/simulate.hpp"

namespace instar::data {

struct draw_options {
    float variation = 0.12f;  ///< standard deviation of a trait within a species; between species of an order it is about 1
    float turn = 25.0f;       ///< specimens lie turned by up to so many degrees
    std::uint64_t seed = 1;
};

namespace detail {

using rgb = std::array<float, 3>;

/// Hue in [0, 1), saturation and value in [0, 1].
inline rgb hsv(float h, float s, float v) {
    rgb c;
    for (std::size_t i = 0; i < 3; ++i) {
        const float k = std::fmod((i == 0 ? 5.0f : i == 1 ? 3.0f : 1.0f) + 6.0f * h, 6.0f);
        c[i] = v - v * s * std::clamp(std::min(k, 4.0f - k), 0.0f, 1.0f);
    }
    return c;
}

/// Paints over a picture whose coordinates run from −1 to 1, the head at negative y.
class specimen_painter {
public:
    specimen_painter(index_t size, rgb background) : size_(size), pixels_(static_cast<std::size_t>(size * size), background) {}

    /// cover(x, y): how far inside the shape, in coordinates of the picture, negative outside; colour(x, y).
    template <class Cover, class Colour>
    void paint(Cover cover, Colour colour, float opacity = 1.0f) {
        const float pixel = 2.0f / static_cast<float>(size_);
        for (index_t i = 0; i < size_; ++i) {
            for (index_t j = 0; j < size_; ++j) {
                const float px = (static_cast<float>(j) + 0.5f) * pixel - 1.0f, py = (static_cast<float>(i) + 0.5f) * pixel - 1.0f;
                const float x = (c_ * px + s_ * py - x0_) / scale_, y = (-s_ * px + c_ * py - y0_) / scale_;
                const float share = opacity * std::clamp(cover(x, y) * scale_ / pixel + 0.5f, 0.0f, 1.0f);
                if (share <= 0.0f) continue;
                const rgb over = colour(x, y);
                rgb& under = pixels_[static_cast<std::size_t>(i * size_ + j)];
                for (std::size_t k = 0; k < 3; ++k) under[k] += share * (over[k] - under[k]);
            }
        }
    }
    void place(float degrees, float scale, float x0, float y0) {
        const float a = degrees * 0.0174532925f;
        c_ = std::cos(a), s_ = std::sin(a);
        scale_ = scale, x0_ = x0, y0_ = y0;
    }
    std::vector<rgb>& pixels() { return pixels_; }

private:
    index_t size_;
    std::vector<rgb> pixels_;
    float c_ = 1.0f, s_ = 0.0f, scale_ = 1.0f, x0_ = 0.0f, y0_ = 0.0f;
};

/// Distance inside an ellipse around (cx, cy) with half axes a, b, turned by (c, s): exact on the axes, close elsewhere.
inline float in_ellipse(float x, float y, float cx, float cy, float a, float b, float c = 1.0f, float s = 0.0f) {
    const float u = c * (x - cx) + s * (y - cy), v = -s * (x - cx) + c * (y - cy);
    const float r = std::sqrt(u * u / (a * a) + v * v / (b * b));
    return (1.0f - r) * std::min(a, b);
}

/// Distance inside a line of half width w from (ax, ay) to (bx, by).
inline float in_line(float x, float y, float ax, float ay, float bx, float by, float w) {
    const float dx = bx - ax, dy = by - ay;
    const float t = std::clamp(((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy + 1e-9f), 0.0f, 1.0f);
    return w - std::hypot(x - ax - t * dx, y - ay - t * dy);
}

}  // namespace detail

/// Draws one specimen, size × size pixels. A function of traits, process id, size and options. Throws value_error for a size below 8.
/// Cost: about 1 ms at 64 pixels.
inline image draw_specimen(const specimen& of, index_t size, const draw_options& o = {}) {
    if (size < 8) throw value_error("draw_specimen: size must be at least 8, is " + std::to_string(size));
    using namespace detail;
    std::uint64_t tag = 1469598103934665603ull;  // FNV-1a of the process id
    for (const char c : of.processid) tag = (tag ^ static_cast<unsigned char>(c)) * 1099511628211ull;
    const philox rng = philox{.seed = o.seed, .stream = 0x647261u}.fork(tag);
    std::array<float, k_n_traits> t;
    for (std::size_t i = 0; i < k_n_traits; ++i) t[i] = of.traits[i] + o.variation * rng.normal(i);
    // A trait's place between two bounds.
    std::size_t next = 0;
    const auto between = [&](float low, float high) { return low + (high - low) / (1.0f + std::exp(-1.7f * t[next++])); };
    const auto hue = [&] { return 0.5f + 0.5f * std::sin(1.3f * t[next++]); };
    const auto draw = [&](std::size_t i) { return rng.fork(1).uniform(i); };

    const float head = between(0.07f, 0.18f), thorax_a = between(0.09f, 0.24f), thorax_b = between(0.12f, 0.26f), abdomen_a = between(0.08f, 0.28f), abdomen_b = between(0.2f, 0.5f);
    const float wing_length = between(0.2f, 0.85f), wing_width = between(0.08f, 0.3f), wing_angle = between(0.35f, 1.35f), wing_opacity = between(0.15f, 0.9f);
    const float leg_length = between(0.15f, 0.5f), antenna = between(0.08f, 0.5f), antenna_angle = between(0.2f, 1.1f);
    const float body_hue = hue(), body_saturation = between(0.1f, 0.9f), body_value = between(0.12f, 0.75f);
    const float wing_hue = hue(), wing_value = between(0.45f, 0.95f);
    const float stripes = between(1.5f, 9.0f), stripe_contrast = between(-0.4f, 0.7f), stripe_hue = hue();
    const float spot_place = between(0.25f, 0.85f), spot_size = between(-0.05f, 0.13f), spot_hue = hue(), thorax_shade = between(-0.3f, 0.3f);

    const float grey = 0.82f + 0.12f * draw(0);
    specimen_painter p(size, {grey, grey, grey * (0.97f + 0.05f * draw(1))});
    p.place(o.turn * (2.0f * draw(2) - 1.0f), 0.82f + 0.2f * draw(3), 0.12f * (draw(4) - 0.5f), 0.12f * (draw(5) - 0.5f));
    const rgb body = hsv(body_hue, body_saturation, body_value), dark = hsv(body_hue, body_saturation, 0.6f * body_value);
    const rgb stripe = hsv(stripe_hue, 0.8f, std::clamp(body_value + stripe_contrast, 0.05f, 0.95f)), wing = hsv(wing_hue, 0.35f, wing_value), spot = hsv(spot_hue, 0.9f, 0.55f);
    const rgb thorax = hsv(body_hue, body_saturation, std::clamp(body_value + thorax_shade, 0.05f, 0.95f));
    const auto plain = [](rgb c) { return [c](float, float) { return c; }; };
    const float neck = -thorax_b, waist = thorax_b * 0.8f;

    for (const float side : {-1.0f, 1.0f}) {
        for (int leg = 0; leg < 3; ++leg) {
            const float from = thorax_b * (static_cast<float>(leg) - 1.0f) * 0.6f, angle = (static_cast<float>(leg) - 1.0f) * 0.7f + 0.25f * (draw(6 + static_cast<std::size_t>(leg)) - 0.5f);
            const float bx = side * (thorax_a + leg_length * std::cos(angle)), by = from + leg_length * std::sin(angle);
            p.paint([&](float x, float y) { return in_line(x, y, 0.0f, from, bx, by, 0.018f); }, plain(dark));
        }
        p.paint([&](float x, float y) { return in_line(x, y, 0.0f, neck - head, side * antenna * std::sin(antenna_angle), neck - head - antenna * std::cos(antenna_angle), 0.014f); }, plain(dark));
    }
    p.paint([&](float x, float y) { return in_ellipse(x, y, 0.0f, waist + abdomen_b, abdomen_a, abdomen_b); },
            [&](float, float y) { return stripe_contrast > 0.0f && std::sin(stripes * 6.2831853f * (y - waist) / (2.0f * abdomen_b)) > 0.2f ? stripe : body; });
    p.paint([&](float x, float y) { return in_ellipse(x, y, 0.0f, 0.0f, thorax_a, thorax_b); }, plain(thorax));
    p.paint([&](float x, float y) { return in_ellipse(x, y, 0.0f, neck - 0.6f * head, head, head); }, plain(dark));
    for (const float side : {-1.0f, 1.0f}) {
        const float c = std::sin(wing_angle) * side, s = std::cos(wing_angle), cx = side * thorax_a * 0.5f + 0.5f * wing_length * c, cy = 0.5f * wing_length * s;
        const auto inside = [&](float x, float y) { return in_ellipse(x, y, cx, cy, 0.5f * wing_length, wing_width, c, s); };
        p.paint(inside, plain(wing), wing_opacity);
        if (spot_size > 0.01f) {
            const float sx = side * thorax_a * 0.5f + spot_place * wing_length * c, sy = spot_place * wing_length * s;
            p.paint([&](float x, float y) { return std::min(inside(x, y), spot_size - std::hypot(x - sx, y - sy)); }, plain(spot));
        }
    }
    image y{size, size, std::vector<std::uint8_t>(static_cast<std::size_t>(size * size * 3))};
    const float light = 0.85f + 0.3f * draw(9);
    const philox noise = rng.fork(2);
    for (std::size_t i = 0; i < y.pixels.size(); ++i) {
        const float v = light * p.pixels()[i / 3][i % 3] + 0.02f * noise.normal(i);
        y.pixels[i] = static_cast<std::uint8_t>(std::lround(255.0f * std::clamp(v, 0.0f, 1.0f)));
    }
    return y;
}

}  // namespace instar::data

#endif
