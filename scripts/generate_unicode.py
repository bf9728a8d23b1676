"""Writes the tables of include/instar/tokenize/detail/unicode_*.hpp from the Unicode character database.

    apt-get install unicode-data
    python3 scripts/generate_unicode.py --ucd /usr/share/unicode --out include/instar/tokenize/detail

Nothing is written that another table says: whether a code point has a lower case or decomposes, a decomposition in full, and compositions are
worked out by tokenize/unicode.hpp on first use.

Control, punctuation and accent are Unicode 8.0's, as in the tables that Hugging Face's BERT normaliser uses: a code point assigned later
is none of them. Six code points changed category since; CATEGORY_IN_8 has their old one. Everything else is the database's own version.
"""

import argparse
import pathlib

CATEGORY_IN_8 = {0x111C9: "Po", 0x166D: "Po", 0x1734: "Mn", 0x1885: "Lo", 0x1886: "Lo", 0xA9BD: "Mc"}
OTHER, SPACE, PUNCTUATION, ACCENT, LETTER, NUMBER = (1 << i for i in range(6))


def lines(path):
    for line in path.read_text(encoding="utf-8").splitlines():
        line = line.split("#")[0].strip()
        if line:
            yield [field.strip() for field in line.split(";")]


def span(text):
    first, _, last = text.partition("..")
    return range(int(first, 16), int(last or first, 16) + 1)


def ranges(values):
    """[first, last, value] of neighbours with equal values, zeros left out."""
    out = []
    for c in sorted(values):
        if not values[c]:
            continue
        if out and out[-1][1] == c - 1 and out[-1][2] == values[c]:
            out[-1][1] = c
        else:
            out.append([c, c, values[c]])
    return out


def strides(mapping):
    """[first, last, step, distance]: code points at equal steps of 1 or 2 that map equally far away."""
    out = []
    for c in sorted(mapping):
        distance = mapping[c] - c
        if out and out[-1][3] == distance and (step := c - out[-1][1]) in (1, 2) and (out[-1][0] == out[-1][1] or step == out[-1][2]):
            out[-1][1:3] = c, step
        else:
            out.append([c, c, 1, distance])
    return out


def full(c, steps):
    first, second = steps.get(c, (c, 0))
    return [*(full(first, steps) if first != c else [c]), *([second] if second else [])]


def table(name, element, rows, comment):
    out = [f"/// {comment}", f"inline constexpr {element} {name}[] = {{"]
    line = "   "
    for row in rows:
        text = " {" + ",".join(f"{x:#x}" if x > 9 else str(x) for x in row) + "},"
        if len(line) + len(text) > 150:
            out.append(line)
            line = "   "
        line += text
    return "\n".join(out + [line, "};", ""])


def header(folder, name, about, version, parts):
    guard = f"INSTAR_TOKENIZE_DETAIL_{name.upper()}_HPP"
    (folder / f"{name}.hpp").write_text(f"""#ifndef {guard}
#define {guard}

// {about}
// Written by scripts/generate_unicode.py from the Unicode character database {version}; not to be edited. Use tokenize/unicode.hpp.

#include <cstdint>

namespace instar::tokenize::detail {{

{chr(10).join(parts)}
}}  // namespace instar::tokenize::detail

#endif
""", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description="writes the Unicode tables")
    parser.add_argument("--ucd", type=pathlib.Path, default="/usr/share/unicode")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="the folder of the headers")
    args = parser.parse_args()
    ucd = args.ucd
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
            lower[c] = int(f[13], 16)
    longer = {}
    for f in lines(ucd / "SpecialCasing.txt"):
        if len(f) == 5 and f[4] == "" and len(f[1].split()) > 1:  # no condition, more than one code point
            longer[int(f[0], 16)] = [int(x, 16) for x in f[1].split()]
            del lower[int(f[0], 16)]
    assert all(len(to) == 2 for to in longer.values())
    space = {c for f in lines(ucd / "PropList.txt") if f[1] == "White_Space" for c in span(f[0])}
    excluded = {c for f in lines(ucd / "DerivedNormalizationProps.txt") if f[1] == "Full_Composition_Exclusion" for c in span(f[0])}

    flags = {}
    for c, now in category.items():
        if 0xD800 <= c < 0xE000:
            continue
        then = CATEGORY_IN_8.get(c, now) if age.get(c, (99,)) <= (8, 0) else ""
        value = OTHER if then in ("Cc", "Cf", "Co") else PUNCTUATION if then.startswith("P") else ACCENT if then == "Mn" else 0
        value |= LETTER if now.startswith("L") else NUMBER if now.startswith("N") else 0
        value |= SPACE if c in space else 0
        flags[c] = value

    header(args.out, "unicode_categories", "What kind of character a code point is. Control, punctuation and accent are Unicode 8.0's, as the script explains.", version, [
        f'inline constexpr const char* k_unicode_version = "{version}";\n',
        "struct unicode_range {\n    std::uint32_t first, last;\n    std::uint8_t value;\n};\n",
        table("k_unicode_flags", "unicode_range", ranges(flags), "The first six flags of unicode.hpp; code points that are left out have none."),
        table("k_unicode_combining", "unicode_range", ranges(combining), "Canonical combining class, where it is not 0."),
    ])
    header(args.out, "unicode_lower_case", "Lower case, where it differs.", version, [
        "/// first, first + step, … last, each with its lower case `distance` away.\nstruct unicode_lower_range {\n    std::uint32_t first, last, step;\n    std::int32_t distance;\n};\n",
        "/// A lower case of two code points.\nstruct unicode_lower_pair {\n    std::uint32_t from, first, second;\n};\n",
        table("k_unicode_lower", "unicode_lower_range", strides(lower), "Of one code point."),
        table("k_unicode_lower_pairs", "unicode_lower_pair", [[c, *to] for c, to in sorted(longer.items())], "Of two."),
    ])
    steps = {c: (d + [0])[:2] for c, d in decomposition.items()}
    # What unicode.hpp relies on when it decomposes in full: only the first of two goes on, to four code points at most.
    assert all(second not in steps for _, second in steps.values())
    assert all(len(full(c, steps)) <= 4 for c in steps)
    both_ways = [c for c in sorted(steps) if steps[c][1] and c not in excluded]
    header(args.out, "unicode_decomposition", "Canonical decomposition, one step of it, Hangul syllables left out.", version, [
        "struct unicode_step {\n    std::uint32_t from, first, second;  // second 0: a single code point\n};\n",
        table("k_unicode_both_ways", "unicode_step", [[c, *steps[c]] for c in both_ways], "Those that compose again."),
        table("k_unicode_one_way", "unicode_step", [[c, *steps[c]] for c in sorted(set(steps) - set(both_ways))], "Those that do not."),
    ])


if __name__ == "__main__":
    main()
