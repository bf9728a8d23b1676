#ifndef INSTAR_EXAMPLES_COMMON_DENDROGRAM_CHART_HPP
#define INSTAR_EXAMPLES_COMMON_DENDROGRAM_CHART_HPP

// The top of a clustering tree as inline SVG: the root on the left, the last n_leaves clusters on the right, a cluster's height along x.
//
//     std::string html = dendrogram_chart("Ward", tree, 30, {family_of_point, families}, {order_of_point, orders});
//
// Each leaf is a cluster, named by the class that most of its points have, with its size and the share of that class. Colours are a second
// classification (or the same): branches below which most points of every leaf are of one class have its colour.

#include <map>

#include "instar/cluster/dendrogram.hpp"

#include "charts.hpp"

namespace examples {

/// A class for each point, −1 = none; empty = no classes.
struct point_classes {
    std::vector<std::int32_t> of;
    std::vector<std::string> names;
};

namespace detail {

/// A node of the part that is drawn.
struct drawn_node {
    double x = 0.0, y = 0.0;
    std::string label;  // the colour's class of all leaves below; empty when they differ
};

/// The class that most of a leaf's points have, and how many have it.
struct leaf_class {
    std::string name;
    instar::index_t count = 0;
};

inline std::map<instar::index_t, leaf_class> classes_of_leaves(const std::string& title, const point_classes& classes, const std::vector<instar::index_t>& leaf_of_point) {
    std::map<instar::index_t, leaf_class> most;
    if (classes.of.empty()) return most;
    check_length("classes of " + title, classes.of.size(), leaf_of_point.size());
    std::map<instar::index_t, std::map<std::int32_t, instar::index_t>> counts;
    for (std::size_t i = 0; i < leaf_of_point.size(); ++i) ++counts[leaf_of_point[i]][classes.of[i]];
    for (const auto& [leaf, of] : counts) {
        const auto best = std::max_element(of.begin(), of.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
        most[leaf] = {best->first < 0 ? "unlabelled" : classes.names.at(static_cast<std::size_t>(best->first)), best->second};
    }
    return most;
}

}  // namespace detail

/// Throws value_error when lengths disagree.
inline std::string dendrogram_chart(const std::string& title, const instar::cluster::dendrogram& tree, instar::index_t n_leaves, const point_classes& named_by = {},
                                    const point_classes& colored_by = {}) {
    using namespace svg;
    using instar::index_t;
    const index_t n = tree.n_points();
    n_leaves = std::min(n_leaves, n);
    if (n_leaves < 2) return "";
    // The n_leaves − 1 merges made last are drawn; what they join and is not among them is a leaf.
    const index_t first = n + tree.n_merges() - (n_leaves - 1);
    std::vector<index_t> leaves, stack{n + tree.n_merges() - 1};
    while (!stack.empty()) {
        const index_t node = stack.back();
        stack.pop_back();
        if (node < first) {
            leaves.push_back(node);
            continue;
        }
        const auto [a, b] = tree.children(node - n);
        stack.push_back(b);
        stack.push_back(a);
    }
    std::vector<index_t> leaf_of(static_cast<std::size_t>(n + tree.n_merges()), -1);
    for (const index_t leaf : leaves) leaf_of[static_cast<std::size_t>(leaf)] = leaf;
    for (index_t m = first - n; m-- > 0;) {
        const auto [a, b] = tree.children(m);
        const index_t leaf = leaf_of[static_cast<std::size_t>(n + m)];
        if (leaf < 0) continue;
        leaf_of[static_cast<std::size_t>(a)] = leaf_of[static_cast<std::size_t>(b)] = leaf;
    }
    leaf_of.resize(static_cast<std::size_t>(n));
    std::map<index_t, index_t> sizes;
    for (const index_t leaf : leaf_of) ++sizes[leaf];
    auto names = detail::classes_of_leaves(title, named_by, leaf_of);
    auto colors = detail::classes_of_leaves(title, colored_by.of.empty() ? named_by : colored_by, leaf_of);

    std::map<index_t, detail::drawn_node> nodes;
    std::map<std::string, double> weight;  // points below leaves of a colour's class
    std::vector<std::string> notes;
    double widest = 0.0;
    for (const index_t leaf : leaves) {
        std::string note = tick_label(static_cast<double>(sizes[leaf]), 1.0);
        if (!names.empty()) {
            char share[32];
            std::snprintf(share, sizeof share, ", %.0f %%", 100.0 * static_cast<double>(names[leaf].count) / static_cast<double>(sizes[leaf]));
            note = names[leaf].name + " (" + note + (names[leaf].count < sizes[leaf] ? share : "") + ")";
        }
        if (!colors.empty()) {
            nodes[leaf].label = colors[leaf].name;
            weight[colors[leaf].name] += static_cast<double>(sizes[leaf]);
        }
        widest = std::max(widest, text_width(note));
        notes.push_back(note);
    }
    constexpr double k_row = 18.0;
    const double right = k_width - std::min(widest + 12.0, 0.5 * k_width), height = k_top + k_row * static_cast<double>(leaves.size()) + k_bottom;
    const double top = tree.height(tree.n_merges() - 1);
    // Heights that fall (centroid, median linkage) still lie inside: the axis runs to the highest.
    double high = top;
    for (index_t m = first - n; m < tree.n_merges(); ++m) high = std::max(high, tree.height(m));
    const axis x(0.0, high > 0.0 ? high : 1.0, right, k_left);

    std::vector<std::pair<double, std::string>> order;
    for (const auto& [name, w] : weight) order.emplace_back(-w, name);
    std::sort(order.begin(), order.end());
    const auto color = [&](const std::string& name) {
        for (std::size_t i = 0; i < order.size() && i + 1 < k_n_colors; ++i) {
            if (order[i].second == name) return color_class("s", i + 1);
        }
        return color_class("s", 0);
    };

    std::string s = "<figure><svg viewBox=\"0 0 820 " + coordinate(height) + "\" role=\"img\" aria-label=\"" + escape_html(title) + "\">\n";
    if (!title.empty()) s += text(k_left, 16, title, "start", " class=\"title\"");
    for (const double tick : nice_ticks(0.0, high > 0.0 ? high : 1.0, 6)) {
        if (!x.shows(tick)) continue;
        s += line(x(tick), k_top, x(tick), height - k_bottom, "grid");
        s += text(x(tick), height - k_bottom + 18, label(tick), "middle");
    }
    s += text((k_left + right) / 2, height - 6, "height of the merge", "middle");
    for (std::size_t i = 0; i < leaves.size(); ++i) {
        detail::drawn_node& node = nodes[leaves[i]];
        node.x = right;
        node.y = k_top + k_row * (static_cast<double>(i) + 0.5);
        s += text(right + 6, node.y + 4, notes[i], "start");
    }
    for (index_t made = first; made < n + tree.n_merges(); ++made) {
        const auto [a, b] = tree.children(made - n);
        const detail::drawn_node &up = nodes[a], &down = nodes[b];
        detail::drawn_node node{x(tree.height(made - n)), (up.y + down.y) / 2, up.label == down.label ? up.label : std::string()};
        const std::string tip = "\"><title>" + escape_html((node.label.empty() ? "" : node.label + ", ") + "height " + label(tree.height(made - n))) + "</title></path>\n";
        s += "<path class=\"line " + color(node.label) + "\" d=\"M" + coordinate(node.x) + "," + coordinate(up.y) + " V" + coordinate(down.y) + tip;
        for (const detail::drawn_node* child : {&up, &down}) {
            s += "<path class=\"line " + color(child->label) + "\" d=\"M" + coordinate(child->x) + "," + coordinate(child->y) + " H" + coordinate(node.x) + tip;
        }
        nodes[made] = node;
    }
    std::string key;
    for (std::size_t i = 0; i < order.size() && i + 1 < k_n_colors; ++i) {
        key += "<span><i class=\"b" + std::to_string(i + 1) + "\"></i>" + escape_html(order[i].second) + "</span>";
    }
    return s + "</svg>" + (key.empty() ? "" : "<div class=\"legend\">" + key + "</div>") + "</figure>\n";
}

}  // namespace examples

#endif
