"""What all families share: pictures of one size, one writer for each family, and a contact sheet to look at."""

from __future__ import annotations

import hashlib
import io
import random
import re
import subprocess
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

SIZE = 192
"""Height and width of every picture."""

Image.MAX_IMAGE_PIXELS = None  # some wallpapers of the packages pass Pillow's guard against bombs


def square(image: Image.Image, pad: float = 0.04) -> Image.Image | None:
    """Returns the visible part of a picture in the middle of a white square; None where nothing is visible."""
    image = image.convert("RGBA")
    box = image.getchannel("A").point(lambda value: 255 if value > 8 else 0).getbbox()
    if box is None:
        return None
    image = image.crop(box)
    scale = round(SIZE * (1 - 2 * pad)) / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    white = Image.new("RGBA", (SIZE, SIZE), (255, 255, 255, 255))
    resized = image.resize((width, height), Image.Resampling.LANCZOS)
    white.alpha_composite(resized, ((SIZE - width) // 2, (SIZE - height) // 2))
    return white.convert("RGB")


def drawn_svg(text: str) -> Image.Image:
    """Returns a drawing, rendered by resvg."""
    try:
        import resvg_py
    except ImportError as error:
        raise SystemExit("expected resvg_py, which draws SVG files; install it with: pip install resvg-py") from error
    data = resvg_py.svg_to_bytes(svg_string=text, width=2 * SIZE, height=2 * SIZE)
    return Image.open(io.BytesIO(bytes(data)))


def drawn_part(path: Path, width: int, part: str = "") -> Image.Image:
    """Returns an SVG file, or the element of it with the id `part`, rendered by librsvg."""
    command = ["rsvg-convert", "--width", str(width), "--keep-aspect-ratio", str(path)]
    if part:
        command += ["--export-id", f"#{part}"]
    try:
        done = subprocess.run(command, capture_output=True, check=True)
    except FileNotFoundError as error:
        raise SystemExit("expected the program rsvg-convert; install Debian's package librsvg2-bin") from error
    return Image.open(io.BytesIO(done.stdout))


def glyph(path: str, character: str) -> Image.Image:
    """Returns a character of a font, black on a transparent ground."""
    font = ImageFont.truetype(path, 260)
    paper = Image.new("L", (700, 700), 255)
    ImageDraw.Draw(paper).text((200, 180), character, font=font, fill=0)
    image = Image.new("RGBA", paper.size, (0, 0, 0, 255))
    image.putalpha(paper.point(lambda value: 255 - value))
    return image


def words(text: str) -> list[str]:
    """Returns the words of a text: long lists of names stay short and readable."""
    return text.split()


def plain_name(text: str) -> str:
    """Returns a file name made of the letters and digits of a path."""
    return re.sub(r"[^A-Za-z0-9]+", "_", text)


def shuffled(items: Iterable[Any], seed: int) -> list[Any]:
    """Returns the items in an order that depends on their names and the seed alone."""
    ordered = sorted(items, key=lambda item: item[0] if isinstance(item, tuple) else item)
    random.Random(seed).shuffle(ordered)
    return ordered


class Writer:
    """Writes the pictures of one family; refuses blank ones and ones that it has seen.

    Two pictures are the same where their grey thumbnails of 32 x 32 pixels agree in all 32 grey levels. So no picture
    stands in two domains of a family.
    """

    def __init__(self, out: Path, family: str):
        self.folder = out / family
        self.seen: set[str] = set()
        self.refused = 0

    def add(self, domain: str, label: str, name: str, image: Image.Image | None) -> bool:
        """Writes one picture; returns whether it was wanted."""
        if image is None or np.asarray(image, dtype=float).std() < 4:
            self.refused += 1
            return False
        thumbnail = np.asarray(image.convert("L").resize((32, 32)), dtype=np.uint8) // 8
        key = hashlib.sha1(thumbnail.tobytes()).hexdigest()
        if key in self.seen:
            self.refused += 1
            return False
        self.seen.add(key)
        folder = self.folder / domain / label
        folder.mkdir(parents=True, exist_ok=True)
        image.save(folder / f"{name}.png")
        return True


def counts(family: Path) -> dict[str, dict[str, int]]:
    """Returns how many pictures each class of each domain has."""
    return {
        domain.name: {label.name: len(list(label.glob("*.png"))) for label in sorted(domain.iterdir())}
        for domain in sorted(family.iterdir())
    }


def contact_sheet(family: Path, columns: int = 10, side: int = 72) -> Image.Image:
    """Returns ten pictures of each class and domain: a row for each class, the domains side by side."""
    numbers = counts(family)
    labels = sorted({label for each in numbers.values() for label in each})
    left, block = 110, columns * side + 14
    sheet = Image.new("RGB", (left + len(numbers) * block, len(labels) * side + 16), (200, 210, 230))
    draw = ImageDraw.Draw(sheet)
    for position, domain in enumerate(numbers):
        start = left + position * block
        draw.text((start, 2), domain, fill=0)
        for row, label in enumerate(labels):
            top = 16 + row * side
            draw.text((2, top + 20), label, fill=0)
            draw.text((2, top + 32 + 11 * position), str(numbers[domain].get(label, 0)), fill=(90, 0, 0))
            files = sorted((family / domain / label).glob("*.png"))
            for column, file in enumerate(shuffled(files, 1)[:columns]):
                picture = Image.open(file).convert("RGB").resize((side - 2, side - 2))
                sheet.paste(picture, (start + column * side, top))
    return sheet
