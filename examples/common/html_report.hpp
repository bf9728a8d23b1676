#ifndef INSTAR_EXAMPLES_COMMON_HTML_REPORT_HPP
#define INSTAR_EXAMPLES_COMMON_HTML_REPORT_HPP

// A report as one HTML file: cards, tables and charts (charts.hpp) as inline SVG; light and dark. Nothing is fetched from
// anywhere, and the page's own policy forbids it.
//
//     examples::html_report report("Benchmark 1", "DNA barcodes");
//     report.card("accuracy", "99.1 %");
//     report.line_chart("loss", {{"train", steps, losses}}, "step", "loss");
//     report.bar_chart({"species", "genus"}, {{"5-mer", {99.3, 99.6}}, {"encoder", {99.1, 99.7}}}, "accuracy, %");
//     report.histogram("barcode length", lengths, "nucleotides");
//     report.scatter("UMAP", x, y, {{"order", orders}, {"family", families}});
//     report.heat_map("confusion", classes, classes, counts, "truth", "prediction");
//     report.dendrogram("the tree", tree, 30, {family_of_point, families}, {order_of_point, orders});
//     report.gallery({{jpeg_bytes, "image/jpeg", "Apis mellifera, 97 %", true}});
//     report.write("out/report.html");

#include "charts.hpp"
#include "dendrogram_chart.hpp"
#include "instar/io/atomic_file.hpp"

namespace examples {

/// A picture of a gallery: an encoded image file, what stands below it, and whether its frame is that of something right.
struct gallery_item {
    std::string bytes, media_type, caption;  // "image/jpeg" or "image/png"
    bool good = true;
};

namespace detail {

inline std::string base64(std::string_view bytes) {
    constexpr char k_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string s;
    s.reserve((bytes.size() + 2) / 3 * 4);
    for (std::size_t i = 0; i < bytes.size(); i += 3) {
        unsigned v = 0;
        for (std::size_t j = 0; j < 3; ++j) v = v << 8 | (i + j < bytes.size() ? static_cast<unsigned char>(bytes[i + j]) : 0u);
        for (std::size_t j = 0; j < 4; ++j) s += i + j <= bytes.size() ? k_digits[v >> (18 - 6 * j) & 63] : '=';
    }
    return s;
}

}  // namespace detail

class html_report {
public:
    html_report(std::string title, std::string subtitle) : title_(std::move(title)), subtitle_(std::move(subtitle)) {}

    /// One figure with its name; all cards stand under the title.
    void card(const std::string& name, const std::string& value) {
        cards_ += "<div class=\"card\"><b>" + escape_html(value) + "</b><span>" + escape_html(name) + "</span></div>\n";
    }
    void section(const std::string& title) { body_ += "<h2>" + escape_html(title) + "</h2>\n"; }
    void paragraph(const std::string& text) { body_ += "<p>" + escape_html(text) + "</p>\n"; }

    /// With mark_best the largest number of each column but the first is set in bold.
    void table(const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& rows,
               bool mark_best = true) {
        std::vector<double> best(header.size(), -INFINITY);
        for (const auto& row : rows) {
            detail::check_length("a table's row", row.size(), header.size());
            for (std::size_t c = 1; c < row.size(); ++c) {
                if (const double v = number(row[c]); std::isfinite(v)) best[c] = std::max(best[c], v);
            }
        }
        body_ += "<div class=\"scroll\"><table><thead><tr>";
        for (const auto& h : header) body_ += "<th>" + escape_html(h) + "</th>";
        body_ += "</tr></thead><tbody>\n";
        for (const auto& row : rows) {
            body_ += "<tr>";
            for (std::size_t c = 0; c < row.size(); ++c) {
                const bool mark = mark_best && c > 0 && number(row[c]) == best[c];
                body_ += std::string(mark ? "<td><b>" : "<td>") + escape_html(row[c]) + (mark ? "</b></td>" : "</td>");
            }
            body_ += "</tr>\n";
        }
        body_ += "</tbody></table></div>\n";
    }

    // The charts throw value_error when lengths disagree, and draw nothing when there is nothing to show (charts.hpp).
    void line_chart(const std::string& title, const std::vector<line_series>& series, const std::string& x_label,
                    const std::string& y_label, bool log_y = false, bool log_x = false) {
        body_ += examples::line_chart(title, series,
                                      {.x_label = x_label, .y_label = y_label, .log_x = log_x, .log_y = log_y});
    }
    void bar_chart(const std::vector<std::string>& categories, const std::vector<bar_series>& series,
                   const std::string& y_label, const std::string& title = "") {
        body_ += examples::bar_chart(title, categories, series, y_label);
    }
    void histogram(const std::string& title, const std::vector<double>& values, const std::string& x_label,
                   int n_bins = 0) {
        body_ += examples::histogram(title, values, x_label, n_bins);
    }
    void scatter(const std::string& title, const std::vector<double>& x, const std::vector<double>& y,
                 const std::vector<scatter_grouping>& groupings = {}, const std::string& x_label = "",
                 const std::string& y_label = "") {
        has_picker_ = has_picker_ || groupings.size() > 1;
        body_ += examples::scatter(title, x, y, groupings, "scatter" + std::to_string(n_scatters_++),
                                   {.x_label = x_label, .y_label = y_label});
    }
    void heat_map(const std::string& title, const std::vector<std::string>& rows,
                  const std::vector<std::string>& columns, const std::vector<double>& values,
                  const std::string& row_title = "", const std::string& column_title = "") {
        body_ += examples::heat_map(title, rows, columns, values, row_title, column_title);
    }

    void dendrogram(const std::string& title, const instar::cluster::dendrogram& tree, instar::index_t n_leaves,
                    const point_classes& named_by = {}, const point_classes& colored_by = {}) {
        body_ += examples::dendrogram_chart(title, tree, n_leaves, named_by, colored_by);
    }

    /// Pictures side by side, inside the page itself.
    void gallery(const std::vector<gallery_item>& items) {
        body_ += "<div class=\"gallery\">\n";
        for (const gallery_item& item : items) {
            body_ += std::string("<figure class=\"") + (item.good ? "good" : "bad") + "\"><img alt=\"\" src=\"data:" + escape_html(item.media_type) + ";base64," +
                     detail::base64(item.bytes) + "\"/><figcaption>" + escape_html(item.caption) + "</figcaption></figure>\n";
        }
        body_ += "</div>\n";
    }

    std::string html() const {
        std::string s =
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
            "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
            "script-src 'unsafe-inline'; img-src data:\">\n";
        s += "<title>" + escape_html(title_) + "</title>\n<style>\n" + style() +
             "</style>\n</head>\n<body>\n<header><h1>" + escape_html(title_) + "</h1><p>" + escape_html(subtitle_) +
             "</p>";
        if (!cards_.empty()) s += "<div class=\"cards\">\n" + cards_ + "</div>";
        s += "</header>\n<main>\n" + body_ + "</main>\n";
        if (has_picker_) s += script();
        return s + "</body>\n</html>\n";
    }

    /// Written aside and renamed.
    void write(const std::string& path) const { instar::io::write_file(path, html()); }

private:
    static double number(const std::string& s) {
        char* end = nullptr;
        const double v = std::strtod(s.c_str(), &end);
        return s.empty() || end != s.c_str() + s.size() ? std::nan("") : v;
    }

    static std::string style() {
        using colors = std::array<const char*, svg::k_n_colors>;
        constexpr colors k_light{"#7d8a85", "#b9821b", "#2f78b7", "#b1405c", "#2c8a58", "#6f5bb5"};
        constexpr colors k_dark{"#98a6a0", "#e0b354", "#6aaedd", "#dc7b91", "#63bd8a", "#a493de"};
        const auto variables = [](const colors& list) {
            std::string s;
            for (std::size_t i = 0; i < list.size(); ++i) s += "--c" + std::to_string(i) + ":" + list[i] + ";";
            return s;
        };
        std::string s =
            ":root{--bg:#fbfbfa;--fg:#1d2321;--soft:#5f6965;--line:#e2e6e3;--axis:#aab3ae;--card:#fff;--on:#fff;" +
            variables(k_light) + "color-scheme:light dark}\n";
        s += "@media(prefers-color-scheme:dark){:root{--bg:#151918;--fg:#e6eae8;--soft:#9aa5a0;--line:#2b3230;--axis:#"
             "5c6763;"
             "--card:#1d2321;--on:#10201b;" +
             variables(k_dark) + "}}\n";
        for (std::size_t i = 0; i < svg::k_n_colors; ++i) {
            const std::string n = std::to_string(i);
            s += ".f" + n + "{fill:var(--c" + n + ")}.s" + n + "{stroke:var(--c" + n + ")}.b" + n +
                 "{background:var(--c" + n + ")}\n";
        }
        return s +
               "body{font:15px/1.5 "
               "system-ui,sans-serif;background:var(--bg);color:var(--fg);max-width:860px;margin:2.2rem auto;padding:0 "
               "1.2rem}\n"
               "h1{margin:0;font-size:1.7rem;line-height:1.25}h2{margin:2.4rem 0 .7rem;font-size:1.15rem}\n"
               "p{color:var(--soft)}header p{margin:.2rem 0 1.2rem}\n"
               ".cards{display:flex;flex-wrap:wrap;gap:.7rem}\n"
               ".card{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:.6rem 1rem;flex:1 "
               "1 8rem}\n"
               ".card b{display:block;font-size:1.35rem}.card span{color:var(--soft);font-size:.85rem}\n"
               ".scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}\n"
               "th,td{padding:.35rem .7rem;border-bottom:1px solid "
               "var(--line);text-align:right;vertical-align:bottom}\n"
               "th{font-size:.85rem;color:var(--soft);font-weight:600}th:first-child,td:first-child{text-align:left}td:first-child{white-space:nowrap}\n"
               "figure{margin:.4rem 0 "
               "1.6rem}svg{width:100%;height:auto;display:block;font-variant-numeric:tabular-nums}\n"
               "svg text{fill:var(--soft);font-size:12px}svg "
               "text.title{fill:var(--fg);font-size:14px;font-weight:600}\n"
               "svg text.value,svg text.cell{fill:var(--fg);font-size:11px}svg text.on{fill:var(--on);font-size:11px}\n"
               ".grid{stroke:var(--line)}.axis{stroke:var(--axis)}.line{fill:none;stroke-width:2;stroke-linejoin:round}"
               "\n"
               ".dots{fill:none;stroke-width:4.5;stroke-linecap:round;stroke-opacity:.75}\n"
               ".legend{display:flex;flex-wrap:wrap;gap:.3rem "
               "1.1rem;font-size:.88rem;margin-top:.3rem;padding-left:7%}\n"
               ".legend i{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin-right:.4em}\n"
               ".gallery{display:grid;grid-template-columns:repeat(auto-fill,minmax(120px,1fr));gap:.8rem}\n"
               ".gallery figure{margin:0}.gallery img{width:100%;aspect-ratio:1;object-fit:cover;border-radius:6px;"
               "border-bottom:4px solid var(--c4)}.gallery .bad img{border-color:var(--c3)}\n"
               ".gallery figcaption{font-size:.78rem;line-height:1.3;color:var(--soft);overflow-wrap:anywhere}\n"
               ".picker{font-size:.88rem;color:var(--soft)}\n"
               "select{font:inherit;color:var(--fg);background:var(--card);border:1px solid "
               "var(--line);border-radius:5px;padding:.1rem .4rem}\n"
               "@media print{body{max-width:none;margin:0}figure,table{break-inside:avoid}}\n";
    }
    static const char* script() {
        return "<script>\n"
               "for (const pick of document.querySelectorAll(\"select[data-picks]\")) {\n"
               "  const show = () => {\n"
               "    for (const e of document.getElementsByClassName(pick.dataset.picks)) {\n"
               "      const id = pick.dataset.picks + \"-\" + pick.value;\n"
               "      e.style.display = e.id === id || e.id === id + \"-legend\" ? \"\" : \"none\";\n"
               "    }\n"
               "  };\n"
               "  pick.addEventListener(\"change\", show);\n"
               "  show();\n"
               "}\n"
               "</script>\n";
    }

    std::string title_, subtitle_, cards_, body_;
    int n_scatters_ = 0;
    bool has_picker_ = false;
};

}  // namespace examples

#endif
