"""Writes include/instar/tokenize/detail/unicode_tables.hpp from the Unicode character database.

    apt-get install unicode-data
    python3 scripts/generate_unicode.py --ucd /usr/share/unicode > include/instar/tokenize/detail/unicode_tables.hpp

Control, punctuation and accent are Unicode 8.0's, as in the tables that Hugging Face's BERT normaliser uses: a code point assigned later
is none of them. Six code points changed category since; CATEGORY_IN_8 has their old one. Everything else is the database's own version.
"""

import argparse
import pathlib

CATEGORY_IN_8 = {0x111C9: "Po", 0x166D: "Po", 0x1734: "Mn", 0x1885: "Lo", 0x1886: "Lo", 0xA9BD: "Mc"}
OTHER, SPACE, PUNCTUATION, ACCENT, LETTER, NUMBER, LOWERED, NORMALISED = (1 << i for i in range(8))


def lines(path):
    for line in path.read_text(encoding="utf-8").splitlines():
        line = line.split("#")[0].strip()
        if line:
            yield [field.strip() for field in line.split(";")]


def span(text):
    first, _, last = text.partition("..")
    return range(int(first, 16), int(last or first, 16) + 1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ucd", type=pathlib.Path, default="/usr/share/unicode")
    ucd = parser.parse_args().ucd
    version = (ucd / "DerivedAge.txt").read_text(encoding="utf-8").split("\n")[0].removeprefix("# DerivedAge-").removesuffix(".txt")

    age = {c: tuple(map(int, f[1].split("."))) for f in lines(ucd / "DerivedAge.txt") for c in span(f[0])}
    category, combining, lower, decomposition = {}, {}, {}, {}
    first = None
    for f in lines(ucd / "UnicodeData.txt"):
        c = int(f[0], 16)
        if f[1].endswith(", First>"):
            first = c
            continue
        for each in range(first, c + 1) if f[1].endswith(", Last>") else [c]:
            category[each] = f[2]
        first = None
        if f[3] != "0":
            combining[c] = int(f[3])
        if f[5] and not f[5].startswith("<"):
            decomposition[c] = [int(x, 16) for x in f[5].split()]
        if f[13]:
            lower[c] = [int(f[13], 16)]
    for f in lines(ucd / "SpecialCasing.txt"):
        if len(f) == 5 and f[4] == "" and len(f[1].split()) > 1:  # no condition, more than one code point
            lower[int(f[0], 16)] = [int(x, 16) for x in f[1].split()]
    space = {c for f in lines(ucd / "PropList.txt") if f[1] == "White_Space" for c in span(f[0])}
    excluded = {c for f in lines(ucd / "DerivedNormalizationProps.txt") if f[1] == "Full_Composition_Exclusion" for c in span(f[0])}

    def full(c):
        return [x for part in decomposition[c] for x in full(part)] if c in decomposition else [c]

    flags = {}
    for c, now in category.items():
        if 0xD800 <= c < 0xE000:
            continue
        then = CATEGORY_IN_8.get(c, now) if age.get(c, (99,)) <= (8, 0) else ""
        value = OTHER if then in ("Cc", "Cf", "Co") else PUNCTUATION if then.startswith("P") else ACCENT if then == "Mn" else 0
        value |= LETTER if now.startswith("L") else NUMBER if now.startswith("N") else 0
        value |= SPACE if c in space else 0
        value |= LOWERED if c in lower else 0
        value |= NORMALISED if c in decomposition or c in combining else 0
        flags[c] = value
    for c in range(0xAC00, 0xD7A4):
        flags[c] |= NORMALISED  # Hangul: by arithmetic

    ranges = []
    for c in sorted(flags):
        if not flags[c]:
            continue
        if ranges and ranges[-1][1] == c - 1 and ranges[-1][2] == flags[c]:
            ranges[-1][1] = c
        else:
            ranges.append([c, c, flags[c]])
    combined = []
    for c in sorted(combining):
        if combined and combined[-1][1] == c - 1 and combined[-1][2] == combining[c]:
            combined[-1][1] = c
        else:
            combined.append([c, c, combining[c]])
    pairs = sorted((d[0], d[1], c) for c, d in decomposition.items() if len(d) == 2 and c not in excluded)

    def table(name, element, rows, comment):
        print(f"/// {comment}")
        print(f"inline constexpr {element} {name}[] = {{")
        line = "   "
        for row in rows:
            text = " {" + ",".join(f"{x:#x}" if x > 9 else str(x) for x in row) + "},"
            if len(line) + len(text) > 150:
                print(line)
                line = "   "
            line += text
        print(line)
        print("};\n")

    print(f"""#ifndef INSTAR_TOKENIZE_DETAIL_UNICODE_TABLES_HPP
#define INSTAR_TOKENIZE_DETAIL_UNICODE_TABLES_HPP

// Written by scripts/generate_unicode.py from the Unicode character database {version}; not to be edited. Use tokenize/unicode.hpp.
// Control, punctuation and accent are Unicode 8.0's, as the script explains.

#include <cstdint>

namespace instar::tokenize::detail {{

inline constexpr const char* k_unicode_version = "{version}";

struct unicode_range {{
    std::uint32_t first, last;
    std::uint8_t value;
}};
struct unicode_mapping {{
    std::uint32_t from;
    std::uint32_t to[4];  // 0 = none
}};
struct unicode_pair {{
    std::uint32_t first, second, composed;
}};
""")
    table("k_unicode_flags", "unicode_range", ranges, "Flags of unicode.hpp by code point; those left out have none.")
    table("k_unicode_combining", "unicode_range", combined, "Canonical combining class, where it is not 0.")
    print("/// Lower case, where it differs.")
    mappings("k_unicode_lower", sorted(lower.items()))
    print("/// Full canonical decomposition, Hangul syllables left out.")
    mappings("k_unicode_decomposition", sorted((c, full(c)) for c in decomposition))
    table("k_unicode_compositions", "unicode_pair", pairs, "Canonical compositions, sorted.")
    print("}  // namespace instar::tokenize::detail\n\n#endif")


def mappings(name, rows):
    print(f"inline constexpr unicode_mapping {name}[] = {{")
    line = "   "
    for c, to in rows:
        assert len(to) <= 4
        text = f" {{{c:#x},{{{','.join(f'{x:#x}' for x in to)}}}}},"
        if len(line) + len(text) > 150:
            print(line)
            line = "   "
        line += text
    print(line)
    print("};\n")


if __name__ == "__main__":
    main()
