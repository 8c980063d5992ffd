"""Playing cards by rank: decks after printed patterns against decks drawn for the screen.

Decks of GNOME are grids of 13 x 5 cards; decks of KDE name each card.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pictures import Writer, drawn_part, shuffled, square, words

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from PIL import Image

PACKAGES = ("gnome-cards-data", "kdegames-card-data-kf5")

RANKS = ("ace", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "jack", "queen", "king")
SUITS = ("club", "diamond", "heart", "spade")

PRINTED = words(
    "ancient_french anglo anglo_modern anglo_poker atlasnye bellot berlin dondorf guyenne-classic lattmann orell"
    " paris rheinland slavic_costumes swiss-xvii tarocco"
)
"""Decks of GNOME after printed patterns."""

SCREEN = ["plastic", "tango", "tango_nuevo"]
"""Decks of GNOME drawn for the screen; not those with the pips of printed decks (neoclassical, simplistic)."""

KDE = {
    "svg-ancient-egyptians": "Ancient_Egyptians",
    "svg-jolly-royal": "jolly-royal",
    "svg-nicu-white": "white",
    "svg-oxygen": "oxygen",
    "svg-oxygen-white": "oxygen-white",
    "svg-penguins": "penguins",
    "svg-standard": "standard",
}
"""Decks drawn for the screen, of KDE; left out are those that GNOME has too, that name
no cards (konqi, french), or that show numbers of another count (future)."""

Card = tuple[str, str, "Image.Image"]
"""The name and the rank of a card, and its picture."""


def _of_gnome(path: Path) -> Iterator[Card]:
    sheet = drawn_part(path, 13 * 160).convert("RGBA")
    width, height = sheet.width / 13, sheet.height / 5
    for row, suit in enumerate(SUITS):
        for column, rank in enumerate(RANKS):
            edges = (column * width, row * height, (column + 1) * width, (row + 1) * height)
            left, top, right, bottom = (round(edge) for edge in edges)
            yield f"{path.stem}_{suit}", rank, sheet.crop((left, top, right, bottom))


def _of_kde(path: Path) -> Iterator[Card]:
    names = ("1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "jack", "queen", "king")
    for suit in SUITS:
        for rank, name in zip(RANKS, names, strict=True):
            yield f"{path.stem}_{suit}", rank, drawn_part(path, 13 * 160, f"{name}_{suit}")


def build(source: Path, out: Path) -> None:
    """Writes the family."""
    writer = Writer(out, "cards")
    gnome = source / "gnome-cards-data/usr/share/aisleriot/cards"
    kde = source / "kdegames-card-data-kf5/usr/share/carddecks"
    found: dict[str, list[Card]] = {"printed": [], "screen": []}
    for domain, decks in (("printed", PRINTED), ("screen", SCREEN)):
        for deck in decks:
            found[domain] += _of_gnome(gnome / f"{deck}.svgz")
    for folder, name in KDE.items():
        found["screen"] += _of_kde(kde / folder / f"{name}.svgz")
    for domain, cards in found.items():
        for name, rank, image in shuffled(cards, 1):
            writer.add(domain, rank, name, square(image))
