#ifndef INSTAR_TOKENIZE_DETAIL_BYTE_TRIE_HPP
#define INSTAR_TOKENIZE_DETAIL_BYTE_TRIE_HPP

// A set of byte strings with a number each, as a double array: a step from a node by a byte is one addition and one comparison.

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace instar::tokenize::detail {

/// The child of node n by byte b is n' = base[n] + b when check[n'] = n. Aoe 1989.
class byte_trie {
public:
    static constexpr std::int32_t k_root = 0, k_none = -1;

    byte_trie() : byte_trie(std::vector<std::pair<std::string, std::int32_t>>{}) {}
    explicit byte_trie(std::vector<std::pair<std::string, std::int32_t>> keys) {
        std::sort(keys.begin(), keys.end());
        nodes_.resize(512);
        nodes_[k_root].check = k_root;
        std::vector<range> open{{k_root, 0, keys.size(), 0}};
        std::vector<std::pair<unsigned, range>> children;
        for (std::size_t at = 0; at < open.size(); ++at) {
            range r = open[at];
            if (r.begin < r.end && keys[r.begin].first.size() == r.depth) nodes_[static_cast<std::size_t>(r.node)].value = keys[r.begin++].second;
            children.clear();
            for (std::size_t i = r.begin; i < r.end;) {
                const auto byte = static_cast<unsigned char>(keys[i].first[r.depth]);
                std::size_t end = i;
                while (end < r.end && static_cast<unsigned char>(keys[end].first[r.depth]) == byte) ++end;
                children.emplace_back(byte, range{0, i, end, r.depth + 1});
                i = end;
            }
            if (children.empty()) continue;
            const std::int32_t base = place(children);
            nodes_[static_cast<std::size_t>(r.node)].base = base;
            for (auto& [byte, child] : children) {
                child.node = base + static_cast<std::int32_t>(byte);
                nodes_[static_cast<std::size_t>(child.node)].check = r.node;
                open.push_back(child);
            }
        }
        // Any byte may be added to any base without a look at the size.
        std::int32_t highest = 0;
        for (const node& n : nodes_) highest = std::max(highest, n.base);
        nodes_.resize(std::max(nodes_.size(), static_cast<std::size_t>(highest) + 256));
    }

    /// k_none when the node has no such child.
    std::int32_t step(std::int32_t n, unsigned char byte) const noexcept {
        const std::int32_t to = nodes_[static_cast<std::size_t>(n)].base + byte;
        return nodes_[static_cast<std::size_t>(to)].check == n && to != k_root ? to : k_none;
    }
    /// Number of the key that ends here, −1 when none does.
    std::int32_t value(std::int32_t n) const noexcept { return nodes_[static_cast<std::size_t>(n)].value; }
    std::int32_t walk(std::string_view s, std::int32_t from = k_root) const noexcept {
        for (const char c : s) {
            if (from == k_none) break;
            from = step(from, static_cast<unsigned char>(c));
        }
        return from;
    }

private:
    struct node {
        std::int32_t base = 0, check = -1, value = -1;
    };
    struct range {
        std::int32_t node;
        std::size_t begin, end, depth;
    };

    /// The first base at which every child's place is free.
    template <class Children>
    std::int32_t place(const Children& children) {
        const auto first = static_cast<std::int32_t>(children.front().first);
        int failures = 0;
        for (std::int32_t at = std::max(first_free_, first + 1);; ++at) {
            const std::int32_t base = at - first;
            if (static_cast<std::size_t>(base) + 256 >= nodes_.size()) nodes_.resize(nodes_.size() * 2);
            bool free = true;
            for (const auto& [byte, unused] : children) free = free && nodes_[static_cast<std::size_t>(base) + byte].check < 0;
            if (free) {
                while (nodes_[static_cast<std::size_t>(first_free_)].check >= 0) ++first_free_;
                return base;
            }
            // A crowded stretch is left behind for good: a few empty places against a build in linear time.
            if (++failures > 1000 && children.size() > 1) {
                failures = 0;
                first_free_ = at;
            }
        }
    }

    std::vector<node> nodes_;
    std::int32_t first_free_ = 1;
};

}  // namespace instar::tokenize::detail

#endif
