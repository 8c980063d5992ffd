"""What a survey of folders finds."""

import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dalib.data.listing import list_images, list_labelled
from dalib.data.preprocessing import Preprocessing
from dalib.data.survey import Spread, duplicates, survey

COLOUR = Preprocessing(size=8, channels=3)


def draw(path: Path, seed: int = 0, size: tuple[int, int] = (10, 12), mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


def source(root: Path):
    return list_labelled(root, argument="source")


def target(root: Path):
    return list_images(root, argument="target")


def test_classes_sizes_and_modes_are_counted_from_headers(tmp_path, monkeypatch):
    draw(tmp_path / "cat" / "a.png", 1, (10, 40))
    draw(tmp_path / "cat" / "b.png", 2, (20, 30), "L")
    draw(tmp_path / "dog" / "c.jpg", 3, (60, 20), "CMYK")
    draw(tmp_path / "dog" / "d.png", 4, (30, 20))
    (tmp_path / "dog" / "e.png").write_bytes(b"")
    (tmp_path / "emu").mkdir()
    (tmp_path / "emu" / "f.png").write_text("no image")
    (tmp_path / "emu" / "notes.txt").write_text("x")
    monkeypatch.setattr(Preprocessing, "pixels", lambda *args: pytest.fail("decoded"))
    calls = []
    found = survey(source(tmp_path), None, COLOUR, on_progress=lambda *call: calls.append(call))
    domain = found.source
    assert found.target is None
    assert domain.class_counts == {"cat": 2, "dog": 2, "emu": 0}
    assert domain.images == 4
    assert domain.width == Spread(10, 25.0, 60)
    assert domain.height == Spread(20, 25.0, 40)
    assert domain.modes == {"RGB": 2, "L": 1, "CMYK": 1}
    assert [Path(each.path).name for each in domain.unreadable] == ["e.png", "f.png"]
    assert domain.ignored == {".txt": 1}
    assert domain.row_bytes == found.row_bytes == 4 * 8 * 8 * 3
    assert calls == [(number, 6) for number in range(1, 7)]


def test_the_same_bytes_are_found_within_and_between_the_domains(tmp_path):
    first = draw(tmp_path / "source" / "cat" / "a.png", 1)
    draw(tmp_path / "source" / "dog" / "b.png", 2)
    shutil.copy(first, tmp_path / "source" / "dog" / "again.png")
    draw(tmp_path / "target" / "c.png", 3)
    shutil.copy(first, tmp_path / "target" / "d.png")
    shutil.copy(tmp_path / "target" / "c.png", tmp_path / "target" / "e.png")
    found = survey(source(tmp_path / "source"), target(tmp_path / "target"), COLOUR)

    def short(groups):
        return [tuple(str(Path(name).relative_to(tmp_path)) for name in group) for group in groups]

    assert short(found.source.duplicates) == [("source/cat/a.png", "source/dog/again.png")]
    assert short(found.target.duplicates) == [("target/c.png", "target/e.png")]
    assert short(found.shared_images) == [("source/cat/a.png", "target/d.png")]
    assert found.row_bytes == 6 * 8 * 8 * 3
    assert set(found.source.class_of_duplicate.values()) == {"cat", "dog"}
    assert not found.target.class_of_duplicate


def test_unreadable_files_are_no_copies(tmp_path):
    for seed, place in enumerate(("source/cat", "source/dog", "target")):
        draw(tmp_path / place / "a.png", seed)
        (tmp_path / place / "b.png").write_bytes(b"no image")
        (tmp_path / place / "c.png").write_bytes(b"no image")
    found = survey(source(tmp_path / "source"), target(tmp_path / "target"), COLOUR)
    assert found.source.duplicates == found.target.duplicates == found.shared_images == ()


def test_a_folder_that_is_both_domains_shares_every_image(tmp_path):
    draw(tmp_path / "cat" / "a.png", 1)
    draw(tmp_path / "dog" / "b.png", 2)
    found = survey(source(tmp_path), target(tmp_path), COLOUR)
    assert [first for first, second in found.shared_images if first == second] == [
        str(tmp_path / "cat" / "a.png"),
        str(tmp_path / "dog" / "b.png"),
    ]


def test_files_of_another_size_are_not_read(tmp_path, monkeypatch):
    names = []
    for number, size in enumerate((10, 20, 20, 20, 0, 0)):
        names.append(tmp_path / str(number))
        names[-1].write_bytes(bytes([number % 2]) * size)
    opened, own = [], Path.open
    monkeypatch.setattr(Path, "open", lambda self, *args: (opened.append(self.name), own(self, *args))[1])
    texts = [str(name) for name in (*names, tmp_path / "gone")]
    assert duplicates([*texts, texts[1]]) == ((texts[1], texts[3]),)
    assert sorted(opened) == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("folders", "only_source", "only_target"),
    [
        (["dog", "emu"], ("cat",), ("emu",)),
        (["cat", "dog"], (), ()),
        (["cat ", "dog"], (), ()),  # one class in two spellings
        (["2023", "2024"], (), ()),  # folders by year are no classes
        (["cat", "."], (), ()),  # and neither are they where images lie beside them
    ],
)
def test_folders_of_the_target_are_compared_by_name_if_they_look_like_classes(
    tmp_path, folders, only_source, only_target
):
    for number, name in enumerate(("cat", "dog")):
        draw(tmp_path / "source" / name / "a.png", number)
    for number, name in enumerate(folders):
        draw(tmp_path / "target" / name / "b.png", 10 + number)
    found = survey(source(tmp_path / "source"), target(tmp_path / "target"), COLOUR)
    assert (found.only_in_source, found.only_in_target) == (only_source, only_target)
    assert found.target.class_counts is None


def test_free_space_is_told_for_a_cache_folder_that_is_not_there_yet(tmp_path, monkeypatch):
    draw(tmp_path / "a.png")
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 123 if Path(path) == tmp_path else 0))
    found = survey(None, target(tmp_path), COLOUR, cache_folder=tmp_path / "no" / "folder")
    assert found.free_disk == 123
    assert found.cache_folder == tmp_path / "no" / "folder"
    assert found.source is None


def test_a_domain_of_which_nothing_can_be_read_has_no_sizes(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    found = survey(None, target(tmp_path), COLOUR).target
    assert (found.images, found.width, found.height, found.modes) == (0, None, None, {})


def test_a_source_that_is_known_is_not_read_again(tmp_path):
    for number, folder in enumerate(("source/cat", "source/dog", "target/cat")):
        draw(tmp_path / folder / "a.png", number)
    shutil.copy(tmp_path / "source" / "cat" / "a.png", tmp_path / "night.png")
    listed = source(tmp_path / "source")
    first = survey(listed, target(tmp_path / "target"), COLOUR)
    (tmp_path / "source" / "dog" / "a.png").write_bytes(b"no image")
    (tmp_path / "night").mkdir()
    shutil.move(tmp_path / "night.png", tmp_path / "night" / "a.png")
    calls = []
    second = survey(
        listed, target(tmp_path / "night"), COLOUR, known=first.source, on_progress=lambda *call: calls.append(call)
    )
    assert second.source == first.source
    assert second.shared_images == ((str(tmp_path / "source/cat/a.png"), str(tmp_path / "night/a.png")),)
    assert calls == [(3, 3)]
