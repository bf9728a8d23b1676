"""What share of the machine's limit each work reaches, instar beside its peers, as an SVG from a file that run.py wrote.

    python benchmarks/peers/plot_shares.py docs/benchmarks/cpu.json --out docs/benchmarks/cpu_shares.svg

The limit is the roof of the roofline that the work is under: multiply-adds for work counted in FLOP, the triad's bandwidth for work counted
in bytes, both measured in the same run. Products of bf16 may pass 100 %, since the limit is that of float multiply-adds.
"""

import argparse
import html
import json
import statistics

WIDTH, LEFT, RIGHT, ROW, GAP, HEAD = 860, 300, 60, 9, 9, 26
SERIES = (("instar", "#2f78b7"), ("tuned", "#b9821b"), ("as it comes", "#b1405c"))


def shares(result):
    """Shares of the limit, in the order of SERIES; None where there is no figure."""
    amount, limit = (result["flop"], result["peak_gflops"]) if result.get("flop") else (result.get("bytes") or 0.0, result["triad_gbs"])
    if not amount or not limit:
        return None
    times = [result["instar"]["seconds"]] + [result["peers"].get(label, {}).get("seconds") for label, _ in SERIES[1:]]
    return [100.0 * amount * 1e-9 / statistics.median(t) / limit if t else None for t in times]


def plot(results):
    sections = {}
    for r in results:
        if (s := shares(r)) and s[0]:
            sections.setdefault(r["section"], []).append((r["name"], s))
    most = max([100.0] + [v for rows in sections.values() for _, s in rows for v in s if v])
    scale = (WIDTH - LEFT - RIGHT) / most
    out, y = [], 44
    for section, rows in sections.items():
        out.append(f'<text x="{LEFT}" y="{y + 14}" font-weight="600">{html.escape(section)}</text>')
        y += HEAD
        for name, values in rows:
            out.append(f'<text x="{LEFT - 8}" y="{y + 1.5 * ROW + 4}" text-anchor="end">{html.escape(name)}</text>')
            for i, (value, (label, color)) in enumerate(zip(values, SERIES)):
                if value is not None:
                    out.append(f'<rect x="{LEFT}" y="{y + i * ROW}" width="{value * scale:.1f}" height="{ROW - 2}" fill="{color}"><title>{label}: {value:.0f} %</title></rect>')
                    if i == 0:
                        out.append(f'<text x="{LEFT + value * scale + 5:.1f}" y="{y + ROW}" font-size="11">{value:.0f} %</text>')
            y += 3 * ROW + GAP
        y += GAP
    # A page's background shows through; this grey reads on white and on black.
    head = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" font-family="system-ui, sans-serif" font-size="12" fill="#7a837f">']
    for i, (label, color) in enumerate(SERIES):
        head.append(f'<rect x="{LEFT + 170 * i}" y="12" width="12" height="12" fill="{color}"/><text x="{LEFT + 170 * i + 18}" y="22">{"peer, " if i else ""}{label}</text>')
    for percent in range(0, int(most) + 1, 25):
        x = LEFT + percent * scale
        head.append(f'<line x1="{x:.1f}" y1="36" x2="{x:.1f}" y2="{y}" stroke="#7a837f" stroke-opacity="{0.6 if percent == 100 else 0.2}"/>'
                    f'<text x="{x:.1f}" y="{y - 4}" text-anchor="middle" font-size="11">{percent} %</text>')
    return "\n".join(head + out + ["</svg>"]) + "\n"


def main():
    parser = argparse.ArgumentParser(description="bars of the share of the machine's limit")
    parser.add_argument("json")
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    with open(args.json) as f:
        text = plot(json.load(f)["results"])
    with open(args.out, "w") as f:
        f.write(text)


if __name__ == "__main__":
    main()
