"""The tasks of the study: which images are the source, which the target, and what the study makes of them itself."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import partial
from itertools import permutations
from typing import TYPE_CHECKING, Any

import numpy as np
from parts import drawn_parts
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MOST_OF_DOMAIN = 520
"""Images of a domain; more would make the study longer and hardly steadier."""

OF_PACKAGES = {
    "cards": ("printed", "screen"),
    "chess": ("drawn", "font", "render"),
    "clipart": ("colour", "line"),
    "emoji-groups": ("line", "render", "silhouette"),
    "filetypes": ("flat", "glossy"),
    "furniture": ("line", "render"),
    "letters": ("display", "hand", "serif"),
    "materials": ("photo", "racer", "shooter"),
    "solar": ("monocrystalline", "polycrystalline"),
    "symbols": ("line", "solid"),
    "terrain": ("aerial", "ground", "map"),
    "things": ("clipart", "flat", "photo"),
}
"""Families of images from npm, PyPI and Debian packages, and their domains."""

HELD_OUT: tuple[str, ...] = ()
"""Families that no rule is made on, to be read once, when all is decided; none at present, for all were read."""


def edges(image: Image.Image) -> Image.Image:
    """Returns a drawing: dark outlines on white."""
    outlines = image.convert("L").filter(ImageFilter.GaussianBlur(1)).filter(ImageFilter.FIND_EDGES)
    return ImageOps.invert(ImageOps.autocontrast(outlines)).convert("RGB")


def posterised(image: Image.Image) -> Image.Image:
    return ImageOps.posterize(image.convert("RGB").filter(ImageFilter.MedianFilter(5)), 1)


def inverted(image: Image.Image) -> Image.Image:
    return ImageOps.invert(image.convert("RGB"))


def dark_and_blurred(image: Image.Image) -> Image.Image:
    blurred = image.convert("RGB").filter(ImageFilter.GaussianBlur(max(image.size) / 40))
    return ImageEnhance.Brightness(blurred).enhance(0.25)


def grey_and_noisy(image: Image.Image) -> Image.Image:
    values = np.asarray(image.convert("L"), dtype=np.float32)
    noise = np.random.default_rng(values.size).normal(0, 45, values.shape)
    return Image.fromarray((values + noise).clip(0, 255).astype(np.uint8)).convert("RGB")


def blended(image: Image.Image, photographs: list[Path]) -> Image.Image:
    """Returns |photograph - character|, as MNIST-M is made."""
    character = image.convert("L").resize((96, 96))
    number = int(np.asarray(character, dtype=np.int64).sum())
    behind = Image.open(photographs[number % len(photographs)]).convert("RGB").resize((192, 192))
    left = number % 97
    behind = behind.crop((left, left, left + 96, left + 96))
    values = np.abs(np.asarray(behind, np.int16) - np.asarray(character, np.int16)[..., None])
    return Image.fromarray(values.astype(np.uint8))


def second_camera(image: Image.Image) -> Image.Image:
    """Returns the image as another camera may take it: out of focus, in warm and dim light, with dark corners."""
    blurred = image.convert("RGB").filter(ImageFilter.GaussianBlur(max(image.size) / 120))
    y, x = np.mgrid[-1 : 1 : blurred.height * 1j, -1 : 1 : blurred.width * 1j]
    light = 0.7 * np.array([1.1, 0.95, 0.8]) * (1 - 0.35 * (x**2 + y**2))[..., None]
    values = 255 * (np.asarray(blurred, dtype=np.float32) * light / 255) ** 0.9
    noise = np.random.default_rng(values.size).normal(0, 5, values.shape)
    return Image.fromarray((values + noise).clip(0, 255).astype(np.uint8))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "edges": edges,
    "posterised": posterised,
    "inverted": inverted,
    "dark": dark_and_blurred,
    "noisy": grey_and_noisy,
    "camera": second_camera,
}


@dataclass(frozen=True)
class Domain:
    """One side of a task.

    Attributes:
        base: a folder below the data root with a folder for each class, or mnist, usps, parts.
        classes: first and last position of the classes, in alphabetical order; None is all.
        change: what is done to each image; a key of CHANGES, or blended.
        half: 0 or 1 takes every second image, so that the same folder serves as source and as target.
        shares: of each class, cut down; a class at 0 is left out.
    """

    base: str
    classes: tuple[int, int] | None = None
    change: str = ""
    half: int | None = None
    shares: str = ""

    @property
    def name(self) -> str:
        parts = [self.base.replace("/images", "").replace("/", "-"), self.change, self.shares]
        parts += [] if self.classes is None else [f"{self.classes[0]}to{self.classes[1]}"]
        parts += [] if self.half is None else [f"half{self.half}"]
        return "-".join(part for part in parts if part)


@dataclass(frozen=True)
class Task:
    """A source, a target, and how the networks are trained.

    Attributes:
        family: tasks of one family share images, so they are left out together.
        preset: photo-features, or another for networks that are trained from scratch.
        settings: changes of the preset.
    """

    family: str
    source: Domain | str
    target: Domain | str
    preset: str | None = "photo-features"
    network: str = "lite0"
    settings: dict[str, Any] = field(default_factory=dict, hash=False)

    @property
    def name(self) -> str:
        sides = [each if isinstance(each, str) else each.name for each in (self.source, self.target)]
        return f"{self.family}--{'--'.join(sides)}--{self.network}"


def _directions(family: str, domains: tuple[str, ...]) -> list[tuple[Domain, Domain]]:
    """Returns all directions between the domains of a family that comes from packages."""
    return [
        (Domain(f"packages/{family}/{one}"), Domain(f"packages/{family}/{other}"))
        for one, other in permutations(domains, 2)
    ]


def _office(name: str, *rest: Any, **more: Any) -> Domain:
    return Domain(f"office31/{name}/images", *rest, **more)


def _tasks() -> list[Task]:
    a, w, d = (partial(_office, name) for name in ("amazon", "webcam", "dslr"))
    first, last, middle = (0, 9), (21, 30), (10, 16)
    office = [
        (a(), w()),
        (w(), a()),
        (d(), a()),
        (a(first), w(first, "edges")),
        (w(first), a(first, "edges")),
        (d(), w()),
        (a(), d()),
        (w(), d()),
        (a(last, half=0), a(last, "edges", half=1)),
        (a(middle), w(middle, "posterised")),
        (w(last), a(last, "inverted")),
        (a(first, half=0), a(first, "dark", half=1)),
        (d(middle), a(middle, "edges")),
        (a(last), w(last, shares="falling")),
        (w(first), a(first, shares="without")),
        (w(middle), a(middle, "noisy")),
        (a(middle), a(middle, "posterised")),
        (a(last, half=0), a(last, "camera", half=1)),
        (d(), w(change="camera")),
    ]
    m, p = (partial(Domain, f"pairs/asl_digits/{name}") for name in ("massey_black", "plain_photo"))
    asl = [
        (m(), p()),
        (p(), m()),
        (p(), m(change="edges")),
        (m(), p(change="inverted")),
        (p(half=0), p(change="edges", half=1)),
        (p(), m(shares="falling")),
        (p(half=0), p(change="camera", half=1)),
    ]
    n, x = (partial(Domain, f"pairs/steel/{name}") for name in ("neu", "xsdd"))
    steel = [(n(), x()), (x(), n()), (n(), x(change="inverted")), (x(half=0), x(change="edges", half=1))]
    steel += [(n(half=0), n(change="camera", half=1))]
    s, b = (partial(Domain, f"pairs/crack/{name}") for name in ("asphalt", "brick"))
    crack = [(s(), b()), (b(), s()), (b(), s(change="inverted")), (s(half=0), s(change="edges", half=1))]
    crack += [(s(half=0), s(change="camera", half=1))]
    f, mn, us = (partial(Domain, name) for name in ("pairs/digits_font/font", "mnist", "usps"))
    characters = [
        (f(), mn()),
        (mn(), f()),
        (f(), us()),
        (mn(), f(change="blended")),
        (f(), mn(change="blended")),
        (us(), mn()),
        (mn(), us(shares="falling")),
    ]
    c, u = (partial(Domain, f"pairs/clothes/{name}") for name in ("catalogue", "user_photo"))
    clothes = [
        (c(), u()),
        (u(), c()),
        (c(), u(change="edges")),
        (u(), c(change="edges")),
        (u(), c(change="posterised")),
        (c(half=0), c(change="camera", half=1)),
    ]
    t, o = (partial(Domain, f"pairs/tiny_objects/{name}") for name in ("cifar32px", "natural30px"))
    tiny = [(t(), o()), (o(), t()), (t(), o(change="dark")), (o(), t(change="inverted"))]
    part = partial(Domain, "parts")
    parts = [
        (part(half=0), part(change="camera", half=1)),
        (part(change="camera", half=0), part(half=1)),
        (part(half=0), part(change="edges", half=1)),
        (part(half=0), part(change="inverted", half=1)),
        (part(half=0), part(change="camera", half=1, shares="falling")),
    ]
    lists: dict[str, list[tuple[Domain, Domain]]] = {
        "office31": office,
        "asl_digits": asl,
        "steel": steel,
        "crack": crack,
        "characters": characters,
        "clothes": clothes,
        "tiny_objects": tiny,
        "parts": parts,
        **{family: _directions(family, domains) for family, domains in OF_PACKAGES.items()},
    }
    pretrained = [Task(family, *pair) for family, pairs in lists.items() for pair in pairs]
    pretrained += [Task("office31", *pair, network="lite2") for pair in office[:2]]
    scratch = [
        Task("digits, from scratch", "fonts", "digits", None, "scratch", {"steps": 600}),
        Task("digits, from scratch", "fonts", "usps", "digits", "scratch", {"steps": 500}),
        Task("digits, from scratch", "usps", "mnist", "digits", "scratch", {"steps": 500}),
        Task(
            "digits, from scratch",
            "usps",
            mn(change="blended"),
            "digits",
            "scratch",
            {"steps": 500, "data.fit": "stretch"},
        ),
        Task("digits, from scratch", f(), us(), "digits", "scratch", {"steps": 500}),
        Task("asl_digits", m(), p(), None, "scratch", {"steps": 500, "data.size": 32}),
        Task("steel", n(), x(), None, "scratch", {"steps": 200, "data.size": 32}),
        Task("clothes", c(), u(), None, "scratch", {"steps": 200, "data.size": 32}),
    ]
    # in turns through the families, so that a recording that is cut off has some of each
    by_family: dict[str, list[Task]] = {}
    for task in (*pretrained, *scratch):
        by_family.setdefault(f"{task.family} {task.preset}", []).append(task)
    longest = max(map(len, by_family.values()))
    found = [each[turn] for turn in range(longest) for each in by_family.values() if turn < len(each)]
    return sorted(found, key=lambda task: task.preset is None)  # these take longest


TASKS = tuple(_tasks())


def _is_pair(task: Task) -> bool:
    """Returns whether both domains are published images as they are, of the small pairs or MNIST."""
    sides = [each for each in (task.source, task.target) if isinstance(each, Domain)]
    whole = len(sides) == 2 and not any(
        each.change or each.shares or each.classes or each.half is not None for each in sides
    )
    return (
        whole
        and task.network == "lite0"
        and all(each.base.startswith("pairs") or each.base == "mnist" for each in sides)
    )


PAIRS = [task for task in TASKS if _is_pair(task)]
"""Twelve directions between the pairs, with features of a frozen network."""


def materialise(domain: Domain, root: Path, out: Path) -> Path:
    """Writes the images of a domain as a folder with a folder for each class, once; returns it.

    Those of packages are few, and are taken as they are.
    """
    if domain == Domain(domain.base) and domain.base.startswith("packages"):
        return root / domain.base
    folder = out / "data" / domain.name
    if (out / "data" / f"{domain.name}.done").exists():
        return folder
    by_class = _files(domain.base, root, out)
    names = sorted(by_class)
    if domain.classes is not None:
        names = names[domain.classes[0] : domain.classes[1] + 1]
    most = MOST_OF_DOMAIN // len(names)
    photographs = sorted((root / "office31/webcam/images").glob("*/*.jpg"))
    for position, name in enumerate(names):
        files = sorted(by_class[name])
        random.Random(name).shuffle(files)
        if domain.half is not None:
            files = files[domain.half :: 2]
        kept = min(most, len(files))
        if domain.shares == "falling":  # from all of the first class to an eighth of the last
            kept = max(4, round(kept * 8 ** (-position / max(1, len(names) - 1))))
        if domain.shares == "without" and position % 3 == 2:
            continue
        (folder / name).mkdir(parents=True, exist_ok=True)
        for file in files[:kept]:
            with Image.open(file) as image:
                changed = image.convert("RGB")
            if domain.change == "blended":
                changed = blended(changed, photographs)
            elif domain.change:
                changed = CHANGES[domain.change](changed)
            changed.save(folder / name / f"{file.stem}.png")
    (out / "data" / f"{domain.name}.done").touch()
    return folder


def _files(base: str, root: Path, out: Path) -> dict[str, list[Path]]:
    if base in {"mnist", "usps"}:
        return _digits(base, root, out)
    if base == "parts":
        return drawn_parts(out / "data" / "parts-all", 90)
    kinds = ("*.jpg", "*.png")
    return {
        each.name: [file for kind in kinds for file in each.glob(kind)]
        for each in sorted((root / base).iterdir())
        if each.is_dir()
    }


def _digits(base: str, root: Path, out: Path) -> dict[str, list[Path]]:
    """Writes 70 images of each digit as files."""
    from torchvision.datasets import MNIST, USPS

    folder = out / "data" / f"{base}-all"
    if not folder.is_dir():
        images = MNIST(root) if base == "mnist" else USPS(root / "USPS")
        counts = dict.fromkeys(range(10), 0)
        for number in range(len(images)):
            image, label = images[number]
            if counts[label] < 70:
                counts[label] += 1
                (folder / str(label)).mkdir(parents=True, exist_ok=True)
                image.save(folder / str(label) / f"{number:05d}.png")
    return {str(digit): list((folder / str(digit)).glob("*.png")) for digit in range(10)}
