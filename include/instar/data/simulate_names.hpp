#ifndef INSTAR_DATA_SIMULATE_NAMES_HPP
#define INSTAR_DATA_SIMULATE_NAMES_HPP

// Part of data/simulate.hpp: made-up names that look Latin, each used once.
//
//     latin_names names(draw);
//     std::string genus = names.genus();                    // "Morvelia"
//     names.family(genus);                                  // "Morveliidae"
//     names.species();                                      // "tarpensis"

#include <string>
#include <string_view>
#include <unordered_set>

#include "instar/data/simulate_tree.hpp"

namespace instar::data::detail {

class latin_names {
public:
    explicit latin_names(random_draws& draw) : draw_(draw) {}

    std::string order() { return unique([&] { return capital(stem(2)) + "optera"; }); }
    std::string genus() {
        static constexpr std::string_view endings[] = {"us", "a", "is", "ia", "ops", "ella", "ura", "omyia", "odes", "ina"};
        return unique([&] { return capital(stem(draw_.chance(0.3) ? 1 : 2)) + pick(endings); });
    }
    /// After the family's type genus, as families are named.
    std::string family(const std::string& genus) {
        return unique([&] { return base_of(genus) + "idae"; });
    }
    std::string subfamily(const std::string& genus) {
        return unique([&] { return base_of(genus) + "inae"; });
    }
    std::string species() {
        static constexpr std::string_view endings[] = {"us", "a", "ensis", "ata", "ella", "alis", "oides", "icola", "ana", "i", "osa", "ifera"};
        return unique([&] { return stem(draw_.chance(0.5) ? 1 : 2) + pick(endings); });
    }

private:
    template <class F>
    std::string unique(F&& make) {
        std::string name = make();
        // A stem that is taken, or made from the same genus, gets another syllable in front of its ending.
        while (!taken_.insert(name).second) name.insert(name.size() > 4 ? name.size() - 4 : name.size(), syllable());
        return name;
    }
    template <std::size_t N>
    std::string pick(const std::string_view (&list)[N]) {
        return std::string(list[draw_.below(N)]);
    }
    std::string syllable() {
        static constexpr std::string_view onsets[] = {"b", "c", "d", "f", "g", "h", "l", "m", "n", "p", "r", "s", "t", "v", "z", "br", "cl", "cr", "dr", "gl", "ph", "pl", "pr", "st", "th", "tr", "x"};
        static constexpr std::string_view vowels[] = {"a", "e", "i", "o", "u", "ae", "eu", "y"};
        const std::string onset = pick(onsets);
        return onset + pick(vowels);
    }
    std::string stem(int n_syllables) {
        static constexpr std::string_view codas[] = {"c", "d", "l", "lm", "m", "n", "nt", "p", "r", "rp", "s", "st", "t", "x"};
        std::string s;
        for (int i = 0; i < n_syllables; ++i) s += syllable();
        return s + pick(codas);
    }
    static std::string capital(std::string s) {
        s[0] = static_cast<char>(s[0] - 'a' + 'A');
        return s;
    }
    /// The genus without its ending's vowels and s: what the family's ending is put to.
    static std::string base_of(std::string genus) {
        while (genus.size() > 3 && std::string_view("aeiouys").find(genus.back()) != std::string_view::npos) genus.pop_back();
        return genus;
    }

    random_draws& draw_;
    std::unordered_set<std::string> taken_;
};

}  // namespace instar::data::detail

#endif
