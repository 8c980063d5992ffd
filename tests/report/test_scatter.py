"""The map of features: in its frame, light, and readable without colour."""

from __future__ import annotations

import itertools
import re

import pytest

from dalib.core.errors import UserError
from dalib.records.pictures import Embedding, MappedDomains, Point, TileSheet
from dalib.report.scatter import MARGIN, MOST_POINTS, SIZE, panel

CLASSES = ["cat", "dog"]


def numbers(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"M(-?\d+) (-?\d+)", path)]


def test_domains_differ_by_shape_and_classes_by_colour() -> None:
    points: tuple[Point, ...] = ((0.0, 0.0, 0), (1.0, 0.5, 1), (0.9, 0.4, 1), (0.8, 0.4, 1))
    found = panel("adapted", "PCA", MappedDomains(points, points), CLASSES)
    assert found is not None
    assert [(mark.domain, mark.colour, mark.name) for mark in found.marks] == [
        ("target", "c0", "target, predicted as cat"),
        ("target", "c1", "target, predicted as dog"),
        ("source", "c0", "source, class cat"),
        ("source", "c1", "source, class dog"),
    ]
    assert all("h.01" in mark.path for mark in found.marks[:2])
    assert all("z" in mark.path for mark in found.marks[2:])
    assert [name for _, _, name in found.names] == ["dog"]  # one cat is no group
    assert found.alt == "Map of the features of the adapted model by PCA: 4 source images and 4 target images"


def test_points_stay_in_the_frame_and_keep_their_proportions() -> None:
    target = ((-1000.0, 5.0, 0), (1000.0, 5.0, 0), (0.0, 505.0, 1))
    found = panel("adapted", "PCA", MappedDomains(target=target), CLASSES)
    assert found is not None
    places = [place for mark in found.marks for place in numbers(mark.path)]
    assert all(MARGIN <= value <= SIZE - MARGIN for place in places for value in place)
    (left, below), (right, _), (middle, above) = places
    assert right - left == SIZE - 2 * MARGIN
    assert middle == SIZE / 2
    assert below - above == pytest.approx((right - left) / 4, abs=1)  # up is up


def test_many_classes_are_coloured_by_domain() -> None:
    classes = [f"class {number}" for number in range(11)]
    points = tuple((0.1 * number, 0.0, number) for number in range(11))
    found = panel("adapted", "PCA", MappedDomains(points, points), classes)
    assert found is not None
    assert [(mark.domain, mark.colour) for mark in found.marks] == [("target", "target"), ("source", "source")]
    assert found.names == []


def test_too_many_points_are_thinned() -> None:
    points = tuple((number / 7 % 1, number / 11 % 1, number % 2) for number in range(25_000))
    found = panel("adapted", "PCA", MappedDomains(points, points), CLASSES)
    assert found is not None
    assert sum(mark.path.count("M") for mark in found.marks) <= 2 * MOST_POINTS


@pytest.mark.parametrize("points", [(), ((0.0, 0.0, 2),), ((0.0, 0.0, -1),)])
def test_points_of_classes_that_there_are_not_are_left_out(points: tuple[Point, ...]) -> None:
    assert panel("adapted", "PCA", MappedDomains(points), CLASSES) is None


@pytest.mark.parametrize("points", [None, "x", [[1.0]], [[float("nan"), 0.0, 0]], [[None, 0, 0]]])
def test_what_is_no_point_is_refused_before_it_is_drawn(points: object) -> None:
    with pytest.raises(UserError, match=r"e\.json: expected"):
        Embedding.from_json({"models": {"adapted": {"source": points}}}, "e.json")


def test_one_place_for_all_is_the_middle() -> None:
    found = panel("adapted", "PCA", MappedDomains(target=((3.0, 3.0, 0),) * 5), CLASSES)
    assert found is not None
    assert numbers(found.marks[0].path) == [(SIZE / 2, SIZE / 2)]


def test_thumbnails_lie_in_the_sheet_where_their_numbers_say() -> None:
    domains = MappedDomains(((0.0, 0.0, 0), (1.0, 1.0, 1)), ((0.5, 0.5, 1),), (0, 33), (2,))
    found = panel("adapted", "PCA", domains, CLASSES, TileSheet("map.jpg", 40, 32))
    assert found is not None
    assert [(group.name, [place[2:] for place in group.places]) for group in found.thumbnails] == [
        ("target, predicted as dog", [(80, 0)]),
        ("source, class cat", [(0, 0)]),
        ("source, class dog", [(40, 40)]),
    ]
    assert all(
        MARGIN <= value <= SIZE - MARGIN for group in found.thumbnails for x, y, *_ in group.places for value in (x, y)
    )


@pytest.mark.parametrize("tiles", [None, (), (1, 2, 3)])
def test_a_map_whose_thumbnails_do_not_fit_its_points_has_none(tiles: tuple[int, ...] | None) -> None:
    domains = MappedDomains(((0.0, 0.0, 0), (1.0, 1.0, 1)), source_tiles=tiles)
    found = panel("adapted", "PCA", domains, CLASSES, TileSheet("map.jpg", 40, 32))
    assert found is not None
    assert found.thumbnails == []


def test_names_of_classes_that_lie_together_make_room_for_each_other_and_stay_within_the_frame():
    classes = ("mobile phone", "letter tray", "file cabinet", "desk lamp", "ring binder")
    together = tuple((0.01 * label, 0.01 * row, label) for label in range(5) for row in range(3))
    far = ((9.0, 5.0, 0), (-9.0, -5.0, 0))
    found = panel("adapted", "t-SNE", MappedDomains(source=far, target=together), classes)
    assert {name for _, _, name in found.names} == set(classes)
    boxes = [(x - 4.5 * len(name), x + 4.5 * len(name), y) for x, y, name in found.names]
    assert all(left >= 0 and right <= SIZE and 0 < y < SIZE for left, right, y in boxes)
    for one, other in itertools.combinations(boxes, 2):
        assert one[1] <= other[0] or other[1] <= one[0] or abs(one[2] - other[2]) >= 14, "they are 14 pixels high"


def test_a_name_at_the_edge_is_not_cut_off():
    edge = tuple((0.0, 0.1 * row, 0) for row in range(3))
    (name,) = panel("adapted", "t-SNE", MappedDomains(source=((1.0, 0.0, 0),), target=edge), ("mobile phone",)).names
    assert name[0] >= 4.5 * len("mobile phone")
