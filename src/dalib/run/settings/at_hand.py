"""The pretrained backbones at hand: those of installed packages and of the hub's cache, and how quick they are here."""

from __future__ import annotations

import datetime
import platform
import re
import sys
import time
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dalib._version import __version__
from dalib.core.console import say
from dalib.core.devices import choose_device, describe_device, wait_for
from dalib.core.errors import Setting, UserError
from dalib.core.files import read_json, write_json
from dalib.data.cache import default_cache_folder, writable_cache_folder
from dalib.models.hub import OF_TIMM, PREFIXES, cached_networks
from dalib.models.inference import fast_inference
from dalib.models.pretrained import PACKAGES, PretrainedBackbone, licence_of, pretrained_settings
from dalib.models.weights import locate_weights
from dalib.run.settings.image_defaults import SHORT_NAMES

if TYPE_CHECKING:
    from collections.abc import Sequence

TOGETHER = 32
"""Images that go through a network at once, as when features are extracted."""

SECONDS = 1.5
"""Seconds for which a network is measured, once it is warm."""

CPU_INFO = Path("/proc/cpuinfo")
"""File in which Linux names the processor."""


@dataclass(frozen=True)
class Speed:
    """A measured speed, and what it was measured on: another machine or version is measured anew.

    Attributes:
        images_per_second: without gradients, 32 images at a time.
        machine: system, processor and device.
        versions: of dalib, torch and timm.
        measured: ISO time.
    """

    images_per_second: float
    machine: str
    versions: str
    measured: str


@dataclass(frozen=True)
class AtHand:
    """A pretrained network that can be taken without a network connection.

    Attributes:
        settings: that take it, by their names.
        network: timm's name.
        place: package or repository that the weights are from.
        bytes: size of the weights.
        licence: of the weights, as far as it is stated.
        pixels: height and width of the images that it was trained with.
        speed: on this machine; None if it was not measured.
    """

    settings: dict[str, str]
    network: str
    place: str
    bytes: int
    licence: str | None
    pixels: int
    speed: Speed | None = None

    @property
    def spelled(self) -> str:
        """The settings as they are given."""
        return " ".join(str(Setting(name, value)) for name, value in self.settings.items())

    def to_json(self) -> dict[str, Any]:
        """Returns plain values."""
        return asdict(self)


def backbones_at_hand() -> list[AtHand]:
    """Returns the networks whose weights are here: those of packages first, then those of the hub's cache."""
    return [*_of_packages(), *_of_hub()]


def not_at_hand() -> dict[str, str]:
    """Returns the short names whose weights are not installed, each with the package to install."""
    return {short: package.replace("_", "-") for short, package in _packages().items() if find_spec(package) is None}


def with_speeds(found: Sequence[AtHand], device: str = "auto", *, anew: bool = False) -> list[AtHand]:
    """Returns the same with their speeds on this machine, measured where they are not known from before.

    Args:
        found: what :func:`backbones_at_hand` returned.
        device: auto, cpu, cuda or mps.
        anew: measure all of them, also those that are known.

    Raises:
        UserError: a device that is not here.
    """
    where = choose_device(device)
    store = writable_cache_folder(default_cache_folder(), _say_aside) / "backbones.json"
    known = _read(store)
    machine, versions = describe_machine(where), _versions()
    measured = []
    for each in found:
        key = f"{each.network} {each.pixels} {where.type}"
        speed = known.get(key)
        if anew or speed is None or (speed.machine, speed.versions) != (machine, versions):
            _say_aside(f"measuring {each.network} on {describe_device(where)}, which is kept")
            now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
            speed = Speed(images_per_second(each.network, each.pixels, where), machine, versions, now)
            known[key] = speed
            _keep(store, known)
        measured.append(replace(each, speed=speed))
    return measured


def images_per_second(network: str, pixels: int, device: torch.device) -> float:
    """Measures how many images a network of timm's takes in a second, as when features are extracted."""
    backbone = PretrainedBackbone(network, size=pixels).eval().to(device)
    quick = fast_inference(backbone, (TOGETHER, 3, pixels, pixels))
    images = torch.rand(TOGETHER, 3, pixels, pixels, generator=torch.Generator().manual_seed(0)).to(device)
    quick(images)
    wait_for(device)
    since, calls = time.perf_counter(), 0
    while (took := time.perf_counter() - since) < SECONDS:
        quick(images)
        wait_for(device)
        calls += 1
    return round(calls * TOGETHER / took, 1)


def describe_machine(device: torch.device) -> str:
    """Returns system, processor and device in words."""
    processor = platform.processor() or platform.machine()
    if CPU_INFO.is_file():
        named = re.search(r"^model name\s*:\s*(.+)$", CPU_INFO.read_text(encoding="utf-8", errors="replace"), re.M)
        processor = processor if named is None else named.group(1).strip()
    return f"{platform.system()}, {processor}; {describe_device(device)}"


def _packages() -> dict[str, str]:
    return {short: PACKAGES[settings["backbone"]] for short, settings in SHORT_NAMES.items()}


def _of_packages() -> list[AtHand]:
    found = []
    for short, package in _packages().items():
        network = SHORT_NAMES[short]["backbone"]
        try:
            size = locate_weights(f"package:{package}").stat().st_size
        except (UserError, OSError):
            continue
        pixels = pretrained_settings(network).input_size
        found.append(AtHand({"backbone": short}, network, f"package {package}", size, licence_of(network), pixels))
    return found


def _of_hub() -> list[AtHand]:
    found = []
    for each in cached_networks():
        settings = {"backbone": f"{PREFIXES[0]}{each.repository}"}
        if each.own:
            settings = {"backbone": each.network, "weights": OF_TIMM}
        size, pixels = each.path.stat().st_size, pretrained_settings(each.network).input_size
        found.append(AtHand(settings, each.network, f"hub {each.repository}", size, each.licence, pixels))
    return found


def _versions() -> str:
    return f"dalib {__version__}, torch {torch.__version__}, timm {version('timm')}"


def _read(store: Path) -> dict[str, Speed]:
    """Returns the speeds that are known from before; none from a file that is damaged, which is measured anew."""
    try:
        content: Any = read_json(store)
        return {key: Speed(**each) for key, each in content.items()}
    except (UserError, AttributeError, TypeError, OSError):
        return {}


def _keep(store: Path, known: dict[str, Speed]) -> None:
    try:
        write_json(store, {key: asdict(each) for key, each in known.items()})
    except OSError as error:
        _say_aside(f"note: {store}: cannot be written ({error.strerror}); the speeds are measured again next time")


def _say_aside(text: str) -> None:
    """Prints to standard error, because standard output is the list, which may be JSON."""
    say(text, sys.stderr)
