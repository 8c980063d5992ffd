"""Fingerprints of data: what they show of a change, and what they do not."""

import pytest
import torch

from dalib.data.fingerprint import HASHED_ROWS, fingerprint

NAMES = ["set/a.png", "set/b.png", "set/c.png"]
LABELS = torch.tensor([0, 1, 1])


def rows(count: int = 3) -> torch.Tensor:
    return torch.arange(count * 4, dtype=torch.int64).remainder(251).to(torch.uint8).view(count, 1, 2, 2)


def test_equal_data_have_equal_fingerprints_of_32_digits():
    found = fingerprint(rows(), NAMES, LABELS)
    assert found == fingerprint(rows().clone(), tuple(NAMES), LABELS.clone())
    assert len(found) == 32
    assert int(found, 16) >= 0


@pytest.mark.parametrize(
    "changed",
    [
        (rows(4), [*NAMES, "d.png"], torch.tensor([0, 1, 1, 0])),
        (rows(), ["set/a.png", "set/c.png", "set/b.png"], LABELS),
        (rows(), ["set/a.png", "set/b.png", "set/new.png"], LABELS),
        (rows(), NAMES, torch.tensor([0, 1, 0])),
        (rows(), NAMES, None),
        (rows().flip(0), NAMES, LABELS),
        (rows().view(3, 1, 4, 1) + 1, NAMES, LABELS),
    ],
    ids=["added", "order", "renamed", "labelled anew", "no labels", "pixels in another order", "other pixels"],
)
def test_a_change_shows(changed):
    assert fingerprint(*changed) != fingerprint(rows(), NAMES, LABELS)


def test_a_folder_that_is_moved_does_not_show():
    assert fingerprint(rows(), [f"/elsewhere/{name}" for name in NAMES]) == fingerprint(rows(), NAMES)


def test_of_many_rows_those_at_both_ends_are_looked_at():
    many = rows(3 * HASHED_ROWS)
    names = [str(number) for number in range(len(many))]
    before = fingerprint(many, names)
    for place in (0, -1):
        changed = many.clone()
        changed[place] += 1
        assert fingerprint(changed, names) != before
    changed = many.clone()
    changed[1] += 1  # between two that are looked at
    assert fingerprint(changed, names) == before


def test_names_that_are_no_text_and_no_rows_at_all_have_one_too():
    assert fingerprint(rows(), ["\udce4.png", "b", "c"]) != fingerprint(rows(), ["a.png", "b", "c"])
    assert len(fingerprint(rows(0), [])) == 32
