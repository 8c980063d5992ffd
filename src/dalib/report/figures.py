"""Places in figures, and numbers as text.

The geometry only: the template turns it into SVG and escapes all text.
"""

from __future__ import annotations

import base64
import math
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dalib.core.places import in_short
from dalib.core.words import difference_in_words, points_in_words, share_in_words

if TYPE_CHECKING:
    from collections.abc import Sequence

# A chart in its own units; the template draws it at about this many pixels, so that its text is always readable.
WIDTH, HEIGHT = 400, 200
LEFT, RIGHT, TOP, BOTTOM = 50, 384, 12, 172
MOST_POINTS = 240  # a curve has at most so many; more would not be seen and would make the file heavy
FEW_POINTS = 12  # up to so many are drawn as dots, too

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
# Control characters, halves of surrogate pairs, and those that turn the direction of all text after them.
_HARMFUL = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True)
class Series:
    """One curve: what it is called, its look (a class of the style sheet), and (step, value) pairs in order."""

    name: str
    look: str
    points: list[tuple[float, float]]


@dataclass(frozen=True)
class Line:
    """A drawn curve: SVG path data, dots where points are few, and the last value in words."""

    name: str
    look: str
    path: str
    dots: list[tuple[float, float]]
    last: str


@dataclass(frozen=True)
class Chart:
    """A line chart: words for readers, geometry in the units of (WIDTH, HEIGHT)."""

    title: str
    note: str
    alt: str
    lines: list[Line]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    mark: float | None = None  # where a vertical line stands
    mark_name: str = ""


@dataclass(frozen=True)
class Picture:
    """A PNG or JPEG as an address that needs no file and no network, and its size in pixels."""

    address: str
    width: int
    height: int


def picture(content: bytes) -> Picture | None:
    """Returns the bytes of a PNG or JPEG as a picture; None if they are neither."""
    if len(content) >= 24 and content.startswith(_PNG):
        kind, (width, height) = "png", struct.unpack(">II", content[16:24])
    elif content.startswith(_JPEG) and (size := _size_of_jpeg(content)):
        kind, (width, height) = "jpeg", size
    else:
        return None
    return Picture(f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}", width, height)


def _size_of_jpeg(content: bytes) -> tuple[int, int] | None:
    """Returns width and height, of the first header of a frame; other segments are passed over by their length."""
    place = 2
    while place + 9 <= len(content) and content[place] == 0xFF:
        marker, length, _, height, width = struct.unpack(">BHBHH", content[place + 1 : place + 9])
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return width, height
        place += 2 + length
    return None


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Returns round numbers, evenly spaced, the first at or below ``low`` and the last at or above ``high``.

    >>> ticks(0, 0.93)
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    if high <= low:
        high = low + (abs(low) or 1.0)
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * index, 12) for index in range(first, last + 1)]


def line_chart(
    title: str,
    note: str,
    series: list[Series],
    *,
    shares: bool,
    kept_step: float | None = None,
) -> Chart | None:
    """Returns a chart over steps whose values start at 0, or below if they do; None if no curve has a point.

    Args:
        title: what the values are.
        note: a sentence under the chart.
        series: the curves; those without a point are left out.
        shares: values are shares, written as percentages; their axis ends at 1.
        kept_step: where a vertical line marks the step whose weights were kept, if it is on the axis.
    """
    series = [curve for curve in series if curve.points]
    if not series:
        return None
    ends = [(_value(curve.points[0][1], shares), _value(curve.points[-1][1], shares)) for curve in series]
    series = [_thinned(curve) for curve in series]
    values = [value for curve in series for _, value in curve.points]
    y_ticks = ticks(0.0, 1.0) if shares else ticks(min(0.0, *values), max(0.0, *values))
    last_step = max(step for curve in series for step, _ in curve.points)
    x_ticks = [step for step in ticks(0, last_step) if step <= last_step and step == int(step)]  # no half a step

    def x(step: float) -> float:
        return round(LEFT + (RIGHT - LEFT) * step / (last_step or 1), 1)

    def y(value: float) -> float:
        return round(BOTTOM - (BOTTOM - TOP) * (value - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]), 1)

    lines = []
    for curve, (_, last) in zip(series, ends, strict=True):
        places = [(x(step), y(value)) for step, value in curve.points]
        path = "M" + " L".join(f"{a:g} {b:g}" for a, b in places)
        lines.append(Line(curve.name, curve.look, path, places if len(places) <= FEW_POINTS else [], last))
    courses = "; ".join(
        f"{curve.name} from {first} to {last}" for curve, (first, last) in zip(series, ends, strict=True)
    )
    marked = kept_step is not None and 0 <= kept_step <= last_step
    return Chart(
        title=title,
        note=note,
        alt=f"{title} over {last_step:,.0f} steps: {courses}" + (f"; kept: step {kept_step:,.0f}" if marked else ""),
        lines=lines,
        x_ticks=[(x(step), _steps(step)) for step in x_ticks],
        y_ticks=[(y(value), f"{100 * value:g}%" if shares else f"{value:g}") for value in y_ticks],
        mark=x(kept_step) if marked and kept_step is not None else None,
        mark_name=f"kept: step {kept_step:,.0f}" if marked else "",
    )


def shade(count: int, row: int) -> str:
    """Returns the opacity of a cell of a confusion matrix with ``row`` images in its row; small shares are lifted."""
    return f"{0.08 + 0.47 * (count / row) ** 0.6:.2f}" if count and row else "0"


def clean(text: str) -> str:
    """Returns the text with a visible mark in place of characters that would disturb the page around them."""
    return _HARMFUL.sub("\N{REPLACEMENT CHARACTER}", text)


def short(name: str, length: int = 48) -> str:
    """Shortens a text to ``length`` characters by leaving out its middle; both ends of a path are informative.

    Images that were given as objects are named by what they are, not by their place in the cache.
    """
    name = in_short(name)
    if len(name) <= length:
        return name
    end = (length - 1) * 2 // 3
    return f"{name[: length - 1 - end]}…{name[len(name) - end :]}"


def percent(share: float | None) -> str:
    """Returns a share as a percentage, see :func:`dalib.core.words.share_in_words`; a dash where there is no number.

    >>> percent(0.961)
    '96.1%'
    """
    value = number(share)
    return "\N{EN DASH}" if value is None else share_in_words(value)


def interval(low_high: Sequence[float]) -> str:
    """Bounds of an interval of shares.

    >>> interval((0.94, 0.97))
    '94.0% to 97.0%'
    """
    return f"{percent(low_high[0])} to {percent(low_high[1])}"


def sentence(text: Any) -> str:
    """Returns the text with a capital and a full stop.

    >>> sentence("the score fell")
    'The score fell.'
    """
    words = str(text).strip()
    return (
        words[:1].upper() + words[1:] + ("" if words.endswith((".", "!", "?", "\N{HORIZONTAL ELLIPSIS}", ":")) else ".")
    )


def number(value: Any) -> float | None:
    """Returns the value if it is a finite number: our files may hold null and NaN, and those of others anything.

    >>> number(0.5), number(float("nan")), number("0.5")
    (0.5, None, None)
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return value if is_number else None


def points_between(share: float, reference: float) -> float:
    """Returns the difference in percentage points, of the numbers as printed, so that a reader's subtraction agrees.

    >>> points_between(0.912, 0.8), points_between(0.9998, 0.9996)
    (11.2, 0.02)
    """
    printed, other = (float(share_in_words(each).rstrip("%")) for each in (share, reference))
    return round(printed - other, 3) + 0.0  # + 0.0: no negative zero


def signed(points: float) -> str:
    """Returns points with their sign and a true minus; of more digits than one where :func:`points_between` has them.

    >>> signed(11.2), signed(0.02), signed(0)
    ('+11.2', '+0.02', '0.0')
    """
    digits = next((few for few in (1, 2) if round(points, few) == points), 3)
    return f"{points:+.{digits}f}".replace("-", "\N{MINUS SIGN}") if points else "0.0"


def signed_difference(difference: float) -> str:
    """Returns a difference of shares in percentage points with its sign, which is not shown as 0 where it is not 0.

    >>> signed_difference(0.112), signed_difference(0.0004), signed_difference(0)
    ('+11.2', '+0.04', '0.0')
    """
    return difference_in_words(difference).replace("-", "\N{MINUS SIGN}")


def signed_interval(low_high: tuple[float, float]) -> str:
    """Bounds of an interval of differences of shares, in percentage points, of which none that is not 0 is shown as 0.

    >>> signed_interval((0.031, 0.08)), signed_interval((0.0002, 0.08))
    ('+3.1 to +8.0', '+0.02 to +8.00')
    """
    return points_in_words(low_high).replace("-", "\N{MINUS SIGN}")


def duration(seconds: float) -> str:
    """Seconds for a reader.

    >>> duration(134)
    '2 min 14 s'
    """
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _thinned(curve: Series) -> Series:
    """Means of neighbours, so that at most MOST_POINTS are left; the last point stays the last step."""
    size = math.ceil(len(curve.points) / MOST_POINTS)
    if size == 1:
        return curve
    groups = [curve.points[start : start + size] for start in range(0, len(curve.points), size)]
    return Series(
        curve.name,
        curve.look,
        [(group[-1][0], sum(value for _, value in group) / len(group)) for group in groups],
    )


def _value(value: float, share: bool) -> str:
    return share_in_words(value) if share else f"{value:.3g}"


def _steps(step: float) -> str:
    if step >= 1e6:
        return f"{step / 1e6:g}M"
    return f"{step / 1e3:g}k" if step >= 1e4 else f"{step:,g}"
