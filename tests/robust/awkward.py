"""Small awkward data sets, drawn by hypothesis: trees of files, lists of them, and what must become of each file.

What becomes of a file is told by plain rules that are written here a second time, and its pixels by a plain reading.
Images of more than 8 bits are left out: their pixels depend on the range of their whole set.
"""

from __future__ import annotations

import csv
import io
import json
import os
import sys
import unicodedata
import warnings
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from hypothesis import strategies as st
from PIL import Image, ImageOps, features

SIZE = 8
AVIF = "avif" in features.modules and bool(features.check("avif"))
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", *(("AVIF",) if AVIF else ()))
READ = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"),
    *((".avif",) if AVIF else ()),
)

WINDOWS, LINUX = os.name == "nt", sys.platform == "linux"


def _saved(image: Image.Image, kind: str, **settings: object) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **settings)
    return content.getvalue()


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


KINDS = {  # name -> PIL's format, mode, settings
    "png grey": ("PNG", "L", {}),
    "png": ("PNG", "RGB", {}),
    "png transparent": ("PNG", "RGBA", {}),
    "png grey transparent": ("PNG", "LA", {}),
    "png palette": ("PNG", "P", {}),
    "png palette transparent": ("PNG", "P", {"transparency": 3}),
    "png 1 bit": ("PNG", "1", {}),
    "jpeg": ("JPEG", "RGB", {}),
    "jpeg grey": ("JPEG", "L", {"progressive": True}),
    "jpeg cmyk": ("JPEG", "CMYK", {}),
    "jpeg turned": ("JPEG", "RGB", {"exif": _turned()}),
    "webp": ("WEBP", "RGB", {}),
    "webp transparent": ("WEBP", "RGBA", {"lossless": True, "exact": True}),
    "tiff": ("TIFF", "RGB", {}),
    "tiff lzw": ("TIFF", "L", {"compression": "tiff_lzw"}),
    "tiff transparent": ("TIFF", "RGBA", {}),
    "bmp": ("BMP", "RGB", {}),
    "gif": ("GIF", "P", {}),
    "ppm": ("PPM", "RGB", {}),
    **({"avif": ("AVIF", "RGB", {})} if AVIF else {}),
}
OWN_ENDING = {"JPEG": ".jpg", "TIFF": ".tif"}
DAMAGE = ("", "", "", "", "cut", "tail", "longer", "empty", "text")
ENDINGS = (*READ, ".PNG", ".JpG", ".JFIF", ".TIF", ".Webp")
OTHER_ENDINGS = ("", "", ".txt", ".xyz", ".png~", ".PNG_original", ".tfw", ".csv")
STEMS = (
    *("a", "b", "Photo 1", " before", "a.b", "-x", "#1", "%41", "caf\u00e9", "cafe\u0301", "\u65e5\u672c", "x,y;z"),
    *(() if WINDOWS else ('"quoted"', "two\nlines", "tab\tbed", "back\\slash")),
    *(("no\udce9text",) if LINUX else ()),
)
FOLDERS = (
    *("cat", "dog", "caf\u00e9", "cafe\u0301", "0", "x,y", "a.png", "class.csv", "None"),
    *(() if WINDOWS else (" cat ", "dog ")),
)
JUNK = ("@eaDir", "__MACOSX", ".ipynb_checkpoints", "#recycle", ".hidden")
INNER = ("sub", "deep.er", "in ner", "n\u00e4chste")


def spelled(path: str) -> str:
    """Returns a path as it is compared here: as it is, but composed where file systems may respell it."""
    return path if LINUX else unicodedata.normalize("NFC", path)


def key_of(name: str) -> str:
    """Returns a name as it is compared here: composed, without spaces at its ends."""
    return unicodedata.normalize("NFC", name).strip()


def picture(seed: int) -> Image.Image:
    """Noise in four channels, of sides below twice SIZE: a JPEG is decoded whole."""
    draw = np.random.default_rng(seed)
    height, width = draw.integers(SIZE, 2 * SIZE - 1, 2) if seed % 3 else (SIZE, SIZE)
    return Image.fromarray(draw.integers(0, 256, (height, width, 4), dtype=np.uint8))


def reference(content: bytes, channels: int) -> np.ndarray | None:
    """(C, SIZE, SIZE) uint8 as a plain reading has it, on white; None where it cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a TIFF whose last bytes are missing, which are none of its pixels
            image = Image.open(io.BytesIO(content), formats=FORMATS)
            image.load()
    except Exception:  # whatever decoders raise
        return None
    image = ImageOps.exif_transpose(image)
    four = np.asarray(image.convert("RGBA"), dtype=np.float64)
    share = four[..., 3:] / 255
    on_white = np.rint(four[..., :3] * share + 255 * (1 - share)).astype(np.uint8)
    seen = Image.fromarray(on_white).convert("L" if channels == 1 else "RGB")
    fitted = np.asarray(ImageOps.fit(seen, (SIZE, SIZE), Image.Resampling.BILINEAR))
    return fitted.reshape(SIZE, SIZE, channels).transpose(2, 0, 1).copy()


@dataclass(frozen=True)
class File:
    """A file of a tree, as it is drawn."""

    path: str
    """Below the root, with slashes."""
    kind: str = "png"
    damage: str = ""
    seed: int = 0

    def content(self) -> bytes:
        """Returns the bytes of the file."""
        format_, mode, settings = KINDS[self.kind]
        image = picture(self.seed)
        image = image.convert("RGB").convert(mode) if mode in ("P", "CMYK") else image.convert(mode)
        whole = _saved(image, format_, **settings)
        if self.damage == "empty":
            return b""
        if self.damage == "text":
            return b"this is no image, whatever its name is\n" + str(self.seed).encode()
        if self.damage == "longer":
            return whole + b"\0\0more"
        return {"": whole, "cut": whole[: len(whole) * 3 // 5], "tail": whole[:-2]}[self.damage]

    @property
    def parts(self) -> tuple[str, ...]:
        return PurePosixPath(self.path).parts

    @property
    def ending(self) -> str:
        return PurePosixPath(self.path).suffix.lower()

    @property
    def is_hidden(self) -> bool:
        return self.parts[-1].startswith(".")

    @property
    def junk(self) -> str:
        """The outermost folder above it that holds no images; empty where there is none."""
        for number, name in enumerate(self.parts[:-1]):
            if name in JUNK:
                return "/".join(self.parts[: number + 1])
        return ""

    @property
    def is_candidate(self) -> bool:
        """Whether a walk takes it for an image, by its ending or, without one, by its first bytes."""
        if self.junk or self.is_hidden:
            return False
        return self.ending in READ or (not self.ending and self.begins_as_an_image)

    @property
    def begins_as_an_image(self) -> bool:
        return self.damage not in ("empty", "text")


@dataclass(frozen=True)
class Fates:
    """What must become of the files of a tree or list, by the paths below its root."""

    used: dict[str, File]
    unreadable: frozenset[str]
    left_out: dict[str, str]
    """Files, and folders with all that is in them, and how the reason begins."""
    refused: bool = False
    """Whether a class, or all, has no image that can be read."""
    told: tuple[str, ...] = ()
    """What is told of those that are left out."""

    @property
    def classes(self) -> frozenset[str]:
        """The folders of the used ones, composed."""
        return frozenset(key_of(file.parts[0]) for file in self.used.values())


def fates(files: tuple[File, ...], *, labelled: bool) -> Fates:
    """Returns what must become of the files of a folder."""
    used: dict[str, File] = {}
    unreadable: set[str] = set()
    left_out: dict[str, str] = {}
    candidates: dict[str, int] = {}
    for file in files:
        path, loose = spelled(file.path), labelled and len(file.parts) == 1
        if labelled and not loose and file.parts[0] not in JUNK:
            candidates.setdefault(file.parts[0], 0)
        if file.junk:
            left_out[spelled(file.junk)] = "a folder, "
        elif file.is_hidden:
            left_out[path] = "hidden"
        elif not file.is_candidate:
            left_out[path] = f"{file.ending} is not the ending" if file.ending else "without an ending"
        elif loose:
            left_out[path] = "beside the class folders"
        else:
            if labelled:
                candidates[file.parts[0]] += 1
            if reference(file.content(), 3) is None:
                unreadable.add(path)
            else:
                used[path] = file
    found = Fates(used, frozenset(unreadable), left_out, told=_told(files, labelled=labelled))
    full = not labelled or (all(candidates.values()) and found.classes == set(map(key_of, candidates)))
    return replace(found, refused=not used or not full)


def _told(files: tuple[File, ...], *, labelled: bool) -> tuple[str, ...]:
    """The parts of the line about what is not used."""
    outside = [file for file in files if not file.junk]
    endings = Counter(file.ending or "none" for file in outside if not file.is_hidden and not file.is_candidate)
    hidden = sum(file.is_hidden and file.ending in READ for file in outside)
    loose = sum(labelled and file.is_candidate and len(file.parts) == 1 for file in files)
    beside = f"image{'s' if loose > 1 else ''} beside the class folders {'are' if loose > 1 else 'is'}"
    folders = Counter(PurePosixPath(path).name for path in {file.junk for file in files if file.junk})
    return (
        *(f"{ending} {count}" for ending, count in endings.items()),
        *([f"{hidden} hidden"] if hidden else []),
        *([f"{loose} {beside} not used"] if loose else []),
        *(f"{name} {count} (" for name, count in folders.items()),
    )


def write_tree(root: Path, files: tuple[File, ...], *, same_time: bool = False) -> None:
    """Writes the files; with ``same_time`` all have one time of change, as out of some archives and containers."""
    for file in files:
        path = root / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content())
        if same_time:
            os.utime(path, (1_000_000_000, 1_000_000_000))


def _distinct(files: list[File]) -> tuple[File, ...]:
    """Without paths that would be one file on some file systems, or a file and a folder at once."""
    kept: list[File] = []
    taken: set[str] = set()
    for file in files:
        folded = spelled(file.path).casefold()
        above = ["/".join(folded.split("/")[:count]) for count in range(1, folded.count("/") + 1)]
        if folded in taken or any(f"{each}!" in taken for each in above) or f"{folded}/" in taken:
            continue
        taken |= {folded, f"{folded}!", *(f"{each}/" for each in above)}
        kept.append(file)
    return tuple(kept)


@st.composite
def some_files(draw: st.DrawFn, folders: tuple[str, ...], *, listed: bool = False) -> tuple[File, ...]:
    """Draws files in folders: nested, hidden, damaged, in folders that systems leave behind, and with odd endings."""
    stems = tuple(stem for stem in STEMS if not (listed and "\udce9" in stem))
    files = []
    for folder in folders:  # mostly one that can be read
        if draw(st.integers(0, 9)):
            kind = draw(st.sampled_from(list(KINDS)))
            name = draw(st.sampled_from(stems)) + _own_ending(kind)
            files.append(File(f"{folder}/{name}" if folder else name, kind, "", draw(st.integers(0, 10**6))))
    for _ in range(draw(st.integers(0, 7))):
        parts = [draw(st.sampled_from(folders))]
        where = draw(st.integers(0, 9))
        if where == 0:
            parts = [draw(st.sampled_from(JUNK))]
        elif where == 1:
            parts = []
        elif where < 4:
            parts.append(draw(st.sampled_from((*INNER, *JUNK))))
        name = draw(st.sampled_from(stems))
        kind = draw(st.sampled_from(list(KINDS)))
        which = draw(st.integers(0, 9))
        if which < 6:
            name += _own_ending(kind)
        else:
            name += draw(st.sampled_from(ENDINGS if which < 8 else OTHER_ENDINGS))
        if draw(st.integers(0, 7)) == 0:
            name = draw(st.sampled_from((".", "._"))) + name
        path = "/".join([each for each in parts if each] + [name])
        files.append(File(path, kind, draw(st.sampled_from(DAMAGE)), draw(st.integers(0, 10**6))))
    return _distinct(files)


def _own_ending(kind: str) -> str:
    format_ = KINDS[kind][0]
    return OWN_ENDING.get(format_, f".{format_.lower()}")


@dataclass(frozen=True)
class Case:
    """A source, a target and how they are read."""

    source: tuple[File, ...]
    target: tuple[File, ...]
    channels: int = 3
    same_time: bool = False


@st.composite
def cases(draw: st.DrawFn, *, listed: bool = False) -> Case:
    """Draws a labelled and an unlabelled tree."""
    names = tuple(name for name in FOLDERS if not (listed and name == "None"))
    folders = tuple(draw(st.lists(st.sampled_from(names), min_size=2, max_size=4, unique=True)))
    source = draw(some_files(folders, listed=listed))
    target = draw(some_files(("", draw(st.sampled_from(names))), listed=listed))
    return Case(source, target, draw(st.sampled_from((1, 3))), draw(st.booleans()))


MISSING = ("", " ", "nan", "NaN", "N/A", "#N/A", "None")


@dataclass(frozen=True)
class Dialect:
    """How a list is written."""

    ending: str = ".csv"
    delimiter: str = ","
    bom: bool = False
    named: bool = False
    """With a line ``sep=`` before the header, as Excel wants it."""
    newline: str = "\n"
    quote_all: bool = False
    more: bool = False
    """With other columns before and after."""
    blank_lines: bool = False
    decompose: bool = False
    """With names as macOS spells them."""
    spaces: bool = False
    """With spaces around labels and the names of columns."""
    dots: bool = False
    """With ./ before each path."""
    repeated: bool = False
    missing: str | None = None
    """What stands in place of the last label."""


def dialects() -> st.SearchStrategy[Dialect]:
    """Draws the dialect of a list."""
    return st.builds(
        Dialect,
        ending=st.sampled_from((".csv", ".csv", ".csv", ".CSV", ".jsonl")),
        delimiter=st.sampled_from(",;\t"),
        newline=st.sampled_from(("\n", "\r\n")),
        missing=st.one_of(st.none(), st.none(), st.none(), st.sampled_from(MISSING)),
        **dict.fromkeys(("bom", "named", "quote_all", "more", "blank_lines", "decompose", "dots"), st.booleans()),
        **dict.fromkeys(("spaces", "repeated"), st.booleans()),
    )


def write_list(path: Path, rows: list[tuple[str, str]], dialect: Dialect) -> None:
    """Writes pairs (path, label) as the dialect has it."""
    if dialect.decompose:
        rows = [tuple(unicodedata.normalize("NFD", each) for each in row) for row in rows]  # type: ignore[misc]
    if dialect.missing is not None:
        rows = [*rows[:-1], (rows[-1][0], dialect.missing)]
    elif dialect.spaces:
        rows = [(name, f" {label} ") for name, label in rows]
    if dialect.dots:
        rows = [(f"./{name}", label) for name, label in rows]
    if dialect.repeated:
        rows = [*rows, rows[0]]
    if dialect.ending == ".jsonl":
        lines = [
            json.dumps({"path": name, "label": label, "n": 1}, ensure_ascii=not dialect.bom) for name, label in rows
        ]
        text = dialect.newline.join(lines)
    else:
        content = io.StringIO(newline="")
        quoting = csv.QUOTE_ALL if dialect.quote_all else csv.QUOTE_MINIMAL
        writer = csv.writer(content, delimiter=dialect.delimiter, lineterminator=dialect.newline, quoting=quoting)
        header = (" path ", "label ") if dialect.spaces else ("path", "label")
        writer.writerow(("n", *header, "note, of; what") if dialect.more else header)
        for number, row in enumerate(rows):
            if dialect.blank_lines:
                content.write(dialect.newline)
            writer.writerow((number, *row, 'a "b"\nc') if dialect.more else row)
        text = content.getvalue()
        if dialect.named:
            text = f"sep={dialect.delimiter}{dialect.newline}{text}"
    path.write_bytes(text.encode("utf-8-sig" if dialect.bom else "utf-8"))
