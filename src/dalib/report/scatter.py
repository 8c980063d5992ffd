"""Where images lie in a model's features: geometry only, as in :mod:`dalib.report.figures`."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dalib.report.figures import counted, short

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dalib.records.pictures import MappedDomains, Point

SIZE, MARGIN = 360, 14
SQUARE = 4  # side of a source image's mark
MOST_COLOURS = 10  # classes that can be told apart by colour; more: the domains are coloured instead
MOST_POINTS = 1000  # of a domain in a panel
FEWEST_FOR_A_NAME = 3


@dataclass(frozen=True)
class Marks:
    """Points of one domain and colour, as one path."""

    domain: str
    colour: str
    name: str
    path: str


@dataclass(frozen=True)
class Panel:
    """The map of one model: marks from back to front, and names (x, y, text) of classes where their images lie."""

    model: str
    alt: str
    marks: list[Marks]
    names: list[tuple[float, float, str]]


def panel(model: str, method: str, domains: MappedDomains, classes: Sequence[str]) -> Panel | None:
    """Returns the map of one model; None without points.

    Args:
        model: its name.
        method: how the features were brought to two dimensions.
        domains: points of classes that there are not are left out.
        classes: up to MOST_COLOURS are told apart by colour and named on the map.
    """
    points = {"source": _points(domains.source, len(classes)), "target": _points(domains.target, len(classes))}
    every = [*points["source"], *points["target"]]
    if not every:
        return None
    lows = [min(point[axis] for point in every) for axis in (0, 1)]
    highs = [max(point[axis] for point in every) for axis in (0, 1)]
    # one scale for both axes: a distance is a distance in any direction
    extent = max(high - low for low, high in zip(lows, highs, strict=True)) or 1.0
    offsets = [(extent - (high - low)) / 2 - low for low, high in zip(lows, highs, strict=True)]

    def placed(point: Point) -> tuple[int, int]:
        x, y = (MARGIN + (SIZE - 2 * MARGIN) * (point[axis] + offsets[axis]) / extent for axis in (0, 1))
        return round(x), round(SIZE - y)

    coloured = len(classes) <= MOST_COLOURS
    marks: list[Marks] = []
    names: list[tuple[float, float, str]] = []
    for domain in ("target", "source"):  # the hollow marks over the filled ones: the other way round they are lost
        of_domain = points[domain]
        for index in range(len(classes)) if coloured else (-1,):
            places = [placed(point) for point in of_domain if index in (-1, point[2])]
            if not places:
                continue
            said = {"source": "source, class", "target": "target, predicted as"}[domain]
            name = f"{said} {short(classes[index], 24)}" if coloured else domain
            marks.append(Marks(domain, f"c{index}" if coloured else domain, name, _path(domain, places)))
            if coloured and domain == "target" and len(places) >= FEWEST_FOR_A_NAME:
                x, y = (round(statistics.median(place[axis] for place in places)) for axis in (0, 1))
                names.append((min(max(x, 24), SIZE - 24), min(max(y + 5, 16), SIZE - 6), short(classes[index], 12)))
    counts = " and ".join(counted(len(points[domain]), f"{domain} image") for domain in points)
    return Panel(model, f"Map of the features of the {model} model by {method}: {counts}", marks, names)


def _points(listed: Sequence[Point], classes: int) -> list[Point]:
    points = [each for each in listed if 0 <= each[2] < classes]
    return points[:: -(-len(points) // MOST_POINTS)] if points else []


def _path(domain: str, places: list[tuple[int, int]]) -> str:
    """Hollow squares for the source. A target image is a line of no length, which round ends make a dot."""
    places = list(dict.fromkeys(places))  # no mark twice in one place
    if domain == "source":
        half = SQUARE // 2
        return "".join(f"M{x - half} {y - half}h{SQUARE}v{SQUARE}h-{SQUARE}z" for x, y in places)
    return "".join(f"M{x} {y}h.01" for x, y in places)
