"""The map of a model's features: geometry only, as in :mod:`dalib.report.figures`."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dalib.core.words import counted
from dalib.report.figures import short

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dalib.records.pictures import MappedDomains, Point, TileSheet

SIZE, MARGIN = 360, 14
STRIP = 86  # height of what is under the map, for the image at which a reader points
SQUARE = 4  # side of a source image's mark
MOST_COLOURS = 10  # classes that can be told apart by colour; more: the domains are coloured instead
MOST_POINTS = 1000  # of a domain in a panel
FEWEST_FOR_A_NAME = 3
LETTER, LINE, BASELINE = 9, 16, 5  # of names on the map, bold at 14 pixels: width, height, and from middle to baseline
HIGHEST, LOWEST = 16, SIZE - 6  # baselines of names


@dataclass(frozen=True)
class Marks:
    """Points of one domain and colour, as one path."""

    domain: str
    colour: str
    name: str
    path: str


@dataclass(frozen=True)
class Thumbnails:
    """Places of the points of one domain and class, with the corner of each one's thumbnail in the sheet.

    Attributes:
        name: what they are.
        places: x, y on the map, and x, y in the sheet.
    """

    name: str
    places: list[tuple[int, int, int, int]]


@dataclass(frozen=True)
class Panel:
    """The map of one model.

    Attributes:
        marks: from back to front.
        names: x, y, text of classes where their images lie.
        thumbnails: to be shown where a reader points; empty where a run has none.
    """

    model: str
    alt: str
    marks: list[Marks]
    names: list[tuple[float, float, str]]
    thumbnails: list[Thumbnails]


def panel(
    model: str, method: str, domains: MappedDomains, classes: Sequence[str], sheet: TileSheet | None = None
) -> Panel | None:
    """Returns the map of one model; None without points.

    Args:
        model: its name.
        method: how the features were brought to two dimensions.
        domains: points of classes that there are not are left out.
        classes: up to MOST_COLOURS are distinguished by colour and named on the map.
        sheet: of the thumbnails.
    """
    points = _placed(domains, len(classes))
    if not any(points.values()):
        return None
    coloured = len(classes) <= MOST_COLOURS
    marks: list[Marks] = []
    names: list[tuple[float, float, str]] = []  # where they should be, before they make room for each other
    for domain in FRONT_LAST:
        for index in range(len(classes)) if coloured else (-1,):
            places = [(each.x, each.y) for each in points[domain] if index in (-1, each.label)]
            if not places:
                continue
            name = f"{_SAID[domain]} {short(classes[index], 24)}" if coloured else domain
            marks.append(Marks(domain, f"c{index}" if coloured else domain, name, _path(domain, places)))
            if coloured and domain == "target" and len(places) >= FEWEST_FOR_A_NAME:
                x, y = (round(statistics.median(place[axis] for place in places)) for axis in (0, 1))
                names.append((x, y + BASELINE, short(classes[index], 12)))
    counts = " and ".join(counted(len(points[domain]), f"{domain} image") for domain in ("source", "target"))
    alt = f"Map of the features of the {model} model by {method}: {counts}"
    return Panel(model, alt, marks, _apart(names), _thumbnails(points, classes, sheet) if sheet else [])


def _apart(names: Sequence[tuple[float, float, str]]) -> list[tuple[float, float, str]]:
    """Returns the names within the frame, each at the nearest height above or below its place where none stands yet."""
    steps = sorted(range(-SIZE // LINE, SIZE // LINE + 1), key=abs)
    placed: list[tuple[float, float, str]] = []
    for x, y, text in sorted(names, key=lambda each: each[1]):
        half = min(LETTER * len(text) / 2, SIZE / 2)
        x = min(max(x, half), SIZE - half)
        heights = [min(max(y + LINE * step, HIGHEST), LOWEST) for step in steps]
        free = (height for height in heights if not any(_overlap((x, height, text), other) for other in placed))
        placed.append((x, next(free, heights[0]), text))
    return placed


def _overlap(one: tuple[float, float, str], other: tuple[float, float, str]) -> bool:
    """Returns whether two names, each in the middle of its x, cover each other."""
    return abs(one[1] - other[1]) < LINE and abs(one[0] - other[0]) < LETTER * (len(one[2]) + len(other[2])) / 2


_SAID = {"source": "source, class", "target": "target, predicted as"}
FRONT_LAST = ("target", "source")  # the hollow marks over the filled ones: the other way round they are lost


@dataclass(frozen=True)
class _Placed:
    """A point on the map: its place, its class, and the number of its thumbnail."""

    x: int
    y: int
    label: int
    tile: int | None


def _placed(domains: MappedDomains, classes: int) -> dict[str, list[_Placed]]:
    """Returns the points of each domain in the frame; both axes have one scale, so that distances can be compared."""
    points = {
        "source": _thinned(domains.source, domains.source_tiles, classes),
        "target": _thinned(domains.target, domains.target_tiles, classes),
    }
    every = [point for listed in points.values() for point, _ in listed]
    if not every:
        return {"source": [], "target": []}
    lows, highs = ([of(point[axis] for point in every) for axis in (0, 1)] for of in (min, max))
    extent = max(high - low for low, high in zip(lows, highs, strict=True)) or 1.0
    offsets = [(extent - (high - low)) / 2 - low for low, high in zip(lows, highs, strict=True)]

    def placed(point: Point, tile: int | None) -> _Placed:
        x, y = (MARGIN + (SIZE - 2 * MARGIN) * (point[axis] + offsets[axis]) / extent for axis in (0, 1))
        return _Placed(round(x), round(SIZE - y), point[2], tile)

    return {domain: [placed(*each) for each in listed] for domain, listed in points.items()}


def _thinned(listed: Sequence[Point], tiles: Sequence[int] | None, classes: int) -> list[tuple[Point, int | None]]:
    of_points = tiles if tiles is not None and len(tiles) == len(listed) else [None] * len(listed)
    points = [(point, tile) for point, tile in zip(listed, of_points, strict=True) if 0 <= point[2] < classes]
    return points[:: -(-len(points) // MOST_POINTS)] if points else []


def _thumbnails(points: dict[str, list[_Placed]], classes: Sequence[str], sheet: TileSheet) -> list[Thumbnails]:
    found = []
    for domain in FRONT_LAST:
        for index, name in enumerate(classes):
            places = {
                (each.x, each.y): (sheet.size * (each.tile % sheet.columns), sheet.size * (each.tile // sheet.columns))
                for each in points[domain]
                if each.label == index and each.tile is not None
            }
            if places:
                here = [(*place, *corner) for place, corner in places.items()]
                found.append(Thumbnails(f"{_SAID[domain]} {short(name, 36)}", here))
    return found


def _path(domain: str, places: list[tuple[int, int]]) -> str:
    """Returns hollow squares for the source. A target image is a line of no length, which round ends make a dot."""
    places = list(dict.fromkeys(places))  # no mark twice in one place
    if domain == "source":
        half = SQUARE // 2
        return "".join(f"M{x - half} {y - half}h{SQUARE}v{SQUARE}h-{SQUARE}z" for x, y in places)
    return "".join(f"M{x} {y}h.01" for x, y in places)
