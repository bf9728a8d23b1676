"""Photographs and barcodes of the same species as a BIOSCAN-5M metadata file, for clip_trimodal: each photo gets a barcode of its species.

    python3 tests/reference/butterfly_pairs.py DATA/pairs_butterfly6 OUT
    clip_trimodal train --metadata OUT/metadata.csv --images OUT --out run …

One photo in five (by the MD5 of its name) is a query, split test; the others are the training set and the keys. Needs Python alone.
"""

import csv
import gzip
import hashlib
import pathlib
import random
import sys

COLUMNS = "processid,sampleid,taxon,phylum,class,order,family,subfamily,genus,species,dna_bin,dna_barcode,country,province_state,coord-lat,coord-lon,image_measurement_value,area_fraction,scale_factor,inferred_ranks,split,index_bioscan_1M_insect,chunk".split(",")


def main():
    source, out = map(pathlib.Path, sys.argv[1:3])
    rng = random.Random(1)
    barcodes = {}
    with gzip.open(source / "dna.tsv.gz", "rt") as f:
        for row in csv.DictReader(f, delimiter="\t"):
            barcodes.setdefault(row["species"], []).append(row)
    with open(source / "images.tsv") as f:
        photos = list(csv.DictReader(f, delimiter="\t"))
    out.mkdir(parents=True, exist_ok=True)
    with open(out / "metadata.csv", "w", newline="") as f:
        writer = csv.DictWriter(f, COLUMNS, restval="")
        writer.writeheader()
        for photo in photos:
            path = (source / photo["file"]).resolve()
            name = path.stem
            digest = hashlib.md5(path.name.encode()).hexdigest()
            split = "test" if int(digest[:8], 16) % 5 == 0 else "train"
            dna = rng.choice(barcodes[photo["species"]])
            writer.writerow({"processid": name, "sampleid": name, "class": "Insecta", "dna_barcode": dna["seq"].replace("-", "").upper(), "split": split, "dna_bin": photo["species"],
                             **{k: dna[k] for k in ("order", "family", "subfamily", "genus", "species")}})
            folder = out / "bioscan5m" / "images" / "cropped_256" / split
            if split == "train":
                folder /= hashlib.md5(name.encode()).hexdigest()[0]
            folder.mkdir(parents=True, exist_ok=True)
            link = folder / f"{name}.jpg"
            if not link.exists():
                link.symlink_to(path)


if __name__ == "__main__":
    main()
