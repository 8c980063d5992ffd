"""Groups of images that seem to belong together: near duplicates, and names that only differ in a number."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dalib.data.rows import Rows

SIDE = 12
"""Height and width in pixels of the small copies that are compared."""

NEAR = 0.4
"""Near duplicates are nearer to each other than this share of the distance to either one's 50th neighbour. Set on
drawn and handwritten digits, which have hardly any, and on photographs that were shifted and recoloured."""

RANK = 50

MOST_COMPARED = 20_000
"""Images of which each is compared with each; of more, each with the 1000 beside it in the order of the names."""

BESIDE = 500

MIN_GROUPS = 8
MIN_GROUPED = 0.5
MAX_SHARE = 0.2
"""A pattern of names is believed with so many groups of two or more, which hold this share of the images, none of them
more than the last."""

MIN_LIKENESS = 0.9
"""A pattern of names is believed if an image is so often more like one of its group than like one beside it."""

PAIRS = 2000

_TOGETHER = 512


@dataclass(frozen=True)
class Similar:
    """Groups that were found.

    Attributes:
        numbers: (N,) int64, equal for images of one group.
        how: what they were found by, in words; empty where each image is a group of its own.
    """

    numbers: Tensor
    how: str


def similar_groups(names: Sequence[str], images: Rows, seed: int = 0) -> Similar:
    """Groups images that look nearly the same, and those whose names match and that look alike.

    Small copies of the images, each scaled to mean 0 and norm 1, are compared: images belong together that are much
    nearer to each other than to other images. A pattern of names (the name without its last number, the part before the
    first separator, the folder) groups images too, if they look more alike in its groups than beside them.

    Args:
        names: (N,) paths.
        images: (N, C, S, S) uint8.
        seed: seed of the pairs that a pattern is tried on.

    Misleads: images of one patient that look different stay apart if their names do not match either, and images of
    different things before one background may be taken for one burst. A column or an expression knows better.
    Source: ours.
    """
    copies = small_copies(images)
    numbers = _united(len(names), near_duplicates(copies, names))
    found = ["near duplicates"] if len(torch.unique(numbers)) < len(numbers) else []
    pattern = _pattern_of_names(names, copies, seed)
    if pattern is not None:
        words, by_name = pattern
        found.append(words)
        numbers = _joined(numbers, by_name)
    return Similar(numbers, " and ".join(found))


def small_copies(images: Rows) -> Tensor:
    """Returns small copies (N, C * 12 * 12) float32 of images, with mean 0 and norm 1; 0 for one of a single colour."""
    parts = []
    for first in range(0, len(images), _TOGETHER):
        rows = torch.arange(first, min(first + _TOGETHER, len(images)))
        small = torch.nn.functional.interpolate(images[rows].float(), size=(SIDE, SIDE), mode="area").flatten(1)
        centred = small - small.mean(dim=1, keepdim=True)
        centred[centred.abs().amax(dim=1) < 1] = 0
        parts.append(torch.nn.functional.normalize(centred, dim=1))
    return torch.cat(parts)


def near_duplicates(copies: Tensor, names: Sequence[str]) -> Tensor:
    """Returns pairs (P, 2) int64 of rows that are near duplicates.

    Args:
        copies: (N, D) of norm 1.
        names: (N,), by whose order many images are compared with those beside them alone.
    """
    count = len(copies)
    if count < 3:
        return torch.zeros(0, 2, dtype=torch.int64)
    order = torch.tensor(sorted(range(count), key=lambda row: names[row]))
    ordered = copies[order]
    rank = min(RANK, max(1, count // 4))
    blocks = []
    far = torch.empty(count)
    for first in range(0, count, _TOGETHER):
        last = min(first + _TOGETHER, count)
        start, end = (0, count) if count <= MOST_COMPARED else (max(0, first - BESIDE), min(count, last + BESIDE))
        distance = (2 - 2 * ordered[first:last] @ ordered[start:end].T).clamp_min(0).sqrt()
        distance[torch.arange(last - first), torch.arange(first - start, last - start)] = torch.inf
        far[first:last] = distance.kthvalue(min(rank, end - start - 1), dim=1).values
        near = (distance < NEAR * far[first:last, None]).nonzero()
        apart = distance[near[:, 0], near[:, 1]]
        blocks.append(torch.cat([near + torch.tensor([first, start]), apart[:, None]], dim=1))
    pairs = torch.cat(blocks)
    one, other = pairs[:, 0].long(), pairs[:, 1].long()
    shown = ordered.abs().amax(dim=1) > 0  # an image of a single colour is like no other
    both = (pairs[:, 2] < NEAR * far[other]) & shown[one] & shown[other]
    found: Tensor = order[torch.stack([one, other], dim=1)[both]]
    return found


def _united(count: int, pairs: Tensor) -> Tensor:
    """Returns the number (N,) of the group of each row: rows of a pair are of one group."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    one, other = pairs[:, 0].numpy(), pairs[:, 1].numpy()
    graph = coo_array((torch.ones(len(pairs)).numpy(), (one, other)), shape=(count, count))
    return torch.from_numpy(connected_components(graph, directed=False)[1]).long()


def _joined(first: Tensor, second: Tensor) -> Tensor:
    """Returns the groups of which each holds whole groups of both."""
    count, offset = len(first), int(first.max()) + 1
    rows = torch.arange(count)
    nodes = count + offset + int(second.max()) + 1
    pairs = torch.cat([torch.stack([rows, count + first], dim=1), torch.stack([rows, count + offset + second], dim=1)])
    joined: Tensor = torch.unique(_united(nodes, pairs)[:count], return_inverse=True)[1]
    return joined


def _stem(name: str) -> str:
    return name.replace("\\", "/").rsplit("/", 1)[-1].rsplit(".", 1)[0]


def _folder(name: str) -> str:
    return name.replace("\\", "/").rpartition("/")[0]


PATTERNS: Mapping[str, Callable[[str], str]] = {
    "their names without the last number": lambda name: re.sub(r"[ _.()-]*[0-9]+\)?$", "", _stem(name)),
    "the first part of their names": lambda name: re.split(r"[ _.-]", _stem(name), maxsplit=1)[0],
    "their folders": _folder,
}
"""Patterns of names that may show which images belong together, by words for them."""


def _pattern_of_names(names: Sequence[str], copies: Tensor, seed: int) -> tuple[str, Tensor] | None:
    """Returns the pattern of names that groups images which look alike best, in words, and its groups (N,)."""
    folders = _numbers([_folder(name) for name in names])
    best: tuple[float, str, Tensor] | None = None
    for words, key in PATTERNS.items():
        groups = _numbers([key(name) for name in names])
        likeness = _likeness(groups, folders, copies, seed)
        if likeness >= MIN_LIKENESS and (best is None or likeness > best[0]):
            best = likeness, words, groups
    return None if best is None else best[1:]


def _numbers(keys: Sequence[str]) -> Tensor:
    found: dict[str, int] = {}
    return torch.tensor([found.setdefault(key, len(found)) for key in keys], dtype=torch.int64)


def _likeness(groups: Tensor, folders: Tensor, copies: Tensor, seed: int) -> float:
    """Returns how often an image is more like another of its group than like one of another group beside it.

    Beside it are images of the same folder, or all where its group is all of the folder. 0 for groups that are few,
    that hold few images, or of which one holds many.
    """
    sizes = torch.bincount(groups)
    of_several = sizes[groups] > 1
    many = int((sizes > 1).sum()) >= MIN_GROUPS and int(sizes.max()) <= MAX_SHARE * len(groups)
    if not many or float(of_several.double().mean()) < MIN_GROUPED:
        return 0.0
    generator = torch.Generator().manual_seed(seed)
    rows = of_several.nonzero().flatten()
    rows = rows[torch.randperm(len(rows), generator=generator)[:PAIRS]]
    nearer, compared = 0, 0
    for row in rows.tolist():
        same, beside = groups == groups[row], folders == folders[row]
        same[row] = False
        others = beside & (groups != groups[row])
        if not bool(others.any()):
            others = groups != groups[row]
        likes = [
            float(copies[row] @ copies[each[int(torch.randint(len(each), (1,), generator=generator))]])
            for each in (same.nonzero().flatten(), others.nonzero().flatten())
        ]
        nearer += likes[0] > likes[1]
        compared += 1
    return nearer / compared
