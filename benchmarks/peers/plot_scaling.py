"""Time against size, both logarithmic, as an SVG: instar and its peers, from a file that run.py wrote.

    python benchmarks/peers/plot_scaling.py docs/benchmarks/clustering.json --work 'ward/([0-9]+)/50' --title 'Ward, 50 coordinates' \\
        --names 'scikit-learn' 'fastcluster' --out docs/benchmarks/ward_scaling.svg

The number in the brackets of --work is the size; --names are those of the peer as it comes and tuned.
"""

import argparse
import json
import math
import re
import statistics

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 420, 70, 150, 40, 50
COLORS = ("#2f78b7", "#b9821b", "#b1405c")


def ticks(low, high):
    """1, 2 and 5 of every decade within."""
    out = [m * 10.0**e for e in range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1) for m in (1, 2, 5)]
    return [t for t in out if low <= t <= high]


def number(v, unit=""):
    return (f"{v:,.0f}" if v >= 1 else f"{v:g}") + unit


def plot(series, title):
    xs, ys = [x for _, points in series for x, _ in points], [y for _, points in series for _, y in points]
    x_low, x_high, y_low, y_high = min(xs) / 1.15, max(xs) * 1.15, min(ys) / 1.6, max(ys) * 1.6

    def px(x):
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log(x / x_low) / math.log(x_high / x_low)

    def py(y):
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * math.log(y / y_low) / math.log(y_high / y_low)

    # A page's background shows through; this grey reads on white and on black.
    s = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="system-ui, sans-serif" font-size="13" fill="#7a837f">',
         f'<text x="{LEFT}" y="22" font-size="15" font-weight="600">{title}</text>']
    for y in ticks(y_low, y_high):
        s.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{py(y):.1f}" y2="{py(y):.1f}" stroke="#7a837f" stroke-opacity=".25"/>')
        s.append(f'<text x="{LEFT - 8}" y="{py(y) + 4:.1f}" text-anchor="end">{number(y, " s")}</text>')
    for x in sorted(set(xs)):
        s.append(f'<line x1="{px(x):.1f}" x2="{px(x):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="#7a837f" stroke-opacity=".15"/>')
        s.append(f'<text x="{px(x):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{number(x)}</text>')
    s.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">points</text>')
    for (name, points), color in zip(series, COLORS):
        s.append(f'<polyline fill="none" stroke="{color}" stroke-width="2.5" points="' + " ".join(f"{px(x):.1f},{py(y):.1f}" for x, y in points) + '"/>')
        s += [f'<circle cx="{px(x):.1f}" cy="{py(y):.1f}" r="4" fill="{color}"><title>{name}, {number(x)}: {y:.3g} s</title></circle>' for x, y in points]
        x, y = points[-1]
        # Beside the last point; a series that ends before the others has its name to the left of it.
        where = f'x="{px(x) + 10:.1f}" y="{py(y) + 4:.1f}"' if x == max(xs) else f'x="{px(x) - 10:.1f}" y="{py(y) - 4:.1f}" text-anchor="end"'
        s.append(f'<text {where} fill="{color}" font-weight="600">{name}, {y:.3g} s</text>')
    return "\n".join(s) + "\n</svg>\n"


def main():
    parser = argparse.ArgumentParser(description="time against size, as an SVG")
    parser.add_argument("json")
    parser.add_argument("--work", required=True, help="regular expression over names of work, the size in brackets")
    parser.add_argument("--title", required=True)
    parser.add_argument("--names", nargs=2, default=["as it comes", "tuned"])
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    with open(args.json) as f:
        results = [(int(found.group(1)), r) for r in json.load(f)["results"] if (found := re.fullmatch(args.work, r["name"]))]
    series = [("instar", [(n, statistics.median(r["instar"]["seconds"])) for n, r in results if r["instar"]["seconds"]])]
    for label, name in zip(("as it comes", "tuned"), args.names):
        series.append((name, [(n, statistics.median(r["peers"][label]["seconds"])) for n, r in results if label in r["peers"]]))
    with open(args.out, "w") as f:
        f.write(plot([s for s in series if s[1]], args.title))


if __name__ == "__main__":
    main()
