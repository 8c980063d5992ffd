"""A trained timm network as a folder like those on Hugging Face's hub, which timm alone can open.

::

    config.json          timm's: architecture, num_classes, model_args, pretrained_cfg, label_names; and, under "dalib",
                         what a model's config.json has
    model.safetensors    tensors under timm's names
    joined.safetensors   further backbones whose features are joined, each under its number, where there are some
    head.safetensors     what follows the backbone, where timm has no such layers: standardisation, bottleneck, head,
                         and the warps of views that are averaged
    README.md            a program for timm and torch that predicts an image

Without a bottleneck, standardisation and averaged views the network is one of timm's as it stands, there is no
head.safetensors, and ``timm.create_model("local-dir:FOLDER", pretrained=True)`` is the whole classifier. Otherwise that
gives the backbone, the first one where several are joined, and the program in README.md does the rest in plain torch.
Our own small networks have no such form: nothing but this library could open it.

Until November 2026 model.safetensors held the tensors of all backbones that are joined, which timm could not open; such
folders are still read.
"""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional as F

from dalib.core.devices import grid_sample
from dalib.core.errors import Call, Setting, UserError
from dalib.core.files import read_json, write_json
from dalib.data.depth import FULL
from dalib.models.averaged import AveragedViews
from dalib.models.exported import KEY, OpenedModel
from dalib.models.joined import JoinedBackbone, OwnInput, largest
from dalib.models.pretrained import PretrainedBackbone
from dalib.models.representation import FeatureNetwork, layer_in_words
from dalib.models.saved import content_of, description_of, plain_tensors
from dalib.models.timm_import import import_timm

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from dalib.data.preprocessing import Preprocessing
    from dalib.models.architecture import BackboneInput
    from dalib.models.classifier import ImageClassifier
    from dalib.models.saved import ModelDescription

WEIGHTS, JOINED, HEAD = "model.safetensors", "joined.safetensors", "head.safetensors"
_BACKBONE, _MEMBERS = "backbone.network.", "backbone.members."
_NORM = ("running_mean", "running_var", "weight", "bias")  # in the order that F.batch_norm takes them


def write_timm_folder(folder: Path, model: ImageClassifier, predictor: nn.Module, description: ModelDescription) -> str:
    """Writes the files into an existing ``folder``; returns how to predict with them, in Markdown, for its README.md.

    Args:
        predictor: selected model, or its mean over views.

    Raises:
        ValueError: a backbone that is not timm's, or preprocessing that timm has no words for.
    """
    preprocessing = description.preprocessing
    joined = isinstance(model.backbone, JoinedBackbone)
    if not (joined or isinstance(model.backbone, PretrainedBackbone)):
        raise ValueError(f"the backbone {description.architecture.backbones[0]} is not one of timm's")
    if preprocessing.mean is None or preprocessing.fit == "ink":
        raise ValueError("timm knows no images that are standardised by their own pixels, or cut out by their ink")
    own = plain_tensors(model)
    head = {name: each for name, each in own.items() if not name.startswith("backbone.")}
    if isinstance(predictor, AveragedViews):
        head["warps"] = predictor.warps.maps.detach().cpu().clone()
    if joined:
        return _write_several(folder, cast("JoinedBackbone", model.backbone), own, head, description)
    tensors = {name.removeprefix(_BACKBONE): each for name, each in own.items() if name.startswith(_BACKBONE)}
    return _write_one(folder, model, tensors, head, description)


def _write_one(
    folder: Path,
    model: ImageClassifier,
    tensors: dict[str, Tensor],
    head: dict[str, Tensor],
    description: ModelDescription,
) -> str:
    """Writes a network of one backbone, whole where timm's classifier is like ours."""
    preprocessing = description.preprocessing
    assert isinstance(model.backbone, PretrainedBackbone)
    arguments = _arguments(model.backbone.name, preprocessing.channels, preprocessing.input_size)
    network: Any = model.backbone.network
    classifier = network.pretrained_cfg.get("classifier")
    classes = 0
    if head.keys() == {"head.weight", "head.bias"} and _is_linear_in_timm(model, arguments, classifier):
        classes = model.num_classes
        tensors |= {f"{classifier}.{name}": head[f"head.{name}"] for name in ("weight", "bias")}
        head = {}
    _write_tensors(folder, {WEIGHTS: tensors, HEAD: head})
    config = _config_of(model.backbone, arguments, _preprocessing_of(preprocessing), description, classes=classes)
    write_json(folder / "config.json", config)
    return _usage(config, head, preprocessing)


def _write_several(
    folder: Path,
    joined: JoinedBackbone,
    own: dict[str, Tensor],
    head: dict[str, Tensor],
    description: ModelDescription,
) -> str:
    """Writes a network of several backbones: the first one as timm has it, the others under their numbers."""
    first, others = {}, {}
    for name, each in own.items():
        if name.startswith(_MEMBERS):
            number, _, rest = name.removeprefix(_MEMBERS).partition(".network.")
            if number == "0":
                first[rest] = each
            else:
                others[f"{number}.{rest}"] = each
    _write_tensors(folder, {WEIGHTS: first, JOINED: others, HEAD: head})
    members = [cast("PretrainedBackbone", each) for each in joined.members]
    preprocessing = description.preprocessing
    arguments = [
        _arguments(each.name, preprocessing.channels, seen.size)
        for each, seen in zip(members, joined.inputs, strict=True)
    ]
    seen = joined.inputs[0]
    scale = seen.size / preprocessing.input_size
    own_preprocessing = replace(
        preprocessing,
        size=round(scale * preprocessing.size),
        crop=seen.size,
        mean=seen.mean,
        std=seen.std,
    )
    config = _config_of(members[0], arguments[0], _preprocessing_of(own_preprocessing), description) | {
        "joined": {
            "mean": list(preprocessing.mean or ()),
            "std": list(preprocessing.std or ()),
            "networks": [
                {"architecture": each.name, "model_args": own_arguments, **asdict(own_input)}
                for each, own_arguments, own_input in zip(members, arguments, joined.inputs, strict=True)
            ],
        }
    }
    write_json(folder / "config.json", config)
    return _usage(config, head, preprocessing)


def _write_tensors(folder: Path, files: dict[str, dict[str, Tensor]]) -> None:
    """Writes the tensors of each file that has some."""
    for name, tensors in files.items():
        if tensors:
            (folder / name).write_bytes(save(tensors, metadata={"format": "pt"}))


def _config_of(
    backbone: PretrainedBackbone,
    arguments: dict[str, int],
    preprocessing: dict[str, Any],
    description: ModelDescription,
    *,
    classes: int = 0,
) -> dict[str, Any]:
    """Returns timm's configuration of a network, with ``classes`` where its classifier is among its tensors."""
    network: Any = backbone.network
    return {
        "architecture": backbone.name,
        "num_classes": classes,
        "num_features": backbone.out_features,
        "model_args": arguments,
        "label_names": list(description.classes),
        "pretrained_cfg": {
            **preprocessing,
            "fixed_input_size": "img_size" in arguments,
            "num_classes": classes,
            "first_conv": network.pretrained_cfg.get("first_conv"),
            "classifier": network.pretrained_cfg.get("classifier"),
        },
        KEY: content_of(description),
    }


def _preprocessing_of(preprocessing: Preprocessing) -> dict[str, Any]:
    """Returns the preprocessing in timm's words."""
    return {
        "input_size": [preprocessing.channels, preprocessing.input_size, preprocessing.input_size],
        "interpolation": preprocessing.interpolation,
        "crop_pct": _crop_share(preprocessing.input_size, preprocessing.size),
        "crop_mode": "squash" if preprocessing.fit == "stretch" else "center",
        "mean": list(preprocessing.mean or ()),
        "std": list(preprocessing.std or ()),
    }


def _crop_share(crop: int, size: int) -> float:
    """Returns the share of ``size`` that the crop is, as timm divides by it and rounds down: to ``size`` again.

    >>> _crop_share(224, 256), int(443 / (443 / 506)), int(443 / _crop_share(443, 506))
    (0.875, 505, 506)
    """
    share = crop / size
    return share if int(crop / share) == size else math.nextafter(share, 0)


def is_timm_folder(folder: Path) -> bool:
    """Returns whether a model's folder is of this kind; errors about other folders come with reading config.json."""
    content = read_json(folder / "config.json")
    return isinstance(content, dict) and "pretrained_cfg" in content


def read_timm_folder(folder: Path, device: torch.device) -> OpenedModel:
    """Reads the model of such a folder with timm and torch, like its README.md.

    Raises:
        UserError: files that are missing, damaged, or do not fit each other.
    """
    config = read_json(folder / "config.json")
    try:
        description = description_of(config[KEY], folder / "config.json")
        if [*description.classes] != (names := config["label_names"]):
            raise ValueError(f"label_names: expected the classes under {KEY}, got {names!r}")
        network = _network_of(config, description, folder)
        head = load_file(folder / HEAD, device=str(device)) if not config["num_classes"] else {}
    except UserError:
        raise
    except Exception as error:  # timm and torch raise whatever they like
        what = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(
            f"{folder}: not a whole folder that `",
            Call("dalib.run.export.export", Setting("format", "hf")),
            f"` wrote ({what})",
        ) from None
    network = network.to(device)

    def probabilities(images: Tensor) -> Tensor:
        with torch.no_grad():
            return _probabilities(network, head, description.preprocessing.normalize(images.to(device))).cpu()

    return OpenedModel(
        description, probabilities, representation=lambda: _representation(network, head, description, device)
    )


def _representation(
    network: nn.Module, head: dict[str, Tensor], description: ModelDescription, device: torch.device
) -> FeatureNetwork:
    """Returns what computes features: of the backbone where it was frozen, else the input of the classifier.

    Where timm's classifier is the whole head, its input is what the backbone gives.
    """
    backbone: Any = network
    if not head:
        backbone = copy.deepcopy(network)
        backbone.reset_classifier(0)
    frozen = description.architecture.trained_on_features

    def features(images: Tensor) -> Tensor:
        with torch.no_grad():
            found: Tensor = backbone(description.preprocessing.normalize(images.to(device)))
            return (found if frozen else _before_head(found, head)).float().cpu()

    size, channels = description.preprocessing.size, description.preprocessing.channels
    width = features(torch.zeros(1, channels, size, size, dtype=torch.uint8)).shape[1]
    return FeatureNetwork(layer_in_words(description.architecture), width, features)


def _network_of(config: dict[str, Any], description: ModelDescription, folder: Path) -> nn.Module:
    """Returns timm's network with its weights, or several that are joined."""
    if not description.architecture.several:
        network = _created(_checked(config))
        network.load_state_dict(load_file(folder / WEIGHTS))
        return network
    networks = []
    for member, tensors in _members_of(config, description, folder):
        networks.append(_created(_checked(member)))
        networks[-1].load_state_dict(tensors)
    return _SideBySide(networks, description.architecture.inputs)


def _members_of(
    config: dict[str, Any], description: ModelDescription, folder: Path
) -> Iterator[tuple[dict[str, Any], dict[str, Tensor]]]:
    """Yields timm's configuration and the tensors of each of several networks.

    Raises:
        ValueError: others than those of the description.
    """
    expected = list(description.architecture.backbones)
    if "joined" in config:
        networks = config["joined"]["networks"]
        names, arguments_of = ([each[key] for each in networks] for key in ("architecture", "model_args"))
        numbered, first = load_file(folder / JOINED), load_file(folder / WEIGHTS)
    else:  # a folder of before, with the tensors of all in one file
        names, arguments_of = config["architecture"], config["model_args"]
        numbered, first = load_file(folder / WEIGHTS), {}
    if names != expected:
        raise ValueError(f"architecture: expected {expected}, got {names!r}")
    for number, (name, arguments) in enumerate(zip(names, arguments_of, strict=True)):
        own = {key.removeprefix(f"{number}."): each for key, each in numbered.items() if key.startswith(f"{number}.")}
        tensors = own if number or not first else first
        yield {"architecture": name, "num_classes": 0, "model_args": arguments}, tensors


class _SideBySide(nn.Module):
    """Networks of timm whose features are joined, like the program in README.md."""

    def __init__(self, networks: Sequence[nn.Module], inputs: Sequence[BackboneInput]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.own_inputs = nn.ModuleList(OwnInput(largest(inputs), each) for each in inputs)

    def forward(self, images: Tensor) -> Tensor:
        pairs = zip(self.networks, self.own_inputs, strict=True)
        return torch.cat([network(own_input(images)) for network, own_input in pairs], dim=1)


def _probabilities(network: nn.Module, head: dict[str, Tensor], images: Tensor) -> Tensor:
    """Computes (N, C, H, W) normalised -> (N, K), like the program in README.md."""
    if "warps" in head:
        rest = {name: each for name, each in head.items() if name != "warps"}
        views = [
            grid_sample(
                images, F.affine_grid(warp.expand(len(images), 2, 3), list(images.shape), align_corners=False), "border"
            )
            for warp in head["warps"]
        ]
        return torch.stack([_probabilities(network, rest, view) for view in views]).mean(dim=0)
    features = _before_head(network(images), head)
    if head:
        features = F.linear(features, head["head.weight"], head["head.bias"])
    return features.softmax(dim=1)


def _before_head(features: Tensor, head: dict[str, Tensor]) -> Tensor:
    """Computes features (N, D) of the backbone -> the input of the head, like the program in README.md."""
    if "feature_mean" in head:
        features = (features - head["feature_mean"]) / head["feature_std"]
    if "bottleneck.0.weight" in head:
        features = F.linear(features, head["bottleneck.0.weight"], head["bottleneck.0.bias"])
        if "bottleneck.1.weight" in head:
            mean, var, weight, bias = (head[f"bottleneck.1.{name}"] for name in _NORM)
            features = F.batch_norm(features, mean, var, weight, bias)
        features = features.relu()
    return features


def _checked(config: dict[str, Any]) -> dict[str, Any]:
    """Returns the same, if timm will build its own network from it, and neither fetch nor open a file for it."""
    timm = import_timm()
    name, arguments = config["architecture"], config["model_args"]
    if not (isinstance(name, str) and timm.is_model(name) and ":" not in name):
        raise ValueError(f"architecture: expected a network of timm's, got {name!r}")
    plain = all(type(value) is int and 0 < value <= 10_000 for value in arguments.values())
    if not (arguments.keys() <= {"in_chans", "img_size"} and plain):
        raise ValueError(f"model_args: expected in_chans and img_size, whole numbers, got {arguments!r}")
    return config


def _created(config: dict[str, Any]) -> nn.Module:
    timm = import_timm()
    network: nn.Module = timm.create_model(
        config["architecture"], num_classes=config["num_classes"], **config["model_args"]
    )
    return network.eval()


def _arguments(name: str, channels: int, size: int) -> dict[str, int]:
    """Returns timm's arguments to build the network for images of this shape."""
    timm = import_timm()
    try:
        timm.create_model(name, num_classes=0, in_chans=channels, img_size=size)
    except TypeError:  # most networks take any size, and not this argument
        return {"in_chans": channels}
    return {"in_chans": channels, "img_size": size}


def _is_linear_in_timm(model: ImageClassifier, arguments: dict[str, int], classifier: Any) -> bool:
    """Returns whether timm's network ends, after its features without a classifier, in a layer like our head."""
    if not isinstance(classifier, str) or not isinstance(model.backbone, PretrainedBackbone):
        return False
    whole = _created({"architecture": model.backbone.name, "num_classes": model.num_classes, "model_args": arguments})
    own = {f"{classifier}.weight", f"{classifier}.bias"}
    layer = dict(whole.named_modules()).get(classifier)
    return (
        isinstance(layer, nn.Linear)
        and layer.in_features == model.features_dim
        and whole.state_dict().keys() - own == model.backbone.network.state_dict().keys()
    )


_PROGRAM = """\
import json
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file
from torch.nn import functional as F

folder = Path(".")  # where this file is
config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
{network}
image = Image.open("photo.jpg")
{before_upright}image = ImageOps.exif_transpose(image)
{in_eight_bits}image = image.convert("{mode}")
image = {scaled}
pixels = torch.from_numpy(np.array(image)).reshape({size}, {size}, {channels}).permute(2, 0, 1)[None] / 255
x = pixels[..., {first}:{last}, {first}:{last}]
x = (x - torch.tensor({mean}).view(1, -1, 1, 1)) / torch.tensor({std}).view(1, -1, 1, 1)
"""

_ONE_NETWORK = """\
network = timm.create_model(config["architecture"], num_classes=config["num_classes"], **config["model_args"]).eval()
network.load_state_dict(load_file(folder / "model.safetensors"))
"""

_SEVERAL_NETWORKS = """\
joined, others = config["joined"], load_file(folder / "joined.safetensors")
networks = []
for number, each in enumerate(joined["networks"]):
    networks.append(timm.create_model(each["architecture"], num_classes=0, **each["model_args"]).eval())
    own = {key.removeprefix(f"{number}."): tensor for key, tensor in others.items() if key.startswith(f"{number}.")}
    networks[-1].load_state_dict(own if number else load_file(folder / "model.safetensors"))


def channels(values):
    return torch.tensor(values).view(1, -1, 1, 1)


def network(x):
    x = x * channels(joined["std"]) + channels(joined["mean"])
    features = []
    for each, seen in zip(networks, joined["networks"]):
        pixels, size = x.shape[-1], seen["size"]
        lines = torch.eye(pixels)[None, None]
        matrix = F.interpolate(lines, size=(size, pixels), mode="bicubic", antialias=True)[0, 0]
        own = x if size == pixels else matrix @ x @ matrix.T
        features.append(each((own - channels(seen["mean"])) / channels(seen["std"])))
    return torch.cat(features, dim=1)

"""

_ONE_IN_WORDS = """\
The network is {first}. `timm.create_model("local-dir:FOLDER", pretrained=True)` (a recent timm) is {what}."""

_SEVERAL_IN_WORDS = """\
The features of two or more networks are joined: {all}. `timm.create_model("local-dir:FOLDER", pretrained=True)` (a
recent timm) is the first of them; joined.safetensors holds the others, head.safetensors what follows them."""

_NOT_IN_EIGHT_BITS = """\
if image.mode.startswith("I"):  # Pillow would make white of all values above 255
    raise SystemExit("more than 8 bits, and the model has seen no such image: save it with 8 bits, or use dalib")
"""

_NOT_IN_COLOURS = """\
if ";16" in str(image.tile) and not image.mode.startswith("I"):
    raise SystemExit("colours of 16 bits, of which Pillow reads the upper 8: save it with 8 bits, or use dalib")
"""

_IN_EIGHT_BITS = """\
if image.mode.startswith("I"):  # whole numbers beyond 8 bits: {0} is black, {1} is white
    values = (np.array(image).astype(np.int64) - {0}) * 256 // ({1} - {0} + 1)
    image = Image.fromarray(values.clip(0, 255).astype(np.uint8))
"""


def _preprocessing_program(preprocessing: Preprocessing, network: str) -> str:
    """Returns the part of the README's program that makes the network and reads a photograph as ``x``."""
    size, first = preprocessing.size, (preprocessing.size - preprocessing.input_size) // 2
    resampling = f"Image.Resampling.{preprocessing.interpolation.upper()}"
    scaled = f"ImageOps.fit(image, ({size}, {size}), {resampling})"
    if preprocessing.fit == "stretch":
        scaled = f"image.resize(({size}, {size}), {resampling})"
    return _PROGRAM.format(
        network=network,
        before_upright=_NOT_IN_COLOURS if preprocessing.range not in (None, FULL) else "",
        in_eight_bits=_NOT_IN_EIGHT_BITS
        if preprocessing.range is None
        else _IN_EIGHT_BITS.format(*preprocessing.range),
        mode="L" if preprocessing.channels == 1 else "RGB",
        scaled=scaled,
        size=size,
        channels=preprocessing.channels,
        first=first,
        last=first + preprocessing.input_size,
        mean=list(preprocessing.mean or ()),
        std=list(preprocessing.std or ()),
    )


def _classifying_program(head: dict[str, Tensor]) -> str:
    """Returns the part of the README's program that classifies ``x``."""
    lines = ["", "", "def classify(x):", "    y = network(x)"]
    if head:
        lines[:0] = ['head = load_file(folder / "head.safetensors")']
    if "feature_mean" in head:
        lines += ['    y = (y - head["feature_mean"]) / head["feature_std"]']
    if "bottleneck.0.weight" in head:
        lines += ['    y = F.linear(y, head["bottleneck.0.weight"], head["bottleneck.0.bias"])']
        if "bottleneck.1.weight" in head:
            lines += [
                f"    norm = [head[f'bottleneck.1.{{name}}'] for name in {_NORM}]",
                "    y = F.batch_norm(y, *norm)",
            ]
        lines += ["    y = y.relu()"]
    if head:
        lines += ['    y = F.linear(y, head["head.weight"], head["head.bias"])']
    lines += ["    return y.softmax(dim=1)", "", ""]
    if "warps" in head:
        lines += [
            "def view(x, warp):",
            "    grid = F.affine_grid(warp[None], x.shape, align_corners=False)",
            '    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)',
            "",
            "",
        ]
    mean = 'torch.stack([classify(view(x, warp)) for warp in head["warps"]]).mean(dim=0)[0]'
    lines += [
        "with torch.no_grad():",
        f"    probabilities = {mean if 'warps' in head else 'classify(x)[0]'}",
        'print(json.dumps(dict(zip(config["label_names"], probabilities.tolist()))))',
    ]
    return "\n".join(lines)


def _names_of(networks: Sequence[dict[str, Any]]) -> str:
    """Returns the names of joined networks; one network with two kinds of statistics is named once.

    >>> _names_of([{"architecture": "resnet18"}, {"architecture": "resnet50"}])
    'resnet18 and resnet50, each with the image in its own size and normalisation'
    >>> _names_of([{"architecture": "resnet18"}, {"architecture": "resnet18"}])
    'resnet18 with pretrained normalisation statistics, and once more with statistics of the images'
    """
    names = [each["architecture"] for each in networks]
    half = names[: len(names) // 2]
    if half * 2 == names:
        twice = "with pretrained normalisation statistics, and once more with statistics of the images"
        return f"{' and '.join(half)} {twice}"
    return f"{' and '.join(names)}, each with the image in its own size and normalisation"


def _usage(config: dict[str, Any], head: dict[str, Tensor], preprocessing: Preprocessing) -> str:
    """Returns what the folder holds, and the program that predicts with it, in Markdown."""
    several = "joined" in config
    program = _preprocessing_program(preprocessing, _SEVERAL_NETWORKS if several else _ONE_NETWORK)
    program += _classifying_program(head)
    if not head:
        program = program.replace("from torch.nn import functional as F\n", "")
    network = _SEVERAL_IN_WORDS if several else _ONE_IN_WORDS
    network = network.format(
        first=config["architecture"],
        all=_names_of(config["joined"]["networks"]) if several else "",
        what="the backbone; head.safetensors holds what follows it" if head else "the whole classifier",
    )
    return f"""\
{network} To predict an image with timm and torch alone:

```python
{program}
```

With dalib: `import dalib; dalib.load("FOLDER")("photo.jpg")`.
"""
