#ifndef INSTAR_EXAMPLES_COMMON_HTML_REPORT_HPP
#define INSTAR_EXAMPLES_COMMON_HTML_REPORT_HPP

// A report as one HTML file: cards, tables, line and bar charts as inline SVG; no network, no script, light and dark.
//
//     examples::html_report report("Benchmark 1", "DNA barcodes");
//     report.card("accuracy", "99.1 %");
//     report.line_chart("loss", {{"train", steps, losses}}, "step", "loss");
//     report.bar_chart({"species", "genus"}, {{"5-mer", {99.3, 99.6}}, {"encoder", {99.1, 99.7}}}, "accuracy, %");
//     report.write("out/report.html");

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "instar/core/error.hpp"
#include "instar/io/atomic_file.hpp"

namespace examples {

struct line_series {
    std::string name;
    std::vector<double> x, y;
};
struct bar_series {
    std::string name;
    std::vector<double> values;  // one a category
};

/// Text as it may stand in HTML.
inline std::string escape_html(std::string_view text) {
    std::string s;
    for (char c : text) {
        switch (c) {
            case '&': s += "&amp;"; break;
            case '<': s += "&lt;"; break;
            case '>': s += "&gt;"; break;
            case '"': s += "&quot;"; break;
            default: s += c;
        }
    }
    return s;
}

/// Up to about n round numbers that cover [low, high].
inline std::vector<double> nice_ticks(double low, double high, int n) {
    const double span = std::max(high - low, 1e-12), raw = span / std::max(n, 1);
    const double power = std::pow(10.0, std::floor(std::log10(raw)));
    const double step = raw / power < 1.5 ? power : raw / power < 3.5 ? 2 * power : raw / power < 7.5 ? 5 * power : 10 * power;
    std::vector<double> ticks;
    for (double t = std::ceil(low / step - 1e-9) * step; t <= high + 1e-9 * span; t += step) ticks.push_back(std::abs(t) < 1e-9 * step ? 0.0 : t);
    return ticks;
}

class html_report {
public:
    html_report(std::string title, std::string subtitle) : title_(std::move(title)), subtitle_(std::move(subtitle)) {}

    /// One figure with its name; consecutive cards share a line under the title.
    void card(const std::string& name, const std::string& value) {
        cards_ += "<div class=card><b>" + escape_html(value) + "</b><span>" + escape_html(name) + "</span></div>\n";
    }
    void section(const std::string& title) { body_ += "<h2>" + escape_html(title) + "</h2>\n"; }
    void paragraph(const std::string& text) { body_ += "<p>" + escape_html(text) + "</p>\n"; }

    /// The largest number of each column but the first is set in bold.
    void table(const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& rows, bool mark_best = true) {
        std::vector<double> best(header.size(), -1e300);
        for (const auto& row : rows) {
            for (std::size_t c = 1; c < row.size(); ++c) {
                if (const auto v = number(row[c]); !std::isnan(v)) best[c] = std::max(best[c], v);
            }
        }
        body_ += "<div class=scroll><table><tr>";
        for (const auto& h : header) body_ += "<th>" + escape_html(h) + "</th>";
        body_ += "</tr>\n";
        for (const auto& row : rows) {
            body_ += "<tr>";
            for (std::size_t c = 0; c < row.size(); ++c) {
                const bool mark = mark_best && c > 0 && number(row[c]) == best[c];
                body_ += "<td>" + std::string(mark ? "<b>" : "") + escape_html(row[c]) + (mark ? "</b>" : "") + "</td>";
            }
            body_ += "</tr>\n";
        }
        body_ += "</table></div>\n";
    }

    /// Throws value_error when a series' x and y differ in length.
    void line_chart(const std::string& title, const std::vector<line_series>& series, const std::string& x_label, const std::string& y_label) {
        double x0 = 1e300, x1 = -1e300, y0 = 1e300, y1 = -1e300;
        for (const auto& s : series) {
            if (s.x.size() != s.y.size()) throw instar::value_error("html_report: series " + s.name + " has " + std::to_string(s.x.size()) + " x and " + std::to_string(s.y.size()) + " y");
            for (double v : s.x) x0 = std::min(x0, v), x1 = std::max(x1, v);
            for (double v : s.y) y0 = std::min(y0, v), y1 = std::max(y1, v);
        }
        if (x0 > x1) return;
        x0 = std::min(x0, 0.0);
        if (y1 - y0 < 1e-12) y1 = y0 + 1;
        y0 = y0 > 0 && y0 < 0.5 * y1 ? 0.0 : y0 - 0.05 * (y1 - y0);
        y1 += 0.05 * (y1 - y0);
        const auto px = [&](double v) { return k_left + (v - x0) / std::max(x1 - x0, 1e-12) * (k_width - k_left - k_right); };
        const auto py = [&](double v) { return k_height - k_bottom - (v - y0) / (y1 - y0) * (k_height - k_top - k_bottom); };
        std::string svg = frame(title, x_label, y_label);
        for (double t : nice_ticks(y0, y1, 5)) svg += grid_line(py(t), t);
        for (double t : nice_ticks(x0, x1, 7)) svg += text(px(t), k_height - k_bottom + 16, label(t), "middle");
        for (std::size_t i = 0; i < series.size(); ++i) {
            svg += "<polyline fill=none stroke='" + color(i) + "' stroke-width=2 points='";
            for (std::size_t j = 0; j < series[i].x.size(); ++j) svg += coordinate(px(series[i].x[j])) + "," + coordinate(py(series[i].y[j])) + " ";
            svg += "'/>\n";
        }
        body_ += svg + "</svg>" + (series.size() > 1 ? legend(names(series)) : "") + "</figure>\n";
    }

    /// Groups of bars, one group a category, values from 0 up. Throws value_error when a series has another length.
    void bar_chart(const std::vector<std::string>& categories, const std::vector<bar_series>& series, const std::string& y_label) {
        double top = 0;
        for (const auto& s : series) {
            if (s.values.size() != categories.size()) throw instar::value_error("html_report: series " + s.name + " has " + std::to_string(s.values.size()) + " bars for " + std::to_string(categories.size()) + " categories");
            for (double v : s.values) top = std::max(top, v);
        }
        top = top <= 0 ? 1 : top > 50 && top <= 100 ? 100 : 1.05 * top;
        const double y_of_zero = k_height - k_bottom, scale = (k_height - k_top - k_bottom) / top;
        const double group = (k_width - k_left - k_right) / static_cast<double>(std::max<std::size_t>(categories.size(), 1));
        const double bar = std::min(46.0, 0.84 * group / static_cast<double>(std::max<std::size_t>(series.size(), 1)));
        std::string svg = frame("", "", y_label);
        for (double t : nice_ticks(0, top, 5)) svg += grid_line(y_of_zero - t * scale, t);
        for (std::size_t c = 0; c < categories.size(); ++c) {
            const double middle = k_left + (static_cast<double>(c) + 0.5) * group;
            svg += text(middle, k_height - k_bottom + 18, categories[c], "middle");
            for (std::size_t i = 0; i < series.size(); ++i) {
                const double x = middle + (static_cast<double>(i) - static_cast<double>(series.size()) / 2) * bar, h = series[i].values[c] * scale;
                svg += "<rect x=" + coordinate(x + 1) + " y=" + coordinate(y_of_zero - h) + " width=" + coordinate(bar - 2) + " height=" + coordinate(h) + " rx=2 fill='" + color(i) +
                       "'><title>" + escape_html(series[i].name + ", " + categories[c] + ": " + label(series[i].values[c])) + "</title></rect>\n";
                if (bar > 26) svg += text(x + bar / 2, y_of_zero - h - 4, fixed1(series[i].values[c]), "middle");
            }
        }
        std::vector<std::string> n;
        for (const auto& s : series) n.push_back(s.name);
        body_ += svg + "</svg>" + legend(n) + "</figure>\n";
    }

    std::string html() const {
        return "<!doctype html>\n<html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width,initial-scale=1'><title>" + escape_html(title_) +
               "</title>\n<style>\n"
               ":root{--bg:#fbfbfa;--fg:#1d2321;--soft:#66706c;--line:#dfe3e0;--card:#fff;color-scheme:light dark}\n"
               "@media(prefers-color-scheme:dark){:root{--bg:#151918;--fg:#e6eae8;--soft:#98a39e;--line:#333b38;--card:#1d2321}}\n"
               "body{font:15px/1.5 system-ui,sans-serif;background:var(--bg);color:var(--fg);max-width:860px;margin:2.2rem auto;padding:0 1.2rem}\n"
               "h1{margin:0;font-size:1.7rem}h2{margin:2.2rem 0 .6rem;font-size:1.15rem}p{color:var(--soft)}header p{margin:.2rem 0 1.2rem}\n"
               ".cards{display:flex;flex-wrap:wrap;gap:.7rem}.card{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:.6rem 1rem;flex:1 1 8rem}\n"
               ".card b{display:block;font-size:1.35rem}.card span{color:var(--soft);font-size:.85rem}\n"
               ".scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}th,td{padding:.35rem .7rem;border-bottom:1px solid var(--line);text-align:right;vertical-align:bottom}\n"
               "th{font-size:.85rem;color:var(--soft);font-weight:600}th:first-child,td:first-child{text-align:left}\n"
               "figure{margin:0 0 1rem}svg{width:100%;height:auto;display:block}svg text{fill:var(--soft);font-size:12px}svg .title{fill:var(--fg);font-size:14px;font-weight:600}\n"
               ".grid{stroke:var(--line)}.legend{display:flex;flex-wrap:wrap;gap:.3rem 1.1rem;font-size:.88rem;margin-top:.3rem}.legend i{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin-right:.4em}\n"
               "</style>\n<header><h1>" + escape_html(title_) + "</h1><p>" + escape_html(subtitle_) + "</p><div class=cards>" + cards_ + "</div></header>\n" + body_ + "</html>\n";
    }

    /// Written aside and renamed.
    void write(const std::string& path) const { instar::io::write_file(path, html()); }

private:
    static constexpr double k_width = 820, k_height = 300, k_left = 58, k_right = 14, k_top = 30, k_bottom = 44;

    static double number(const std::string& s) {
        char* end = nullptr;
        const double v = std::strtod(s.c_str(), &end);
        return s.empty() || end != s.c_str() + s.size() ? std::nan("") : v;
    }
    static std::string color(std::size_t i) {
        static constexpr std::array<const char*, 6> k_colors{"#8a9a94", "#d0a13b", "#4f8fba", "#b5566b", "#3f8f63", "#7a68b0"};
        return k_colors[i % k_colors.size()];
    }
    static std::string coordinate(double v) {
        char s[32];
        std::snprintf(s, sizeof s, "%.1f", v);
        return s;
    }
    static std::string fixed1(double v) { return coordinate(v); }
    static std::string label(double v) {
        char s[32];
        std::snprintf(s, sizeof s, "%.6g", v);
        return s;
    }
    static std::string text(double x, double y, const std::string& s, const char* anchor) {
        return "<text x=" + coordinate(x) + " y=" + coordinate(y) + " text-anchor=" + anchor + ">" + escape_html(s) + "</text>\n";
    }
    static std::string grid_line(double y, double value) {
        return "<line class=grid x1=" + coordinate(k_left) + " x2=" + coordinate(k_width - k_right) + " y1=" + coordinate(y) + " y2=" + coordinate(y) + " />\n" +
               text(k_left - 8, y + 4, label(value), "end");
    }
    static std::string frame(const std::string& title, const std::string& x_label, const std::string& y_label) {
        std::string s = "<figure><svg viewBox='0 0 820 300' role=img>\n";
        if (!title.empty()) s += "<text class=title x=" + coordinate(k_left) + " y=16>" + escape_html(title) + "</text>\n";
        if (!x_label.empty()) s += text((k_left + k_width - k_right) / 2, k_height - 8, x_label, "middle");
        s += "<text transform='translate(14," + coordinate((k_top + k_height - k_bottom) / 2) + ") rotate(-90)' text-anchor=middle>" + escape_html(y_label) + "</text>\n";
        return s;
    }
    template <class Series>
    static std::vector<std::string> names(const std::vector<Series>& series) {
        std::vector<std::string> n;
        for (const auto& s : series) n.push_back(s.name);
        return n;
    }
    static std::string legend(const std::vector<std::string>& names) {
        std::string s = "<div class=legend>";
        for (std::size_t i = 0; i < names.size(); ++i) s += "<span><i style='background:" + color(i) + "'></i>" + escape_html(names[i]) + "</span>";
        return s + "</div>";
    }

    std::string title_, subtitle_, cards_, body_;
};

}  // namespace examples

#endif
