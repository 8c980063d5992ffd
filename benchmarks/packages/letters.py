"""Lower-case letters a to p: printed serif faces, handwriting, and decorative faces, of Debian's fonts."""

from __future__ import annotations

import re
from pathlib import Path

from pictures import Writer, glyph, shuffled, square, words

LETTERS = "abcdefghijklmnop"

SERIF = words(
    "adf-accanthis adf-baskervald adf-berenis adf-irianis adf-romande adf-tribun arapey averia-serif-gwf cardo"
    " century-catalogue cmu courier-prime crosextra-caladea ebgaramond essays1743 fanwood gfs-artemisia gfs-didot"
    " goudybookletter junicode lindenhill linuxlibertine oldstandard prociono quattrocento roboto-slab sil-charis"
    " sil-gentium-basic stix vollkorn yrsa-rasa tlwg-kinnari-ttf tlwg-norasi-ttf"
)
HAND = words(
    "dkg-handwriting breip bwht comic-neue dancingscript dclfonts ecolier-court femkeklaver humor-sans isabella"
    " joscelyn kaushanscript kiloji klee kristi leckerli-one levien-typoscript lobster lobstertwo nanum-extra"
    " radisnoir rufscript seto sjfonts smc-chilanka summersby tlwg-purisa-ttf tomsontalks yusei-magic dustin engadget"
    " f500 georgewilliams bajaderka stick"
)
DISPLAY = ["aenigma"]
DOMAINS = {"serif": SERIF, "hand": HAND, "display": DISPLAY}

PACKAGES = tuple(f"fonts-{name}" for names in DOMAINS.values() for name in names)

NO_LETTERS = (
    "(?i)symbol|math|musical|ornament|dingbat|emoji|cond|smallcap|sc-|-sc|lmmi|cmu.*(tt|ss)|Sans|ding|initial|bullet"
)
"""Fonts of signs, of small capitals, and of the families' faces without serifs."""
NO_SERIF = "(?i)sans|gothic|typewriter"
ORNAMENTS = "90stars|fauxsnow"
"""Fonts that have ornaments in place of letters."""
MOST_FONTS = 70


def _fonts(source: Path, domain: str) -> list[str]:
    found = [path for name in DOMAINS[domain] for path in (source / f"fonts-{name}").rglob("*.[to]tf")]
    found = [path for path in found if not re.search(NO_LETTERS, path.name)]
    if domain == "serif":
        found = [path for path in found if not re.search(NO_SERIF, str(path.relative_to(source)))]
    return shuffled(map(str, found), 4)[:MOST_FONTS]


def _has_letters(path: str) -> bool:
    try:
        from fontTools.ttLib import TTFont
    except ImportError as error:
        raise SystemExit("expected fontTools, which reads fonts; install it with: pip install fonttools") from error
    if not Path(path).exists():  # a few packages have links to fonts of others
        return False
    with TTFont(path, fontNumber=0, lazy=True) as font:
        characters = font.getBestCmap()
    return characters is not None and all(ord(letter) in characters for letter in LETTERS)


def build(source: Path, out: Path) -> None:
    """Writes the family."""
    writer = Writer(out, "letters")
    for domain in DOMAINS:
        for path in _fonts(source, domain):
            if re.search(ORNAMENTS, path) or not _has_letters(path):
                continue
            name = path.rsplit("/", 1)[-1].rsplit(".", 1)[0].replace(" ", "_")
            for letter in LETTERS:
                writer.add(domain, letter, name, square(glyph(path, letter), pad=0.12))
