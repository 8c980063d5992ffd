"""Devices that networks compute on: their choice, what they lack, and the time that they take."""

from __future__ import annotations

import os
import re
import time
from contextlib import contextmanager
from statistics import median
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from dalib.core.console import say
from dalib.core.errors import Setting, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor, nn

FALLBACK = "PYTORCH_ENABLE_MPS_FALLBACK"
"""Lets torch compute on the CPU what mps, the GPU of a Mac, has no operation for; it names each. Read when torch
starts, so that ``import dalib`` sets it on macOS if torch has not been imported yet."""

LACKING = ("mps",)
"""Types of devices whose operations may be missing or may refuse an argument, and which have no float64."""

_EXPECTED = ": expected auto, cpu, cuda or mps"
_MISSING = re.compile("not (currently )?(implemented|supported)|unsupported", re.IGNORECASE)
_told: set[tuple[str, str]] = set()
"""Operations that were found missing, with the type of device: looked up once, and reported once."""


def choose_device(name: str, *, local_rank: int = 0, processes: int = 1) -> torch.device:
    """Returns the device of that name; ``auto`` is the first of cuda, mps and cpu that is here.

    Args:
        name: auto, cpu, cuda, cuda:NUMBER or mps.
        local_rank: number of this process on its machine; of several processes each has a GPU of its own, and a Mac,
            which has one, computes on the CPU.
        processes: number of processes that train together.

    Raises:
        UserError: an unknown device, or one that is not here.
    """
    if name in ("auto", "cuda") and torch.cuda.is_available():
        number = local_rank % torch.cuda.device_count()
        return torch.device("cuda", number) if processes > 1 else torch.device("cuda")
    if name == "auto":
        return _apple() if processes == 1 and has_mps() else torch.device("cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):  # TypeError: None, for instance, which is no name
        raise UserError(Setting("device", name), _EXPECTED) from None
    if device.type == "cuda":
        _check_cuda(name, device)
    elif device.type == "mps":
        _check_mps(name, device, processes)
        return _apple()
    elif device.type != "cpu":
        raise UserError(Setting("device", name), _EXPECTED)
    return device


def has_mps() -> bool:
    """Returns whether this is a Mac whose GPU torch can compute on."""
    return torch.backends.mps.is_available()


@contextmanager
def global_generators_restored(device: torch.device) -> Iterator[None]:
    """Gives torch's global generators, of the CPU and of ``device``, back as they were before the block."""
    numbers = [device.index or 0] if device.type in ("cuda", "mps") else []
    # the type, because torch 2.11 takes the numbers for those of cuda, which a Mac does not have
    with torch.random.fork_rng(numbers, device_type=device.type):
        yield


def wait_for(device: torch.device) -> None:
    """Waits until a GPU has done all that was asked of it, so that time can be taken."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def seconds_of(call: Callable[[], object], device: torch.device, least: int = 3, most: float = 0.4) -> float:
    """Returns the median time of a call, after one that warms up."""
    call()
    times: list[float] = []
    since = time.perf_counter()
    while len(times) < least or (time.perf_counter() - since < most and len(times) < 20):
        start = time.perf_counter()
        call()
        wait_for(device)
        times.append(time.perf_counter() - start)
    return median(times)


def device_of(network: nn.Module) -> torch.device:
    """Returns where a network's parameters are; the CPU for one without any."""
    return next((each.device for each in network.parameters()), torch.device("cpu"))


def memory_format(device: torch.device) -> torch.memory_format:
    """Returns the order of a network's tensors: channels last, as convolutions like it; but not on mps.

    A Mac's GPU gains nothing by it, and torch has had wrong results there.
    """
    return torch.contiguous_format if device.type == "mps" else torch.channels_last


def in_float64(values: Tensor) -> Tensor:
    """Returns values as float64, on their device, or on the CPU where the device has no such numbers, as mps."""
    return (values.cpu() if values.device.type in LACKING else values).double()


def grid_sample(images: Tensor, grid: Tensor, padding: str) -> Tensor:
    """Samples images bilinearly as ``torch.nn.functional.grid_sample`` does, without aligned corners.

    On mps, where some kinds of padding are missing, it computes on the CPU.
    """

    def sample(images: Tensor, grid: Tensor) -> Tensor:
        return F.grid_sample(images, grid, mode="bilinear", padding_mode=padding, align_corners=False)

    return on_cpu_where_missing(f"grid_sample with {padding} padding", sample, images, grid)


def on_cpu_where_missing(operation: str, compute: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """Returns ``compute(*tensors)``; computed on the CPU where the device lacks the operation, which is reported once.

    torch does so itself for operations that are missing altogether (:data:`FALLBACK`), but not for those that refuse
    an argument. Gradients pass.

    Raises:
        RuntimeError: any other error of the operation.
    """
    device = tensors[0].device
    if device.type not in LACKING:
        return compute(*tensors)
    if (operation, device.type) not in _told:
        try:
            return compute(*tensors)
        except RuntimeError as error:  # NotImplementedError is one
            if not (isinstance(error, NotImplementedError) or _MISSING.search(str(error))):
                raise
        _told.add((operation, device.type))
        say(f"note: {device.type} has no {operation}: it runs on the CPU, which is slower; the rest stays on the GPU")
    return compute(*(each.cpu() for each in tensors)).to(device)


def describe_device(device: torch.device) -> str:
    """Returns the device in words: the name of a GPU, or how many threads compute on the CPU."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    if device.type == "mps":
        return "GPU of this Mac (mps)"
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' if threads > 1 else ''}"


def _apple() -> torch.device:
    if os.environ.get(FALLBACK) != "1":
        say(
            f"note: torch started without {FALLBACK}=1, so that an operation that mps lacks ends the run; import dalib "
            "before torch, or set it"
        )
    return torch.device("mps")


def _check_cuda(name: str, device: torch.device) -> None:
    if not torch.cuda.is_available():
        raise UserError(Setting("device", name), ": torch finds no CUDA GPU here; use ", Setting("device", "cpu"))
    if (device.index or 0) >= torch.cuda.device_count():
        last = torch.cuda.device_count() - 1
        raise UserError(
            Setting("device", name), f": expected at most cuda:{last}, the last of the GPUs that torch finds here"
        )


def _check_mps(name: str, device: torch.device, processes: int) -> None:
    if not has_mps():
        raise UserError(
            Setting("device", name),
            ": torch finds no GPU of a Mac here, which takes an Apple processor and macOS 14 or newer; use ",
            Setting("device", "cpu"),
        )
    if device.index:
        raise UserError(Setting("device", name), ": expected mps, a Mac has one GPU")
    if processes > 1:
        raise UserError(
            Setting("device", name),
            f": {processes} processes cannot share the GPU of a Mac; start one, or use ",
            Setting("device", "cpu"),
        )
