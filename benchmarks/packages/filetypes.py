"""Icons of files by their kind: glossy icon themes against flat ones.

The kind comes from the name of the icon, which is the media type (audio-x-flac). Links to other icons are left out.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pictures import Writer, drawn_part, plain_name, shuffled, square
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

THEMES = {
    "glossy": (
        "oxygen-icon-theme/usr/share/icons/oxygen/base/256x256/mimetypes",
        "faenza-icon-theme/usr/share/icons/Faenza/mimetypes/scalable",
        "elementary-xfce-icon-theme/usr/share/icons/elementary-xfce/mimes/128",
        "mate-icon-theme/usr/share/icons/mate/48x48/mimetypes",
        "gnome-icon-theme/usr/share/icons/gnome/256x256/mimetypes",
        "lxde-icon-theme/usr/share/icons/nuoveXT2/96x96/mimetypes",
        "tango-icon-theme/usr/share/icons/Tango/scalable/mimetypes",
    ),
    "flat": (
        "deepin-icon-theme/usr/share/icons/Sea/mimetypes/scalable",
        "faba-icon-theme/usr/share/icons/Faba/48x48/mimetypes",
        "papirus-icon-theme/usr/share/icons/Papirus/64x64/mimetypes",
        "breeze-icon-theme/usr/share/icons/breeze/mimetypes/64",
        "numix-icon-theme/usr/share/icons/Numix/64/mimetypes",
        "paper-icon-theme/usr/share/icons/Paper/512x512/mimetypes",
    ),
}

PACKAGES = tuple(folder.split("/")[0] for folders in THEMES.values() for folder in folders)

KINDS = {
    "archive": r"compress|zip|-tar|archive|-rar|7z|-deb|-rpm|package|-arj|-lha|-ace$|-cab",
    "code": r"^text-x-|source|script|python|-java|perl|-ruby|-php|makefile|executable|sql",
    "image": r"^image|graphics|drawing",
    "media": r"^audio|playlist|midi|^video|flash|matroska|-ogg|rn-real|3gpp|theora|subtitle|subrip|music|sound|cue",
    "office": r"wordprocess|document|-word|msword|opendocument.text|-pdf|-rtf|richtext|epub|postscript"
    r"|spreadsheet|excel|calc|-csv|comma-separated|presentation|powerpoint|impress",
}
"""The classes, by words of the names of icons. A name of two classes is left out."""

MOST_OF_CLASS = 100


def build(source: Path, out: Path) -> None:
    """Writes the family."""
    writer = Writer(out, "filetypes")
    for domain, folders in THEMES.items():
        found: dict[str, list[tuple[str, Path]]] = {}
        for folder in folders:
            for path in sorted((source / folder).iterdir()):
                kinds = [kind for kind, word in KINDS.items() if re.search(word, path.stem.lower())]
                if len(kinds) == 1 and path.suffix in {".png", ".svg"} and not path.is_symlink():
                    found.setdefault(kinds[0], []).append((plain_name(f"{folder.split('-')[0]}_{path.stem}"), path))
        for kind, icons in sorted(found.items()):
            written = 0
            for name, path in shuffled(icons, 1):
                if written < MOST_OF_CLASS:
                    image = Image.open(path) if path.suffix == ".png" else drawn_part(path, 384)
                    written += writer.add(domain, kind, name, square(image))
