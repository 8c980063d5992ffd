"""Installed versions for a bug report; read from files, because importing torch takes seconds."""

from __future__ import annotations

import platform
import re
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from dalib._version import __version__

PACKAGES = ("torch", "torchvision", "timm", "numpy")

NVIDIA = Path("/proc/driver/nvidia/version")
"""File in which Linux reports NVIDIA's driver."""


def describe_versions() -> str:
    """Returns a line each for dalib, Python, torch and its CUDA, torchvision, timm, NumPy, and the platform."""
    lines = [f"dalib {__version__}", f"Python {platform.python_version()}"]
    for name in PACKAGES:
        try:
            lines.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            lines.append(f"{name} is not installed")
            continue
        if name == "torch":
            lines.append(f"CUDA {_cuda()}")
    return "\n".join([*lines, f"platform {platform.platform()}"])


def _cuda() -> str:
    """Returns the CUDA version that torch was built for, and on Linux the installed driver."""
    spec = find_spec("torch")
    files = [Path(folder) / "version.py" for folder in (spec and spec.submodule_search_locations) or ()]
    built_for = next((cuda_of(file.read_text(encoding="utf-8")) for file in files if file.is_file()), None)
    if built_for is None:
        return "none, torch is built without"
    if platform.system() != "Linux":
        return built_for
    driver = re.search(r"\d+\.\d+(\.\d+)?", NVIDIA.read_text(encoding="utf-8")) if NVIDIA.is_file() else None
    return f"{built_for}, {'no NVIDIA driver' if driver is None else f'driver {driver.group()}'}"


def cuda_of(text: str) -> str | None:
    """Returns the CUDA version in the text of torch/version.py; None if torch was built without.

    >>> cuda_of("cuda: Optional[str] = '13.0'"), cuda_of("cuda: Optional[str] = None")
    ('13.0', None)
    """
    found = re.search(r"^cuda\b[^=\n]*=\s*['\"]([^'\"]+)['\"]", text, re.MULTILINE)
    return None if found is None else found.group(1)
