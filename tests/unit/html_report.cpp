// examples/common: reports that are well-formed whatever stands in them, fetch nothing, and tables that line up.
#include <doctest/doctest.h>

#include <limits>
#include <set>
#include <sstream>

#include "../../examples/common/html_report.hpp"
#include "../../examples/common/table.hpp"
#include "instar/io/file.hpp"
#include "support/compare.hpp"
#include "support/temp_folder.hpp"

using namespace instar;
using test::error_text;

namespace {

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
std::size_t count(const std::string& text, const std::string& part) {
    std::size_t n = 0;
    for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
    return n;
}

/// "" for a page whose tags nest and close, whose attributes are quoted and unique, whose text holds no bare < or &; else what
/// is wrong. Ids must be unique. Stricter than HTML asks.
std::string malformed(const std::string& html) {
    static const std::set<std::string> k_void{"meta", "!DOCTYPE"};
    std::vector<std::string> open;
    std::set<std::string> ids;
    std::size_t at = 0;
    const auto near = [&] { return " near: " + html.substr(at, 60); };
    while (at < html.size()) {
        if (html[at] == '&') {
            const std::string entity = html.substr(at, html.find(';', at) + 1 - at);
            if (!std::set<std::string>{"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"}.contains(entity)) return "bad entity" + near();
        }
        if (html[at] == '>') return "bare >" + near();
        if (html[at] != '<') {
            ++at;
            continue;
        }
        if (html[at + 1] == '/') {
            const std::size_t end = html.find('>', at);
            const std::string name = html.substr(at + 2, end - at - 2);
            if (open.empty() || open.back() != name) return "</" + name + "> closes " + (open.empty() ? "nothing" : open.back()) + near();
            open.pop_back();
            at = end + 1;
            continue;
        }
        std::size_t p = html.find_first_of(" \n/>", at + 1);
        const std::string name = html.substr(at + 1, p - at - 1);
        std::set<std::string> attributes;
        bool closed = false;
        for (;;) {
            while (html[p] == ' ' || html[p] == '\n') ++p;
            if (html[p] == '/') {
                closed = true;
                ++p;
            }
            if (html[p] == '>') break;
            const std::size_t equals = html.find_first_of("=> ", p);
            const std::string attribute = html.substr(p, equals - p);
            if (!attributes.insert(attribute).second) return "attribute twice" + near();
            if (html[equals] != '=') {
                p = equals;
                continue;
            }
            if (html[equals + 1] != '"') return "attribute without quotes" + near();
            const std::size_t end = html.find('"', equals + 2);
            const std::string value = html.substr(equals + 2, end - equals - 2);
            if (contains(value, "<") || contains(value, "nan") || contains(value, "inf,")) return "bad value of " + attribute + near();
            if (attribute == "id" && !ids.insert(value).second) return "id twice" + near();
            p = end + 1;
        }
        at = p + 1;
        if (!closed && !k_void.contains(name)) open.push_back(name);
        if (name == "style" || name == "script") at = html.find("</" + name, at);  // raw text
    }
    return open.empty() ? "" : "<" + open.back() + "> is not closed";
}

const std::string k_evil = "</script><script>alert(1)</script><b a='x' b=\"y\">&amp; \xff\x01 naïve 🦋";

}  // namespace

TEST_CASE("html_report: the checker of this test sees what it should") {
    CHECK(malformed("<!DOCTYPE html><html lang=\"en\"><b>x &amp; y</b><rect x=\"1\"/></html>").empty());
    for (const char* bad : {"<b>", "<b></i>", "</b>", "<b x=1></b>", "<b>a & b</b>", "<b x=\"1\" x=\"2\"></b>", "<b>></b>", "<b id=\"a\"></b><i id=\"a\"></i>"}) {
        CHECK_FALSE(malformed(bad).empty());
    }
}

TEST_CASE("html_report: every element, with text that tries to break out") {
    examples::html_report report(k_evil, k_evil);
    report.card(k_evil, k_evil);
    report.section(k_evil);
    report.paragraph(k_evil);
    report.table({k_evil, "a", "b"}, {{k_evil, "1.5", "x"}, {"second", "2.5", "–"}});
    report.line_chart(k_evil, {{k_evil, {0, 1, 2}, {3, 2, 1}}, {"other", {0, 2}, {1, 1}}}, k_evil, k_evil);
    report.bar_chart({k_evil, "genus"}, {{k_evil, {99.3, 12}}, {"b", {0, -4}}}, k_evil, k_evil);
    report.histogram(k_evil, {1, 2, 2, 3, 3, 3}, k_evil);
    report.scatter(k_evil, {1, 2, 3}, {3, 1, 2}, {{k_evil, {k_evil, "a", "a"}}, {"second", {"x", "y", "z"}}}, k_evil, k_evil);
    report.scatter("alone", {1, 2}, {3, 1});
    report.heat_map(k_evil, {k_evil, "b"}, {k_evil, "b", "c"}, {1, 2, 3, 4, 5, 6}, k_evil, k_evil);
    const auto tree = cluster::detail::make_dendrogram(4, {{2, 3, 2.0}, {0, 1, 1.0}, {3, 1, 5.0}}, true, cluster::detail::child_order::ascending);
    report.dendrogram(k_evil, tree, 3, {{0, 0, 1, -1}, {k_evil, "b"}}, {{0, 0, 1, 1}, {k_evil, "c"}});
    const std::string html = report.html();
    CHECK(malformed(html) == "");
    CHECK(io::is_utf8(html));
    CHECK_FALSE(contains(html, "alert(1)</"));
    CHECK(count(html, "<script>") == 1);
    CHECK(contains(html, "&lt;/script&gt;"));
    CHECK(contains(html, "<td><b>2.5</b></td>"));
    CHECK(count(html, "<svg ") == 7);
    // Nothing from anywhere else: no address, no source, no import; and the page says so to the browser.
    for (const char* outside : {"http:", "https:", "//", "src=", "href=", "url(", "@import", "fetch", "XMLHttp"}) {
        CAPTURE(outside);
        CHECK_FALSE(contains(html, outside));
    }
    CHECK(contains(html, "default-src 'none'"));
    CHECK(contains(html, "prefers-color-scheme:dark"));
    test::temp_folder folder;
    report.write(folder / "report.html");
    CHECK(io::read_text(folder / "report.html") == html);
    CHECK(contains(error_text<io_error>([&] { report.write(folder / "no/report.html"); }), "no/report.html: cannot create"));
}

TEST_CASE("html_report: numbers that are none, and charts of nothing") {
    const double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
    examples::html_report report("t", "");
    report.line_chart("gaps", {{"a", {0, 1, 2, 3, 4, nan}, {1, nan, 3, inf, 5, 6}}}, "x", "y");
    report.line_chart("log", {{"a", {0, 1, 2, 3}, {1e-3, 0, -1, 1e3}}}, "x", "y", true);
    report.line_chart("log log", {{"a", {0, 1, 10, 1000}, {1e-3, 5, 7, 1e3}}}, "x", "y", true, true);
    report.line_chart("one point", {{"a", {5}, {5}}}, "x", "y");
    report.line_chart("one log point", {{"a", {5}, {5}}}, "x", "y", true, true);
    report.line_chart("constant", {{"a", {1, 2, 3}, {-7, -7, -7}}}, "x", "y");
    report.line_chart("huge", {{"a", {1, 2}, {-1e300, 1e300}}}, "x", "y");
    report.line_chart("far from zero", {{"a", {1e15, 1e15 + 1}, {1e15, 1e15 + 1}}}, "x", "y");
    report.bar_chart({"a", "b"}, {{"s", {nan, 2}}, {"t", {inf, -1}}}, "y");
    report.bar_chart({"a"}, {{"s", {0}}}, "y");
    report.histogram("with gaps", {nan, 1, 2, inf}, "x");
    report.histogram("constant", {3, 3, 3}, "x");
    report.scatter("with gaps", {nan, 1, 2}, {1, 2, inf}, {{"g", {"a", "b", "c"}}});
    report.heat_map("with gaps", {"a"}, {"b", "c"}, {nan, 0});
    const std::string html = report.html();
    CHECK(malformed(html) == "");
    CHECK(count(html, "<svg ") == 14);
    CHECK_FALSE(contains(html, "<script>"));  // no picker, no script

    examples::html_report empty("t", "s");
    empty.line_chart("none", {}, "x", "y");
    empty.line_chart("all nan", {{"a", {1}, {nan}}}, "x", "y");
    empty.line_chart("nothing positive", {{"a", {1, 2}, {0, -1}}}, "x", "y", true);
    empty.bar_chart({}, {}, "y");
    empty.histogram("none", {}, "x");
    empty.scatter("none", {}, {});
    empty.heat_map("none", {}, {}, {});
    CHECK_FALSE(contains(empty.html(), "<svg"));
    CHECK(malformed(empty.html()) == "");

    CHECK(contains(error_text<value_error>([&] { empty.line_chart("a", {{"s", {1, 2}, {1}}}, "", ""); }), "y of series s has 1 values, expected 2"));
    CHECK(contains(error_text<value_error>([&] { empty.bar_chart({"a", "b"}, {{"s", {1}}}, ""); }), "series s has 1 values, expected 2"));
    CHECK(contains(error_text<value_error>([&] { empty.scatter("a", {1, 2}, {1}); }), "y of a has 1 values, expected 2"));
    CHECK(contains(error_text<value_error>([&] { empty.scatter("a", {1}, {1}, {{"g", {}}}); }), "grouping g has 0 values, expected 1"));
    CHECK(contains(error_text<value_error>([&] { empty.heat_map("m", {"a"}, {"b"}, {}); }), "heat map m has 0 values, expected 1"));
    CHECK(contains(error_text<value_error>([&] { empty.table({"a", "b"}, {{"x"}}); }), "a table's row has 1 values, expected 2"));
}

TEST_CASE("html_report: a gallery holds its pictures as base64") {
    CHECK(examples::detail::base64("") == "");
    CHECK(examples::detail::base64("f") == "Zg==");
    CHECK(examples::detail::base64("fo") == "Zm8=");
    CHECK(examples::detail::base64("foo") == "Zm9v");
    CHECK(examples::detail::base64("foobar") == "Zm9vYmFy");
    CHECK(examples::detail::base64(std::string("\xff\xd8\xff\x00", 4)) == "/9j/AA==");
    examples::html_report report("t", "s");
    report.gallery({{"foo", "image/png", k_evil, true}, {"fo", "image/jpeg", "b", false}});
    const std::string html = report.html();
    CHECK(malformed(html) == "");
    CHECK(contains(html, "src=\"data:image/png;base64,Zm9v\""));
    CHECK(contains(html, "<figure class=\"bad\"><img alt=\"\" src=\"data:image/jpeg;base64,Zm8=\""));
    CHECK(contains(html, "img-src data:"));
    CHECK_FALSE(contains(html, "alert(1)</"));
}

TEST_CASE("html_report: a dendrogram's leaves are the clusters of the cut, named by their majority") {
    const auto tree = cluster::detail::make_dendrogram(5, {{0, 1, 1.0}, {2, 3, 2.0}, {1, 3, 5.0}, {4, 0, 8.0}}, true, cluster::detail::child_order::ascending);
    const std::string chart = examples::dendrogram_chart("t", tree, 3, {{0, 0, 1, 0, -1}, {"moth", "fly"}});
    CHECK(contains(chart, ">moth (2)<"));        // points 0 and 1
    CHECK(contains(chart, ">moth (2, 50 %)<"));  // points 2 and 3: a moth and a fly, the first of equals
    CHECK(contains(chart, ">unlabelled (1)<"));  // point 4
    CHECK(count(chart, "<path ") == 6);           // two merges, three lines each
    CHECK(count(chart, "moth, height 5") == 3);   // both leaves are moths
    CHECK(contains(examples::dendrogram_chart("t", tree, 99), ">1</text>"));  // no classes: sizes alone
    CHECK(examples::dendrogram_chart("t", cluster::dendrogram(), 3).empty());
    CHECK(contains(error_text<value_error>([&] { examples::dendrogram_chart("t", tree, 3, {{0}, {"a"}}); }), "classes of t has 1 values, expected 5"));
}

TEST_CASE("html_report: ticks are round, inside, and few") {
    using ticks = std::vector<double>;
    CHECK(examples::nice_ticks(0, 10, 5) == ticks{0, 2, 4, 6, 8, 10});
    CHECK(examples::nice_ticks(-1, 1, 4) == ticks{-1, -0.5, 0, 0.5, 1});
    CHECK(examples::nice_ticks(3, 3, 5) == ticks{3});
    CHECK(examples::nice_ticks(0, INFINITY, 5).empty());
    CHECK(examples::log_ticks(1, 100) == ticks{1, 2, 5, 10, 20, 50, 100});
    CHECK(examples::log_ticks(0.5, 20'000) == ticks{1, 10, 100, 1000, 10'000});
    CHECK(examples::log_ticks(1e-30, 1e30).size() < 12);
    for (const double high : {1e-9, 0.3, 7.0, 123.0, 9.99e8}) {
        for (int n : {3, 5, 8}) {
            const auto t = examples::nice_ticks(-0.2 * high, high, n);
            CHECK(t.size() >= 2);
            CHECK(t.size() <= static_cast<std::size_t>(2 * n + 2));
            CHECK(t.front() >= -0.2 * high * (1 + 1e-6));
            CHECK(t.back() <= high * (1 + 1e-6));
        }
    }
    CHECK(examples::svg::label(1234567) == "1,234,567");
    CHECK(examples::svg::label(-1200) == "-1,200");
    CHECK(examples::svg::label(-120) == "-120");
    CHECK(examples::svg::label(0.25) == "0.25");
    CHECK(examples::svg::tick_label(0.5, 0.25) == "0.50");
    CHECK(examples::svg::tick_label(4, 2) == "4");
    CHECK(examples::svg::coordinate(-0.04) == "0");
    CHECK(examples::svg::coordinate(12.34) == "12.3");
}

TEST_CASE("html_report: a long series is thinned without losing its extremes") {
    examples::line_series s{"loss", {}, {}};
    for (int i = 0; i < 100'000; ++i) {
        s.x.push_back(i);
        s.y.push_back(i == 54'321 ? 1000.0 : i == 777 ? -500.0 : std::sin(i * 0.01));
    }
    const auto t = examples::detail::thinned(s);
    CHECK(t.x.size() <= 1400);
    CHECK(t.x.size() == t.y.size());
    CHECK(*std::max_element(t.y.begin(), t.y.end()) == 1000.0);
    CHECK(*std::min_element(t.y.begin(), t.y.end()) == -500.0);
    CHECK(std::is_sorted(t.x.begin(), t.x.end()));
    CHECK(examples::line_chart("x", {s}).size() < 40'000);
}

TEST_CASE("table: columns line up, whatever the characters") {
    examples::text_table t({"encoder", "species"});
    t.add_row({"5-mer", "99.32"});
    t.add_row({"naïve 日本", "–"});
    CHECK(t.text() == "encoder     species\n──────────  ───────\n5-mer         99.32\nnaïve 日本        –\n");
    CHECK(examples::display_width("") == 0);
    CHECK(examples::display_width("abc") == 3);
    CHECK(examples::display_width("é") == 1);
    CHECK(examples::display_width("e\xcc\x81") == 1);
    CHECK(examples::display_width("🦋") == 2);
    CHECK(examples::display_width("\xff\xfe") == 2);
    CHECK(error_text<value_error>([&] { t.add_row({"a"}); }) == "text_table: a row of 1 cells under 2 columns");
}
