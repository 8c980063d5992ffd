"""A table of images is written batch by batch whatever its rows are, and its place is checked before the work."""

import os
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from dalib.core.errors import UserError
from dalib.data.preprocessing import Preprocessing
from dalib.run.finished.resumable_table import digest_of
from dalib.run.finished.table_of_images import (
    ImageTable,
    checked_place,
    in_its_folder,
    open_images,
    write_table_of_images,
)

COUNT, BATCH = 7, 3
PREPROCESSING = Preprocessing(4, 3)


@dataclass(frozen=True)
class Upper:
    """Lines of names, and a file of them in capital letters."""

    noun: str = "names"
    network: str = "backbone"
    head: bytes = b"name\n"

    def put(self, rows, out):
        out.write_bytes(rows.read_bytes().upper())
        rows.unlink()


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(COUNT):
        Image.fromarray(np.full((4, 4, 3), number, np.uint8)).save(folder / f"{number}.png")
    (folder / "broken.png").write_bytes(b"no image")
    return folder


def table_of(images, *, strict=False, seen=None, stop_at=None, of="network", cache="off"):
    def rows(names, pixels):
        if stop_at is not None and len(seen) == stop_at:
            raise KeyboardInterrupt
        seen.append(len(names))
        return b"".join(
            f"{name[-5:]} {each.float().mean():.0f}\n".encode() for name, each in zip(names, pixels, strict=True)
        )

    seen = [] if seen is None else seen
    source = open_images(str(images), PREPROCESSING, strict, cache)
    return ImageTable(source, rows, Upper(), digest_of([of], source.names), BATCH, "computing")


def expected():
    return "NAME\n" + "".join(f"{number}.PNG {number}\n" for number in range(COUNT))


@pytest.mark.parametrize("cache", ["off", "ram"])
def test_each_readable_image_has_a_row_and_the_format_makes_the_file(cache, images, tmp_path, capsys):
    asked, out = [], tmp_path / "out"
    count = write_table_of_images(
        out, lambda device: (asked.append(device), table_of(images, cache=cache))[1], device="cpu"
    )
    assert count == COUNT
    assert out.read_text() == expected()
    assert asked == ["cpu"]
    told = capsys.readouterr().out
    assert "computing" in told
    assert "broken.png" in told
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith("out")] == ["out"]


def test_what_was_stopped_is_resumed_and_named_by_what_it_holds(images, tmp_path):
    out, first, second = tmp_path / "out", [], []
    with pytest.raises(KeyboardInterrupt):
        write_table_of_images(out, lambda _: table_of(images, seen=first, stop_at=2), "cpu")
    with pytest.raises(UserError, match=r"holds 6 names of other images or of another model than .* and backbone"):
        write_table_of_images(out, lambda _: table_of(images, of="another"), "cpu")
    assert write_table_of_images(out, lambda _: table_of(images, seen=second), "cpu") == COUNT
    assert (first, second) == ([3, 3], [1])
    assert out.read_text() == expected()


def test_strict_names_the_unreadable_image(images, tmp_path):
    with pytest.raises(UserError, match=r"broken\.png.*leave out strict"):
        write_table_of_images(tmp_path / "out", lambda _: table_of(images, strict=True), "cpu")
    assert not (tmp_path / "out").exists()


def place(out, **more):
    return checked_place(str(out), (".csv", ""), ".csv", "street.csv", **more)


def test_a_place_is_refused_with_the_remedy(tmp_path):
    assert place(tmp_path / "a.csv") == tmp_path / "a.csv"
    with pytest.raises(UserError, match=r"a\.xls': expected a name that ends in \.csv; other kinds"):
        place(tmp_path / "a.xls")
    with pytest.raises(
        UserError, match=r"expected a file, this is a folder; name a file in it, such as .*/street\.csv"
    ):
        place(tmp_path)
    for out in ("-", os.devnull):
        with pytest.raises(UserError, match="a table goes to no pipe and no device"):
            place(out, folder=True)
    assert place(tmp_path, folder=True) == tmp_path


def test_a_link_is_followed(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert in_its_folder(tmp_path / "link") == (tmp_path / "file").resolve()
    assert in_its_folder(tmp_path / "other") == tmp_path / "other"


def test_missing_folders_are_made_and_nothing_takes_a_files_place(tmp_path):
    assert in_its_folder(tmp_path / "some" / "more" / "a.csv").parent.is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="its folder cannot be made"):
        in_its_folder(tmp_path / "file" / "a.csv")
