"""Reading metadata by pandas and Arrow: a table like BIOSCAN-5M's, 23 columns with a barcode in each row, from memory. See peer.py for how to run it.

As it comes: pandas.read_csv. Tuned: Arrow's reader, which uses all threads and leaves columns in Arrow's types; pandas' C parser with fixed
types when pyarrow is not installed. instar's typed_metadata reads all columns on one thread. Rates are rows a second: the tables are alike, not equal.
"""

import io
import random

import pandas as pd

import peer

try:
    import pyarrow
    import pyarrow.csv
except ImportError:
    pyarrow = None

TEXT = ["processid", "sampleid", "taxon", "phylum", "class", "order", "family", "subfamily", "genus", "species", "dna_bin", "dna_barcode", "country",
        "province_state", "inferred_ranks", "split"]
COLUMNS = TEXT[:14] + ["coord-lat", "coord-lon", "image_measurement_value", "area_fraction", "scale_factor", "inferred_ranks", "split", "index_bioscan_1M_insect", "chunk"]


def facts():
    return {"pandas": pd.__version__, "pyarrow": pyarrow.__version__ if pyarrow else "not installed"}


def table(n):
    """n rows as bytes; names and numbers as long as the real ones."""
    rng = random.Random(1)
    names = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(6, 14))).capitalize() for _ in range(400)]
    lines = [",".join(COLUMNS)]
    for i in range(n):
        species = rng.randrange(150)
        barcode = "".join(rng.choices("ACGT", k=658 if rng.random() < 0.9 else rng.randint(500, 657)))
        lines.append(",".join((
            f"BIOUG{i:08d}", f"CCDB-{i % 97:05d}-{i:08d}", f"{names[species]} {names[species + 1].lower()}", "Arthropoda", "Insecta", names[species % 12], names[species % 40],
            names[species % 60], names[species], f"{names[species]} {names[species + 1].lower()}", f"BOLD:AA{species:05d}", barcode, "Costa Rica", "Guanacaste",
            f"{rng.uniform(-40, 60):.4f}", f"{rng.uniform(-120, 150):.4f}", str(rng.randint(1000, 900000)), f"{rng.random():.6f}", f"{rng.uniform(1, 5):.5f}", str(rng.randint(0, 8)),
            "pretrain", str(i), str(i // 10000))))
    return ("\n".join(lines) + "\n").encode()


def typed(n):
    def build(tuned):
        text = table(n)
        types = {c: "string" for c in TEXT}

        def with_pandas():
            return pd.read_csv(io.BytesIO(text))

        def with_types():
            return pd.read_csv(io.BytesIO(text), dtype=types)

        def with_arrow():
            return pyarrow.csv.read_csv(pyarrow.BufferReader(text))

        run = with_pandas if not tuned else with_arrow if pyarrow else with_types
        rows = run()
        assert len(rows) == n and len(rows["dna_barcode"][n - 1].as_py() if tuned and pyarrow else rows["dna_barcode"][n - 1]) >= 500
        return peer.Work(run, items=n)

    return build


WORKS = {"typed_metadata/all_columns": typed(60_000)}

if __name__ == "__main__":
    peer.main(WORKS, facts)
