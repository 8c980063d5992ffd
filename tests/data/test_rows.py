"""Rows that are no tensor give what the tensor would."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dalib.core.errors import ImageChangedError, UserError
from dalib.data.decoding import decode
from dalib.data.preprocessing import Preprocessing
from dalib.data.rows import Concatenated, Marked, Selected, SideBySide, StreamedImages, digests_of
from dalib.data.stream import DomainViews, Sampling, TwoDomainStream

COLOUR = Preprocessing(size=8, channels=3)


def files(root: Path, count: int) -> list[Path]:
    paths = []
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (10, 12, 3), dtype=np.uint8)
        paths.append(root / f"{number}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


def numbered(count: int, first: int = 0) -> torch.Tensor:
    return torch.arange(first, first + count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 2, 2).contiguous()


INDICES = [[0], [3, 1, 1, 4], [-1, 0], []]


@pytest.mark.parametrize("indices", INDICES)
def test_a_selection_is_what_indexing_twice_gives(indices):
    rows, chosen, wanted = numbered(9), torch.tensor([8, 2, 4, 0, 6]), torch.tensor(indices, dtype=torch.int64)
    selected = Selected(rows, chosen)
    assert len(selected) == 5
    assert torch.equal(selected[wanted], rows[chosen][wanted])
    assert torch.equal(selected[1], rows[2])


def test_a_selection_reads_what_is_asked_for_alone():
    asked = []

    class Watched:
        def __len__(self) -> int:
            return 9

        def __getitem__(self, indices):
            asked.append(indices.tolist())
            return numbered(9)[indices]

    Selected(Watched(), torch.tensor([8, 2, 4]))[torch.tensor([2, 0])]
    assert asked == [[4, 8]]


@pytest.mark.parametrize("indices", [*INDICES, [5, 0, 4, 3, 2]])
def test_parts_are_read_as_if_they_were_one(indices):
    parts, wanted = [numbered(3), numbered(1, 3), numbered(2, 4)], torch.tensor(indices, dtype=torch.int64)
    rows = Concatenated(parts)
    assert len(rows) == 6
    assert torch.equal(rows[wanted], torch.cat(parts)[wanted])
    assert rows[wanted].dtype == torch.uint8
    assert torch.equal(rows[4], numbered(6)[4])
    assert torch.equal(rows[torch.tensor(4)], numbered(6)[4])


@pytest.mark.parametrize("indices", INDICES)
def test_features_side_by_side_are_read_as_if_they_were_one(indices):
    first, second = torch.arange(30).view(5, 2, 3), -torch.arange(20).view(5, 2, 2)
    rows, wanted = SideBySide([first, Selected(second, torch.arange(5))]), torch.tensor(indices, dtype=torch.int64)
    joined = torch.cat([first, second], dim=-1)
    assert len(rows) == 5
    assert torch.equal(rows[wanted], joined[wanted])
    assert torch.equal(rows[4], joined[4])
    assert torch.equal(rows[torch.tensor(4)], joined[4])


def test_parts_of_different_lengths_do_not_stand_side_by_side():
    with pytest.raises(ValueError, match=r"as many rows of each, got \[4, 5\]"):
        SideBySide([numbered(4), numbered(5)])


@pytest.mark.parametrize("index", [6, -7])
def test_numbers_beyond_the_rows_are_refused(index):
    with pytest.raises(IndexError, match="expected numbers below 6"):
        Concatenated([numbered(4), numbered(2)])[torch.tensor([0, index])]


def test_no_part_and_no_path_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        Concatenated([])
    with pytest.raises(ValueError, match="at least one"):
        StreamedImages([], COLOUR)


@pytest.mark.parametrize("indices", INDICES)
def test_streamed_images_are_those_that_decoding_gives(tmp_path, indices):
    paths = files(tmp_path, 5)
    rows, (images, _, _) = StreamedImages(paths, COLOUR, threads=2), decode(paths, COLOUR)
    wanted = torch.tensor(indices, dtype=torch.int64)
    assert len(rows) == 5
    assert rows.shape == images.shape
    assert torch.equal(rows[wanted], images[wanted])
    assert rows[wanted].dtype == torch.uint8
    assert torch.equal(rows[3], images[3])
    assert torch.equal(rows[torch.tensor(3)], images[3])


def test_no_other_image_stands_in_for_one_that_breaks_later(tmp_path):
    paths = files(tmp_path, 5)
    images, _, _ = decode(paths, COLOUR)
    rows = StreamedImages(paths, COLOUR, threads=2)
    assert torch.equal(rows[torch.arange(5)], images)
    for number in (1, 2, 4):
        paths[number].write_bytes(paths[number].read_bytes()[:60])
    for _ in range(2):
        assert torch.equal(rows[torch.tensor([0, 3])], images[torch.tensor([0, 3])])
        with pytest.raises(ImageChangedError, match=r"1\.png: it can no longer be read \(.+\)\. With cache='off'"):
            rows[torch.tensor([0, 1])]


def test_an_image_that_is_gone_is_told(tmp_path):
    paths = files(tmp_path, 3)
    rows = StreamedImages(paths, COLOUR)
    for path in paths:
        path.unlink()
    with pytest.raises(UserError, match=r"1\.png: it can no longer be read \(No such file"):
        rows[torch.tensor([1])]


def test_an_image_that_holds_another_picture_is_told_and_one_that_is_only_written_anew_is_not(tmp_path):
    paths = files(tmp_path, 3)
    digests, _, _ = digests_of(paths, COLOUR)
    rows = StreamedImages(paths, COLOUR, digests=digests)
    content, status = paths[0].read_bytes(), paths[0].stat()
    paths[0].write_bytes(content)
    assert len(rows[torch.tensor([0])])
    paths[0].write_bytes(paths[1].read_bytes())
    os.utime(paths[0], ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(ImageChangedError, match=r"0\.png: its pixels are no longer those that were read at first"):
        rows[torch.tensor([0])]
    paths[0].write_bytes(content)
    assert len(rows[torch.tensor([0])])


def test_digests_are_of_what_decoding_keeps(tmp_path):
    paths = files(tmp_path, 5)
    paths[3].write_bytes(paths[3].read_bytes()[:-30])
    told: list[tuple[int, int]] = []
    digests, kept, unreadable = digests_of(paths, COLOUR, on_progress=lambda *each: told.append(each), threads=2)
    _, expected, others = decode(paths, COLOUR)
    assert kept.tolist() == expected.tolist() == [0, 1, 2, 4]
    assert unreadable == others
    assert len(set(digests.tolist())) == 4
    assert told[-1] == (5, 5)
    with pytest.raises(ValueError, match="digests: expected one for each of the 5 paths, got 4"):
        StreamedImages(paths, COLOUR, digests=digests)


def test_batches_are_the_same_from_memory_and_from_rows_that_are_no_tensor(tmp_path):
    paths = files(tmp_path, 6)
    images, _, _ = decode(paths, COLOUR)
    labels = torch.arange(6)

    def stream(rows) -> TwoDomainStream:
        view = lambda images, generator: images.float()  # noqa: E731
        return TwoDomainStream(
            rows,
            labels,
            rows,
            views=DomainViews(view, [view]),
            sampling=Sampling(4, seed=0),
            device=torch.device("cpu"),
        )

    streamed = StreamedImages(paths, COLOUR)
    every = torch.arange(6)
    halves = Concatenated([Selected(streamed, every[:2]), images[2:]])
    expected = stream(images)
    for other in (stream(streamed), stream(halves)):
        for step in range(4):
            first, second = expected.batch_at(step), other.batch_at(step)
            assert torch.equal(first.source, second.source)
            assert torch.equal(first.target[0], second.target[0])


def test_marked_rows_hold_the_number_of_their_domain_in_a_further_channel():
    maps = torch.randn(4, 2, 3, 5, 5).half()
    rows = Marked(maps, torch.tensor([0, 0, 1, 2]))
    found = rows[torch.tensor([3, 0])]
    assert found.shape == (2, 2, 4, 5, 5)
    assert found.dtype == torch.float16
    assert torch.equal(found[:, :, :3], maps[torch.tensor([3, 0])])
    assert found[:, :, 3].flatten(1).unique(dim=1).flatten().tolist() == [2, 0]
    assert torch.equal(rows[1], rows[torch.tensor([1])][0])
    assert len(Concatenated([rows, rows])) == 8


def test_marks_that_are_not_one_a_row_are_refused():
    with pytest.raises(ValueError, match="marks: expected one for each of the 2 rows, got 3"):
        Marked(torch.zeros(2, 1, 1), torch.zeros(3))
