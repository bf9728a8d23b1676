#ifndef INSTAR_EXAMPLES_COMMON_CHARTS_HPP
#define INSTAR_EXAMPLES_COMMON_CHARTS_HPP

// Charts as strings of HTML: a figure each, inline SVG. html_report.hpp puts them on a page and gives them their colours.
//
//     std::string html = line_chart("loss", {{"train", steps, losses}}, {.x_label = "step", .y_label = "loss", .log_y = true});
//     html += scatter("UMAP", x, y, {{"order", orders}, {"family", families}}, id);   // a picker when there are several groupings
//
// NaN and infinities are gaps, never coordinates. All throw value_error when lengths disagree.

#include <array>
#include <map>
#include <numeric>

#include "instar/core/error.hpp"
#include "svg.hpp"

namespace examples {

struct line_series {
    std::string name;
    std::vector<double> x, y;
};
struct bar_series {
    std::string name;
    std::vector<double> values;  // one a category; NaN = no value
};
/// One way to colour the points of a scatter plot: a group name a point.
struct scatter_grouping {
    std::string name;
    std::vector<std::string> groups;
};
struct chart_options {
    std::string x_label{}, y_label{};
    bool log_x = false, log_y = false;
};

namespace detail {

inline void check_length(const std::string& what, std::size_t n, std::size_t expected) {
    if (n != expected)
        throw instar::value_error("html_report: " + what + " has " + std::to_string(n) + " values, expected " +
                                  std::to_string(expected));
}

/// Lowest and highest point of each of `n_bins` ranges of x, in order: what 800 pixels can show of a million steps.
inline line_series thinned(const line_series& s, std::size_t n_bins = 700) {
    if (s.x.size() <= 2 * n_bins) return s;
    line_series t{s.name, {}, {}};
    for (std::size_t b = 0; b < n_bins; ++b) {
        const std::size_t begin = b * s.x.size() / n_bins, end = (b + 1) * s.x.size() / n_bins;
        std::size_t low = begin, high = begin;
        for (std::size_t i = begin; i < end; ++i) {
            if (!(s.y[i] >= s.y[low])) low = i;
            if (!(s.y[i] <= s.y[high])) high = i;
        }
        for (const std::size_t i : {std::min(low, high), std::max(low, high)}) {
            if (!t.x.empty() && low == high && i == std::max(low, high) && t.x.back() == s.x[i]) continue;
            t.x.push_back(s.x[i]);
            t.y.push_back(s.y[i]);
        }
    }
    return t;
}

template <class Series>
std::vector<std::string> names_of(const std::vector<Series>& series) {
    std::vector<std::string> n;
    for (const auto& s : series) n.push_back(s.name);
    return n;
}

}  // namespace detail

/// Lines over a common x. Linear axes include 0 when the values come near it.
inline std::string line_chart(const std::string& title, const std::vector<line_series>& series,
                              const chart_options& o = {}) {
    using namespace svg;
    range rx, ry;
    for (const auto& s : series) {
        detail::check_length("y of series " + s.name, s.y.size(), s.x.size());
        for (std::size_t i = 0; i < s.x.size(); ++i) {
            if (!std::isfinite(s.y[i]) || !std::isfinite(s.x[i]) || (o.log_y && s.y[i] <= 0) ||
                (o.log_x && s.x[i] <= 0))
                continue;
            rx.add(s.x[i]);
            ry.add(s.y[i]);
        }
    }
    if (rx.empty()) return "";
    if (!o.log_x && rx.low > 0 && rx.low < 0.1 * rx.high) rx.low = 0;
    const bool from_zero = !o.log_y && ry.low > 0 && ry.low < 0.5 * ry.high;
    if (o.log_x && !(rx.high > rx.low)) rx.widen(true);
    ry.widen(o.log_y);
    if (from_zero) ry.low = 0;
    const axis x(rx.low, rx.high, k_left, k_width - k_right, o.log_x),
        y(ry.low, ry.high, k_height - k_bottom, k_top, o.log_y);
    std::string s = figure_begin(title, o.x_label, o.y_label) + horizontal_grid(y) + x_ticks(x);
    for (std::size_t i = 0; i < series.size(); ++i) {
        const line_series t = detail::thinned(series[i]);
        std::string path, dots;
        std::size_t n_joined = 0;
        for (std::size_t j = 0; j <= t.x.size(); ++j) {
            if (j < t.x.size() && x.shows(t.x[j]) && y.shows(t.y[j])) {
                path += (n_joined++ ? " " : "M") + coordinate(x(t.x[j])) + "," + coordinate(y(t.y[j]));
                continue;
            }
            // A point without neighbours draws no line.
            if (n_joined == 1) {
                dots += "<circle class=\"" + color_class("f", i) + "\" cx=\"" + coordinate(x(t.x[j - 1])) + "\" cy=\"" +
                        coordinate(y(t.y[j - 1])) + "\" r=\"3\"/>\n";
            }
            n_joined = 0;
        }
        s += "<path class=\"line " + color_class("s", i) + "\" d=\"" + path + "\"><title>" + escape_html(t.name) +
             "</title></path>\n" + dots;
    }
    return s + "</svg>" + (series.size() > 1 ? legend(detail::names_of(series)) : "") + "</figure>\n";
}

/// Groups of bars, one group a category (a rank), one colour a series (a method).
inline std::string bar_chart(const std::string& title, const std::vector<std::string>& categories,
                             const std::vector<bar_series>& series, const std::string& y_label) {
    using namespace svg;
    range r;
    r.add(0);
    bool counts = true;  // whole numbers are written as such
    for (const auto& s : series) {
        detail::check_length("series " + s.name, s.values.size(), categories.size());
        for (double v : s.values) {
            r.add(v);
            counts = counts && (!std::isfinite(v) || v == std::floor(v));
        }
    }
    if (categories.empty() || series.empty()) return "";
    if (r.high > 50 && r.high <= 100) r.high = 100;  // percentages
    else r.high = r.high > 0 ? 1.05 * r.high : r.low < 0 ? 0 : 1;
    if (r.low < 0) r.low *= 1.05;
    const double group = (k_width - k_left - k_right) / static_cast<double>(categories.size());
    const double bar = std::min(46.0, 0.84 * group / static_cast<double>(series.size()));
    double widest = 0;
    for (const auto& c : categories) widest = std::max(widest, text_width(c));
    const bool slanted = widest > group - 4;
    const double height = k_height + (slanted ? std::min(0.6 * widest, 90.0) : 0);
    const axis y(r.low, r.high, k_height - k_bottom, k_top);
    std::string s = figure_begin(title, "", y_label, height) + horizontal_grid(y) +
                    line(k_left, y(0), k_width - k_right, y(0), "axis");
    for (std::size_t c = 0; c < categories.size(); ++c) {
        const double middle = k_left + (static_cast<double>(c) + 0.5) * group, below = k_height - k_bottom + 18;
        const std::string turn = " transform=\"rotate(-35 " + coordinate(middle) + " " + coordinate(below) + ")\"";
        s += text(middle, below, categories[c], slanted ? "end" : "middle", slanted ? turn.c_str() : "");
        for (std::size_t i = 0; i < series.size(); ++i) {
            const double v = series[i].values[c],
                         left = middle + (static_cast<double>(i) - static_cast<double>(series.size()) / 2) * bar;
            if (!std::isfinite(v)) {
                if (bar > 26) s += text(left + bar / 2, y(0) - 4, "–", "middle");
                continue;
            }
            const double top = std::min(y(v), y(0)), gap = bar > 8 ? 1 : 0;
            s += rect(left + gap, top, bar - 2 * gap, std::abs(y(v) - y(0)),
                      "rx=\"2\" class=\"" + color_class("f", i) + "\"><title>" +
                          escape_html(series[i].name + ", " + categories[c] + ": " + label(v)) + "</title></rect>\n");
            if (bar > 26) {
                char shown[32];
                std::snprintf(shown, sizeof shown, std::abs(v) < 10 ? "%.2f" : "%.1f", v);
                s += text(left + bar / 2, v < 0 ? y(v) + 14 : top - 4, counts || std::abs(v) >= 1e5 ? label(v) : shown,
                          "middle", " class=\"value\"");
            }
        }
    }
    return s + "</svg>" + (series.size() > 1 ? legend(detail::names_of(series)) : "") + "</figure>\n";
}

/// Counts of values in equal bins. n_bins = 0: a bin for each whole number where all values are whole and at most 60 apart, otherwise the
/// square root of the number of values, 10 to 60.
inline std::string histogram(const std::string& title, const std::vector<double>& values, const std::string& x_label,
                             int n_bins = 0) {
    using namespace svg;
    range r;
    std::size_t n = 0;
    bool whole = true;
    for (double v : values) {
        r.add(v);
        n += std::isfinite(v);
        whole = whole && (!std::isfinite(v) || v == std::floor(v));
    }
    if (r.empty()) return "";
    if (n_bins <= 0 && whole && r.high - r.low <= 60) {
        n_bins = static_cast<int>(r.high - r.low) + 1;
        r.low -= 0.5;
        r.high += 0.5;
    }
    if (n_bins <= 0) n_bins = std::clamp(static_cast<int>(std::sqrt(static_cast<double>(n))), 10, 60);
    if (!(r.high > r.low)) r.widen();
    std::vector<std::size_t> count(static_cast<std::size_t>(n_bins), 0);
    for (double v : values) {
        if (!std::isfinite(v)) continue;
        const double at = (v - r.low) / (r.high - r.low) * n_bins;
        ++count[std::min(static_cast<std::size_t>(std::max(at, 0.0)), count.size() - 1)];
    }
    const axis x(r.low, r.high, k_left, k_width - k_right);
    const axis y(0, 1.05 * static_cast<double>(*std::max_element(count.begin(), count.end())), k_height - k_bottom,
                 k_top);
    std::string s = figure_begin(title, x_label, "count") + horizontal_grid(y) + x_ticks(x);
    for (std::size_t b = 0; b < count.size(); ++b) {
        const double from = r.low + (r.high - r.low) * static_cast<double>(b) / n_bins,
                     to = r.low + (r.high - r.low) * static_cast<double>(b + 1) / n_bins;
        const double top = y(static_cast<double>(count[b]));
        s += rect(x(from) + 0.5, top, x(to) - x(from) - 1, y(0) - top,
                  "class=\"f2\"><title>" +
                      escape_html(label(from) + " to " + label(to) + ": " + std::to_string(count[b])) +
                      "</title></rect>\n");
    }
    return s + "</svg></figure>\n";
}

/// Points, coloured by group: the largest groups get a colour each, the others grey. With several groupings a picker changes
/// the colours in place (a few lines of script; without script the first grouping is shown). `id`: unique on the page.
inline std::string scatter(const std::string& title, const std::vector<double>& px, const std::vector<double>& py,
                           const std::vector<scatter_grouping>& groupings, const std::string& id,
                           const chart_options& o = {}) {
    using namespace svg;
    constexpr double k_tall = 520;
    detail::check_length("y of " + title, py.size(), px.size());
    range rx, ry;
    for (std::size_t i = 0; i < px.size(); ++i) {
        if (!std::isfinite(px[i]) || !std::isfinite(py[i])) continue;
        rx.add(px[i]);
        ry.add(py[i]);
    }
    if (rx.empty()) return "";
    rx.widen();
    ry.widen();
    const axis x(rx.low, rx.high, k_left, k_width - k_right), y(ry.low, ry.high, k_tall - k_bottom, k_top);
    std::string s = figure_begin(title, o.x_label, o.y_label, k_tall) + horizontal_grid(y, 6) + x_ticks(x, 8, k_tall);
    const auto point = [&](std::size_t i) {
        return std::isfinite(px[i]) && std::isfinite(py[i])
                   ? "M" + coordinate(x(px[i])) + "," + coordinate(y(py[i])) + "h0"
                   : std::string();
    };
    if (groupings.empty()) {
        s += "<path class=\"dots s2\" d=\"";
        for (std::size_t i = 0; i < px.size(); ++i) s += point(i);
        return s + "\"/></svg></figure>\n";
    }
    std::string layers, legends, picker;
    for (std::size_t g = 0; g < groupings.size(); ++g) {
        detail::check_length("grouping " + groupings[g].name, groupings[g].groups.size(), px.size());
        std::map<std::string, std::vector<std::size_t>> members;
        for (std::size_t i = 0; i < px.size(); ++i) members[groupings[g].groups[i]].push_back(i);
        std::vector<const std::pair<const std::string, std::vector<std::size_t>>*> order;
        for (const auto& m : members) order.push_back(&m);
        std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
            return a->second.size() != b->second.size() ? a->second.size() > b->second.size() : a->first < b->first;
        });
        // Colour 0 is the grey of what is left over; it lies below the others.
        const std::size_t n_colored = order.size() <= k_n_colors - 1 ? order.size() : k_n_colors - 1;
        std::string rest, paths;
        for (std::size_t i = 0; i < order.size(); ++i) {
            std::string d;
            for (const std::size_t m : order[i]->second) d += point(m);
            if (i < n_colored)
                paths += "<path class=\"dots " + color_class("s", i + 1) + "\" d=\"" + d + "\"><title>" +
                         escape_html(order[i]->first) + "</title></path>\n";
            else rest += d;
        }
        const std::string hidden = g == 0 ? "" : " style=\"display:none\"", tag = id + "-" + std::to_string(g);
        layers += "<g class=\"" + escape_html(id) + "\" id=\"" + escape_html(tag) + "\"" + hidden + ">" +
                  (rest.empty() ? "" : "<path class=\"dots s0\" d=\"" + rest + "\"/>\n") + paths + "</g>\n";
        legends +=
            "<div class=\"legend " + escape_html(id) + "\" id=\"" + escape_html(tag) + "-legend\"" + hidden + ">";
        for (std::size_t i = 0; i < n_colored; ++i) {
            legends += "<span><i class=\"b" + std::to_string(i + 1) + "\"></i>" + escape_html(order[i]->first) + " (" +
                       label(static_cast<double>(order[i]->second.size())) + ")</span>";
        }
        if (order.size() > n_colored)
            legends += "<span><i class=\"b0\"></i>" + std::to_string(order.size() - n_colored) + " others</span>";
        legends += "</div>";
        picker += "<option value=\"" + std::to_string(g) + "\">" + escape_html(groupings[g].name) + "</option>";
    }
    if (groupings.size() > 1) {
        picker = "<label class=\"picker\">colour by <select data-picks=\"" + escape_html(id) + "\">" + picker +
                 "</select></label>";
    } else {
        picker.clear();
    }
    return picker + s + layers + "</svg>" + legends + "</figure>\n";
}

/// A matrix as shades, row-major; numbers stand in the cells when they fit. For a confusion matrix: rows = truth, columns =
/// prediction. NaN cells are empty. Values are shaded between 0 (or the smallest, when negative) and the largest.
inline std::string heat_map(const std::string& title, const std::vector<std::string>& rows,
                            const std::vector<std::string>& columns, const std::vector<double>& values,
                            const std::string& row_title = "", const std::string& column_title = "") {
    using namespace svg;
    detail::check_length("heat map " + title, values.size(), rows.size() * columns.size());
    if (values.empty()) return "";
    range r;
    r.add(0);
    for (double v : values) r.add(v);
    if (!(r.high > r.low)) r.high = r.low + 1;
    double left = 0, top_text = 0;
    for (const auto& name : rows) left = std::max(left, text_width(name));
    for (const auto& name : columns) top_text = std::max(top_text, text_width(name));
    left = std::min(left, 220.0) + (row_title.empty() ? 10 : 34);
    const double n_columns = static_cast<double>(columns.size()), n_rows = static_cast<double>(rows.size());
    const double cell = std::min({(k_width - left - k_right) / n_columns, 42.0, std::max(900.0 / n_rows, 3.0)});
    const bool slanted = top_text > cell - 4;
    const double top = k_top + (column_title.empty() ? 0 : 20) + (slanted ? std::min(0.77 * top_text, 160.0) + 20 : 16),
                 height = top + cell * n_rows + 12;
    std::string s = "<figure><svg viewBox=\"0 0 820 " + coordinate(height) + "\" role=\"img\" aria-label=\"" +
                    escape_html(title) + "\">\n";
    if (!title.empty()) s += text(0, 16, title, "start", " class=\"title\"");
    if (!column_title.empty()) s += text(left + cell * n_columns / 2, k_top + 8, column_title, "middle");
    if (!row_title.empty()) {
        s += "<text transform=\"translate(12," + coordinate(top + cell * n_rows / 2) +
             ") rotate(-90)\" text-anchor=\"middle\">" + escape_html(row_title) + "</text>\n";
    }
    // With cells lower than a line of text, every n-th name.
    const auto every = static_cast<std::size_t>(std::max(1.0, std::ceil(12.0 / cell)));
    for (std::size_t i = 0; i < rows.size(); i += every)
        s += text(left - 6, top + cell * (static_cast<double>(i) + 0.5) + 4, rows[i], "end");
    for (std::size_t j = 0; j < columns.size(); j += every) {
        const double cx = left + cell * (static_cast<double>(j) + 0.5), cy = top - 6;
        const std::string turn = " transform=\"rotate(-50 " + coordinate(cx) + " " + coordinate(cy) + ")\"";
        s += text(cx, cy, columns[j], slanted ? "start" : "middle", slanted ? turn.c_str() : "");
    }
    for (std::size_t i = 0; i < rows.size(); ++i) {
        for (std::size_t j = 0; j < columns.size(); ++j) {
            const double v = values[i * columns.size() + j];
            const double share = std::isfinite(v) ? (v - r.low) / (r.high - r.low) : 0.0;
            const double cx = left + cell * static_cast<double>(j), cy = top + cell * static_cast<double>(i);
            char opacity[16];
            std::snprintf(opacity, sizeof opacity, "%.3f", 0.04 + 0.96 * share);
            s += rect(cx, cy, cell - (cell > 8 ? 1 : 0), cell - (cell > 8 ? 1 : 0),
                      "class=\"f2\" fill-opacity=\"" + std::string(opacity) + "\"><title>" +
                          escape_html(rows[i] + ", " + columns[j] + ": " + label(v)) + "</title></rect>\n");
            const std::string number = label(v);
            if (v != 0 && cell >= 18 && text_width(number, 11) <= cell - 2) {
                s += text(cx + cell / 2 - 0.5, cy + cell / 2 + 3.5, number, "middle",
                          share > 0.7 ? " class=\"on\"" : " class=\"cell\"");
            }
        }
    }
    return s + "</svg></figure>\n";
}

}  // namespace examples

#endif
