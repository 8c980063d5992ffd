"""Wording that more than one room needs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

UNKNOWN = "unknown"
"""The class of images that are of none of a model's classes, in lists, folders and predictions."""

_MOST_DIGITS = 3
"""Digits behind the point of a percentage that would be 0 or 100 with fewer."""

_ROUNDING = 1e-9
"""How far from 0 or 1 a share that is one of them may be computed."""


def with_unknown(classes: Sequence[str]) -> tuple[str, ...]:
    """Returns the classes and, as the last one, ``unknown``; the classes alone where one of them has this name.

    >>> with_unknown(["cat", "dog"]), with_unknown(["cat", "Unknown"])
    (('cat', 'dog', 'unknown'), ('cat', 'Unknown'))
    """
    has = any(name.strip().lower() == UNKNOWN for name in classes)
    return tuple(classes) if has else (*classes, UNKNOWN)


def meant(value: str, names: Iterable[str]) -> str:
    """Returns the nearest name as a question, empty if none is near; case does not count.

    >>> meant("Mug", ["mug", "bottle"])
    '; did you mean mug?'
    """
    from difflib import get_close_matches  # only for who mistyped something

    lower = {name.lower(): name for name in names}
    near = get_close_matches(value.lower(), list(lower), 1)
    return f"; did you mean {lower[near[0]]}?" if near else ""


def meant_setting(value: str, names: Iterable[str]) -> str:
    """Returns the settings of groups that have this name, else the nearest name, as a question; empty if none is near.

    >>> meant_setting("--lr", ["--root", "--optimizer.lr"]), meant_setting("imgsz", ["weights", "data.size"])
    ('; did you mean --optimizer.lr?', '; did you mean data.size?')
    >>> meant_setting("time", ["device", "time_limit"])
    '; did you mean time_limit?'
    """
    names = list(names)
    part = value.lstrip("-").lower()
    part = _ELSEWHERE.get(part, part)
    same = [name for name in names if f".{name.lower().lstrip('-')}".endswith(f".{part}")]
    return f"; did you mean {' or '.join(same[:3])}?" if same else meant(value, names)


_ELSEWHERE = {
    "learning_rate": "lr",
    "img_size": "size",
    "image_size": "size",
    "imgsz": "size",
    "time": "time_limit",  # the flag
}
"""What other programs, and the command line, call settings."""


def likelihood(probability: float) -> str:
    """Returns a probability in whole percent, which an estimate never has exactly 0 or 1 of.

    >>> likelihood(0.974), likelihood(0.9999), likelihood(0.0)
    ('97%', 'over 99%', 'under 1%')
    """
    if probability > 0.99:
        return "over 99%"
    return "under 1%" if probability < 0.01 else f"{100 * probability:.0f}%"


def share_in_words(share: float, digits: int = 1) -> str:
    """Returns a share in percent, with more digits where it would be shown as 0% or 100% and is neither.

    >>> share_in_words(0.961), share_in_words(0.9996), share_in_words(0.0004), share_in_words(1)
    ('96.1%', '99.96%', '0.04%', '100.0%')
    >>> share_in_words(0.997, 0), share_in_words(0.99999999)
    ('99.7%', '99.999%')
    """
    if not _ROUNDING < share < 1 - _ROUNDING:
        return f"{100 * share:.{digits}f}%"
    most = max(digits, _MOST_DIGITS)
    least = 10.0**-most
    percent = min(max(100 * share, least), 100 - least)
    enough = next(each for each in range(digits, most + 1) if 0 < round(percent, each) < 100)
    return f"{percent:.{enough}f}%"


def range_in_words(low: float, high: float, digits: int = 1) -> str:
    """Returns the bounds of an interval of shares in percent, each as :func:`share_in_words` has it.

    >>> range_in_words(0.94, 0.9997)
    '94.0% to 99.97%'
    """
    return f"{share_in_words(low, digits)} to {share_in_words(high, digits)}"


def share_within(share: float, low: float, high: float) -> str:
    """Returns a share in percent and, behind it, the interval that it lies in.

    >>> share_within(0.961, 0.94, 0.9997)
    '96.1% (94.0% to 99.97%)'
    """
    return f"{share_in_words(share)} ({range_in_words(low, high)})"


def undecided(probability: float, certainty: float) -> str:
    """Returns a probability in whole percent that is not certain, and is not rounded to where it would be.

    >>> undecided(0.8967, 0.9), undecided(0.104, 0.9), undecided(0.5, 0.9)
    ('89%', '11%', '50%')
    """
    most = math.ceil(100 * certainty) - 1
    return f"{min(most, max(100 - most, round(100 * probability)))}%"


def cannot_tell(better: str, other: str, chance: str) -> str:
    """Returns the headline of a comparison that the evidence does not decide; ``better`` is the likelier model.

    >>> cannot_tell("adapted", "aligned", "85%")
    "Can't tell whether the adapted model is better than aligned: the probability is 85%"
    """
    return f"Can't tell whether the {better} model is better than {other}: the probability is {chance}"


def as_one(names: str | Sequence[str]) -> str:
    """Returns one name, to be read, for one name or several.

    >>> as_one("lite0"), as_one(["lite0", "resnet50"])
    ('lite0', 'lite0 + resnet50')
    """
    return names if isinstance(names, str) else " + ".join(names)


def counted(count: int, one: str, many: str = "") -> str:
    """Returns a number and its noun.

    >>> counted(1200, "image")
    '1,200 images'
    >>> counted(1, "class", "classes")
    '1 class'
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def images_in_words(count: int) -> str:
    """Returns a number of images without separators, as the lines on a run's data have it.

    >>> images_in_words(1200), images_in_words(1)
    ('1200 images', '1 image')
    """
    return f"{count} {'image' if count == 1 else 'images'}"


def points_in_words(low_high: tuple[float, float]) -> str:
    """Returns bounds of an interval of differences of shares in percentage points; none that is not 0 is shown as 0.

    >>> points_in_words((-0.031, 0.08)), points_in_words((0.0002, 0.08)), points_in_words((0, 0.08))
    ('-3.1 to +8.0', '+0.02 to +8.00', '0.0 to +8.0')
    """
    points = [100 * bound for bound in low_high]
    digits = next((few for few in (1, 2, 3) if all(round(each, few) or not each for each in points)), 1)
    low, high = (f"{each:+.{digits}f}" if round(each, digits) else "0.0" for each in points)
    return f"{low} to {high}"


def difference_in_words(difference: float) -> str:
    """Returns a difference of shares in percentage points; one that is not 0 is not shown as 0, nor with a minus alone.

    >>> difference_in_words(-0.031), difference_in_words(-0.0004), difference_in_words(0), difference_in_words(-1e-17)
    ('-3.1', '-0.04', '0.0', '0.0')
    """
    points = 100 * difference
    digits = next((few for few in (1, 2, 3) if round(points, few)), None)
    return "0.0" if digits is None else f"{points:+.{digits}f}"


def some_of(names: Sequence[str], most: int) -> str:
    """Returns the first names, and how many more there are.

    >>> some_of(["cat", "dog", "owl"], 2)
    'cat, dog and 1 more'
    """
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def some_quoted(names: Sequence[str], most: int = 10) -> str:
    """Returns the first names in quotes, and how many more there are.

    >>> some_quoted(["cat", "dog, small"])
    "'cat', 'dog, small'"
    """
    return some_of([*map(repr, names)], most)


def largest(probabilities: Mapping[str, float], most: int = 3) -> str:
    """Returns probabilities as a dictionary to be read: rounded, and the first of many alone.

    >>> largest({"mug": 0.90625, "cup": 0.0625, "pen": 0.03, "car": 0.00125})
    "{'mug': 0.906, 'cup': 0.062, 'pen': 0.03, ...}"
    """
    shown = [f"{name!r}: {round(share, 3)}" for name, share in list(probabilities.items())[:most]]
    return f"{{{', '.join([*shown, *(['...'] if len(probabilities) > most else [])])}}}"


def time_in_words(seconds: float) -> str:
    """Returns a time in words, such as about 4 minutes.

    >>> [time_in_words(seconds) for seconds in (20, 70, 280, 5400, 9000)]
    ['less than a minute', 'about a minute', 'about 5 minutes', 'about 90 minutes', 'about 2.5 hours']
    """
    minutes = seconds / 60
    if minutes < 0.75:
        return "less than a minute"
    if minutes < 1.5:
        return "about a minute"
    return f"about {minutes:.0f} minutes" if minutes <= 90 else f"about {minutes / 60:.1f} hours"
