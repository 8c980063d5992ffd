"""Interface symbols by meaning: outlined against filled, of about 150 icon sets of Iconify.

The meaning and, where it says so, the style come from the name of an icon; else the style is that of its set. Sets of
emoji and coloured sets are left out.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from emoji_groups import svg_of
from pictures import Writer, drawn_svg, shuffled, square, words

if TYPE_CHECKING:
    from pathlib import Path

PACKAGES = ("iconify-json",)

WORDS = {
    "home": "home house",
    "user": "user person account profile",
    "mail": "mail email envelope",
    "phone": "phone telephone call",
    "camera": "camera",
    "calendar": "calendar",
    "lock": "lock",
    "star": "star",
    "heart": "heart",
    "bell": "bell",
    "search": "search magnifier magnifying-glass",
    "cart": "cart shopping-cart",
    "car": "car automobile",
    "cloud": "cloud",
    "key": "key",
    "trash": "trash bin trash-can",
}
"""The classes, and the names of their icons."""
CLASS_OF = {name: label for label, names in WORDS.items() for name in names.split()}

LINE = words("outline outlined line linear light thin regular stroke")
SOLID = words("fill filled solid bold f sharp baseline")
OTHER_STYLES = words("duotone twotone color remix broken light print pencil pop flat")
STYLE_LAST = re.compile(rf"^(.*?)-({'|'.join(LINE + SOLID + OTHER_STYLES)})$")
STYLE_FIRST = re.compile(r"^(baseline|outline|round|sharp|twotone)-(.*)$")
SIZE = re.compile(r"-(12|14|16|18|20|24|28|32|48|64|1x|2x|xs|sm|md|lg)(?=-|$)")
ROUND = re.compile(r"(?:-|^)(?:rounded|round|20|16|24)(?=-|$)")

EMOJI_SETS = frozenset(
    words(
        "twemoji noto noto-v1 openmoji fluent-emoji fluent-emoji-flat fluent-emoji-high-contrast emojione emojione-v1"
        " emojione-monotone fxemoji line-md svg-spinners"
    )
)
LINE_SETS = frozenset(
    words(
        "lucide tabler feather iconoir ph solar carbon ri bi heroicons eva mingcute bx uil fa-regular fa6-regular"
        " fa7-regular hugeicons proicons mynaui simple-line-icons system-uicons teenyicons arcticons ep cil bytesize"
        " charm ci circum clarity akar-icons quill tdesign basil iconamoon lets-icons majesticons-line pixelarticons"
        " streamline-ultimate stash ant-design jam gg radix-icons prime iconpark-outline icon-park-outline"
        " meteor-icons nimbus formkit humbleicons ooui et ei uit weui fluent lucide-lab sargam"
    )
)
SOLID_SETS = frozenset(
    words(
        "mdi material-symbols ic fa-solid fa6-solid fa7-solid fa icomoon-free entypo zondicons bxs uis el gridicons"
        " maki map si-glyph subway vaadin wpf icon-park-solid dashicons foundation fontisto fluent-mdl2 oi ion typcn"
        " healthicons rivet-icons temaki topcoat raphael f7 flowbite cib ls majesticons pepicons-pop nrk mi"
        " humbleicons-solid octicon websymbol"
    )
)
MOST_OF_CLASS = 100


def _style_and_word(name: str) -> tuple[str, str]:
    """Returns the style that the name of an icon says, or nothing, and the rest of the name."""
    name = ROUND.sub("", SIZE.sub("", name)).strip("-")
    if last := STYLE_LAST.match(name):
        return last.group(2), last.group(1)
    if first := STYLE_FIRST.match(name):
        return first.group(1), first.group(2)
    return "", name


def _domain(style: str, icon_set: str) -> str:
    if style:
        return "line" if style in LINE else "solid" if style in SOLID else ""
    return "line" if icon_set in LINE_SETS else "solid" if icon_set in SOLID_SETS else ""


def build(source: Path, out: Path) -> None:
    """Writes the family."""
    package = source / "iconify-json/package"
    sets = json.loads((package / "collections.json").read_text())
    found: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for path in sorted((package / "json").glob("*.json"), key=str):
        name = path.stem
        if name in EMOJI_SETS or name not in sets or sets[name].get("palette", False):
            continue
        icon_set = json.loads(path.read_text())
        for icon_name, icon in icon_set["icons"].items():
            style, word = _style_and_word(icon_name)
            domain = _domain(style, name)
            if not icon.get("hidden") and word in CLASS_OF and domain:
                text = svg_of(icon, icon_set, "#222")
                found.setdefault((domain, CLASS_OF[word]), []).append((f"{name}--{icon_name}", text))
    writer = Writer(out, "symbols")
    for (domain, label), icons in sorted(found.items()):
        written = 0
        for name, text in shuffled(icons, 7)[:400]:
            if written < MOST_OF_CLASS:
                written += writer.add(domain, label, name, square(drawn_svg(text)))
