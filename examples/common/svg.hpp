#ifndef INSTAR_EXAMPLES_COMMON_SVG_HPP
#define INSTAR_EXAMPLES_COMMON_SVG_HPP

// What charts are made of: escaped text, round ticks, an axis (linear or logarithmic), the frame of a figure, a legend.
//
//     const axis x(0, 1200, 58, 806);                       // values 0 … 1200 onto pixels 58 … 806
//     std::string svg = figure_begin("loss", "step", "loss") + horizontal_grid(y) + vertical_ticks(x) + …;
//
// Colours are classes (c0 … c5, f0 … f5) that html_report.hpp defines for light and dark.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "instar/io/json_text.hpp"

namespace examples {

/// Text as it may stand in HTML, in elements and in quoted attributes. What is no UTF-8 and control characters become U+FFFD.
inline std::string escape_html(std::string_view text) {
    std::string s;
    while (!text.empty()) {
        const std::size_t n = instar::io::detail::utf8_length(text);
        const char c = text[0];
        const bool control = n == 1 && (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) && c != '\n' && c != '\t';
        if (n == 0 || control) s += "\xef\xbf\xbd";
        else if (c == '&') s += "&amp;";
        else if (c == '<') s += "&lt;";
        else if (c == '>') s += "&gt;";
        else if (c == '"') s += "&quot;";
        else if (c == '\'') s += "&#39;";
        else s += text.substr(0, n);
        text.remove_prefix(n == 0 ? 1 : n);
    }
    return s;
}

/// Up to about n round numbers in [low, high]; none when a bound is not finite.
inline std::vector<double> nice_ticks(double low, double high, int n) {
    if (!std::isfinite(low) || !std::isfinite(high)) return {};
    if (high <= low) return {low};
    const double span = high - low, raw = span / std::max(n, 1);
    const double power = std::pow(10.0, std::floor(std::log10(raw)));
    const double step = raw / power < 1.5   ? power
                        : raw / power < 3.5 ? 2 * power
                        : raw / power < 7.5 ? 5 * power
                                            : 10 * power;
    std::vector<double> ticks;
    const double first = std::ceil(low / step - 1e-9);
    // Counted, not accumulated: a step below the resolution of `low` would never get there.
    for (int i = 0; i <= 2 * n + 2; ++i) {
        const double t = (first + i) * step;
        if (t > high + 1e-9 * span) break;
        ticks.push_back(std::abs(t) < 1e-9 * step ? 0.0 : t);
    }
    return ticks;
}

/// Powers of ten in [low, high]; with 2 and 5 between them when they are few. Both bounds must be positive.
inline std::vector<double> log_ticks(double low, double high) {
    std::vector<double> ticks;
    const int first = static_cast<int>(std::floor(std::log10(low))),
              last = static_cast<int>(std::ceil(std::log10(high)));
    const int every = std::max(1, (last - first + 7) / 8);
    for (int e = first; e <= last; e += every) {
        for (const double m : {1.0, 2.0, 5.0}) {
            if (m > 1 && last - first > 3) continue;
            const double t = m * std::pow(10.0, e);
            if (t >= low * (1 - 1e-9) && t <= high * (1 + 1e-9)) ticks.push_back(t);
        }
    }
    return ticks;
}

namespace svg {

inline constexpr double k_width = 820, k_height = 300, k_left = 58, k_right = 14, k_top = 30, k_bottom = 44;
inline constexpr std::size_t k_n_colors = 6;

/// A number for an attribute: one decimal, no locale, no NaN.
inline std::string coordinate(double v) {
    char s[32];
    std::snprintf(s, sizeof s, "%.1f", std::isfinite(v) ? std::clamp(v, -1e5, 1e5) : 0.0);
    std::string text = s;
    if (text.ends_with(".0")) text.resize(text.size() - 2);
    return text == "-0" ? "0" : text;
}

/// A number for a reader: "1,200", "0.25", "1e-05".
inline std::string label(double v) {
    if (!std::isfinite(v)) return "–";
    char s[32];
    if (v == std::floor(v) && std::abs(v) >= 1000 && std::abs(v) < 1e9) {
        std::snprintf(s, sizeof s, "%.0f", v);
        std::string text = s;
        for (std::size_t i = text.size(); i > 3 + (text[0] == '-');) text.insert(i -= 3, ",");
        return text;
    }
    std::snprintf(s, sizeof s, "%.5g", v);
    return s;
}

/// A tick's label: no more digits than the step needs.
inline std::string tick_label(double v, double step) {
    if (std::abs(v) >= 1000 || v == 0 || !(step > 0)) return label(v);
    if (step < 1e-4) {
        char s[32];
        std::snprintf(s, sizeof s, "%.3g", v);
        return s;
    }
    int decimals = 0;
    for (double scaled = step; decimals < 4 && std::abs(scaled - std::round(scaled)) > 1e-6; scaled *= 10) ++decimals;
    char s[32];
    std::snprintf(s, sizeof s, "%.*f", decimals, v);
    return s;
}

/// Columns of a text, for a guess at its width.
inline double text_width(const std::string& s, double font_size = 12) {
    const auto n =
        std::count_if(s.begin(), s.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; });
    return 0.56 * font_size * static_cast<double>(n);
}

/// Values onto pixels.
class axis {
public:
    axis(double low, double high, double from, double to, bool logarithmic = false)
        : low_(low),
          high_(high),
          from_(from),
          to_(to),
          logarithmic_(logarithmic) {
        if (!(high_ > low_)) high_ = low_ + (low_ == 0 ? 1 : std::abs(low_) * 0.1);
        if (logarithmic_) {
            a_ = std::log10(low_);
            b_ = std::log10(high_);
        } else {
            a_ = low_;
            b_ = high_;
        }
    }
    double operator()(double v) const {
        return from_ + ((logarithmic_ ? std::log10(v) : v) - a_) / (b_ - a_) * (to_ - from_);
    }
    /// Whether a value has a place on the axis at all.
    bool shows(double v) const { return std::isfinite(v) && (!logarithmic_ || v > 0); }
    std::vector<double> ticks(int n) const {
        return logarithmic_ ? log_ticks(low_, high_) : nice_ticks(low_, high_, n);
    }
    bool logarithmic() const { return logarithmic_; }
    double low() const { return low_; }
    double high() const { return high_; }

private:
    double low_, high_, from_, to_, a_, b_;
    bool logarithmic_;
};

/// Smallest and largest of the values that an axis can show.
struct range {
    double low = INFINITY, high = -INFINITY;
    void add(double v, bool logarithmic = false) {
        if (!std::isfinite(v) || (logarithmic && v <= 0)) return;
        low = std::min(low, v);
        high = std::max(high, v);
    }
    bool empty() const { return low > high; }
    /// A twentieth of air at both ends.
    void widen(bool logarithmic = false) {
        if (logarithmic) {
            const double f = std::max(std::pow(high / low, 0.04), 1.02);
            low /= f;
            high *= f;
        } else {
            const double air = high > low ? 0.05 * (high - low) : std::max(0.05 * std::abs(low), 1e-3);
            low -= air;
            high += air;
        }
    }
};

inline std::string text(double x, double y, const std::string& s, const char* anchor, const char* style = "") {
    return "<text x=\"" + coordinate(x) + "\" y=\"" + coordinate(y) + "\" text-anchor=\"" + anchor + "\"" + style +
           ">" + escape_html(s) + "</text>\n";
}
inline std::string line(double x1, double y1, double x2, double y2, const char* css) {
    return "<line class=\"" + std::string(css) + "\" x1=\"" + coordinate(x1) + "\" y1=\"" + coordinate(y1) +
           "\" x2=\"" + coordinate(x2) + "\" y2=\"" + coordinate(y2) + "\"/>\n";
}
inline std::string rect(double x, double y, double w, double h, const std::string& rest) {
    return "<rect x=\"" + coordinate(x) + "\" y=\"" + coordinate(y) + "\" width=\"" + coordinate(std::max(w, 0.0)) +
           "\" height=\"" + coordinate(std::max(h, 0.0)) + "\" " + rest;
}
inline std::string color_class(const char* kind, std::size_t i) { return kind + std::to_string(i % k_n_colors); }

inline std::string figure_begin(const std::string& title, const std::string& x_label, const std::string& y_label,
                                double height = k_height) {
    std::string s = "<figure><svg viewBox=\"0 0 820 " + coordinate(height) + "\" role=\"img\" aria-label=\"" +
                    escape_html(title.empty() ? y_label : title) + "\">\n";
    if (!title.empty()) s += text(k_left, 16, title, "start", " class=\"title\"");
    if (!x_label.empty()) s += text((k_left + k_width - k_right) / 2, height - 8, x_label, "middle");
    if (!y_label.empty()) {
        s += "<text transform=\"translate(14," + coordinate((k_top + height - k_bottom) / 2) +
             ") rotate(-90)\" text-anchor=\"middle\">" + escape_html(y_label) + "</text>\n";
    }
    return s;
}

/// Lines across the figure at the ticks of y, with their numbers.
inline std::string horizontal_grid(const axis& y, int n = 5) {
    const auto ticks = y.ticks(n);
    const double step = y.logarithmic() || ticks.size() < 2 ? 0 : ticks[1] - ticks[0];
    std::string s;
    for (const double t : ticks)
        s += line(k_left, y(t), k_width - k_right, y(t), "grid") +
             text(k_left - 8, y(t) + 4, tick_label(t, step), "end");
    return s;
}
/// The numbers below the figure.
inline std::string x_ticks(const axis& x, int n = 7, double height = k_height) {
    const auto ticks = x.ticks(n);
    const double step = x.logarithmic() || ticks.size() < 2 ? 0 : ticks[1] - ticks[0];
    std::string s;
    for (const double t : ticks) {
        s += line(x(t), height - k_bottom, x(t), height - k_bottom + 4, "axis") +
             text(x(t), height - k_bottom + 17, tick_label(t, step), "middle");
    }
    return s + line(k_left, height - k_bottom, k_width - k_right, height - k_bottom, "axis");
}

inline std::string legend(const std::vector<std::string>& names) {
    std::string s = "<div class=\"legend\">";
    for (std::size_t i = 0; i < names.size(); ++i) {
        s += "<span><i class=\"b" + std::to_string(i % k_n_colors) + "\"></i>" + escape_html(names[i]) + "</span>";
    }
    return s + "</div>";
}

}  // namespace svg
}  // namespace examples

#endif
