"""``dalib export``: a run's model in a form that other programs open, checked against PyTorch before it is there.

``onnx`` and ``torch-export`` need no dalib afterwards, and take images that are decoded and scaled
(:mod:`dalib.models.exported`). ``hf`` is a folder for timm (:mod:`dalib.models.timm_folder`); of timm's networks alone.
``torch`` is the model's own folder, weights and config.json, for ``dalib.load``: what to keep of a run that is deleted.
``kit`` is a file that stands in for the source in :mod:`dalib.run.start.kit`.
Both folders have a model card, README.md (``dalib.report.card``).
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from dalib.core.console import CountedProgress, say
from dalib.core.errors import Setting, UserError
from dalib.core.files import expanded, make_parent, put_in_place, write_text
from dalib.data.fingerprint import fingerprint
from dalib.engine.distributed import ALONE
from dalib.engine.predict import predict_probabilities, predict_with_features
from dalib.models.domain_statistics import normalisation_statistics
from dalib.models.exported import ready_to_trace, traced, write_onnx, write_program
from dalib.models.network import load_classifier, load_model, make_predictor
from dalib.models.timm_folder import write_timm_folder
from dalib.records.folder import RunFolder, models_of
from dalib.records.summary import Summary
from dalib.report.card import model_card
from dalib.run.features.domain_features import features_of_source
from dalib.run.features.neutral_features import neutral_source
from dalib.run.finished.load import chosen_model, model_folder, open_model
from dalib.run.recipe import image_network
from dalib.run.settings.config_file import read_plain_config
from dalib.run.setup import frozen_space, prepare
from dalib.run.start.domains import open_source_alone
from dalib.run.start.kit import SourceOfKit, content_line, write_kit

if TYPE_CHECKING:
    from torch import Tensor

    from dalib.data.domain_images import LabelledImages
    from dalib.data.preprocessing import Preprocessing
    from dalib.run.setup import Setup
    from dalib.run.start.domains import SourceImages

ExportFormat = Literal["onnx", "torch-export", "torch", "hf", "kit"]

TOLERANCE = 1e-3
"""The largest difference of the logits that is let pass, as a share of their range.

Another order of float32 sums changes less: 6e-6 of the range in EfficientNet-Lite0 by ONNX Runtime, 2e-7 by
torch.export. Deeper networks are left a hundred times that. A bias that is off by one hundredth of the range is found.
"""
_LEAST_PROBABILITY = 1e-37  # the smallest normal number of float32 is 1.2e-38, and some kernels round less to 0
_CANDIDATES = 12  # random images, of which the check takes those whose predictions are least sure
_BATCHES = (1, 3)  # of the check: one image, and a number that the graph was not made with
_STEPS = 3  # the network is there, it is written, it is checked
_ENDINGS = {"onnx": ".onnx", "torch-export": ".pt2", "kit": ".dalib"}
_OF_WEIGHTS = (".pt", ".pth", ".ckpt", ".safetensors", ".bin", ".pkl", ".tflite", ".h5")  # of files, never of a folder


def export(run: RunFolder | str | Path, format: ExportFormat, out: str | Path, *, model: str | None = None) -> Path:
    """Writes a run's model to ``out``, whole or not at all, and prints how far it is from PyTorch on random images.

    The logits are compared, up to the constant that softmax takes away: the probabilities of a network that is sure of
    everything are equal whatever is wrong with it.

    Args:
        format: ``onnx`` (a file .onnx), ``torch-export`` (a file .pt2), ``torch`` or ``hf`` (folders), ``kit`` (a
            file .dalib, of the source-only model).
        out: must not be there yet.
        model: ``adapted``, ``aligned`` or ``source-only``; by default the selected one. It predicts as
            the run does, with its mean over views if it has one.

    Raises:
        UserError: something is at ``out``, the network has no such form, a package is missing, or what was
            written does not predict as PyTorch does.
    """
    run, path = RunFolder.of(run), Path(expanded(out))
    if format == "kit":
        _check_place(path, format)
        return _export_kit(run, path, model)
    chosen = chosen_model(run.root, model)
    folder = model_folder(run, chosen.model)
    _check_place(path, format)
    say(f"exporting the {chosen.in_words}")
    try:
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.absolute().parent))
        try:
            made = temporary / path.name  # torch wants the ending
            written = _write_and_check(made, format, folder)
            if written.usage:
                library = "timm" if format == "hf" else "dalib"
                card = model_card(
                    run.read_records(), chosen.model or "", written.classes, library=library, usage=written.usage
                )
                write_text(made / "README.md", card)
            images, difference = written.images, written.difference
            if not difference <= TOLERANCE:  # NaN is none
                raise UserError(
                    Setting("format", format),
                    f": the logits differ from PyTorch's by up to {difference:.1e} of their range, {TOLERANCE:.0e} ",
                    "is allowed; nothing was written. Choose another format",
                )
            put_in_place(made, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise _not_written(path, error) from error
    say(f"largest difference from PyTorch {difference:.1e} of the logits' range, on {images} images")
    return path


def _export_kit(run: RunFolder, path: Path, model: str | None) -> Path:
    """Writes a kit: reads the source's images again, or their features if they are kept."""
    config = read_plain_config(run.config)
    kit = Setting("format", "kit")
    if model not in (None, "source-only"):
        raise UserError(Setting("model", model), ": a kit holds the source-only model; leave it out")
    if config.kit is not None:
        raise UserError(
            kit, f": {run.root} has no images of the source, it was trained from a kit; pass on {config.kit}"
        )
    if "source-only" not in models_of(run):
        raise UserError(kit, f": {run.root} has no source-only model, which a kit holds; train one with a baseline")
    folder = model_folder(run, "source-only")
    # a kit has nothing of what the adaptation alone took, which may be gone by now
    setup = prepare(replace(config, hints=None, prior="uniform"), ALONE, for_training=False)
    opened = open_source_alone(setup.request, setup.preprocessing)
    train = opened.train
    known = Summary.read(run.summary).fingerprints["source"]
    if fingerprint(train.images, train.names, train.labels) != known:
        raise UserError(
            kit, f": the images of {setup.request.source_name} are not those that {run.root} was trained on"
        )
    neutral = None
    norms: dict[str, Tensor] = {}
    if config.features:
        features, norms = _features_of_frozen(setup, opened)
    else:
        features = _features_of_head(folder, train, setup)
        neutral = neutral_source(train, setup.device)
    predicted = load_file(run.predictions)
    source = SourceOfKit(
        folder,
        asdict(config),
        features,
        train.labels,
        predicted["validation/source-only"],
        predicted["validation/labels"],
        norms,
        neutral,
    )
    try:
        header = write_kit(path, source)
    except OSError as error:
        raise _not_written(path, error) from error
    say(content_line(header, source.validation_labels))
    return path


def _not_written(path: Path, error: OSError) -> UserError:
    reason = error.strerror or error
    return UserError(Setting("out", path), f": cannot be written ({reason}); make room, or choose another place")


def _features_of_frozen(setup: Setup, opened: SourceImages) -> tuple[Tensor, dict[str, Tensor]]:
    """Returns the frozen backbone's features (N, V, D) of the training images, and its pretrained statistics.

    The statistics are of batch normalisation, and there are some only where the run's models have others.
    """
    assert opened.whole is not None
    space = frozen_space(setup, len(opened.train.classes))
    share, norms = setup.config.model.domain_statistics, {}
    assert share != "auto"  # a run's configuration has what was chosen
    if share:
        norms = normalisation_statistics(space.network.backbone)
        space = space.with_statistics_of(opened.whole.images, share, "source")
    view = image_network.make_views(setup.config, setup.preprocessing).source
    features = features_of_source(space, opened.whole, view, setup.request)
    return features[opened.whole.training_rows], norms


def _features_of_head(folder: Path, train: LabelledImages, setup: Setup) -> Tensor:
    """Returns the inputs (N, 1, D) of a saved network's head for the training images, without augmentation."""
    network, description = load_classifier(folder)
    plain, device = description.preprocessing.normalize, setup.device
    network = network.to(device)
    _, features = predict_with_features(network, network.head, train.images, plain, device=device)
    return features[:, None]


@dataclass(frozen=True)
class _Written:
    """The outcome of an export: how to use it, if a folder can hold that, and how it was checked."""

    usage: str
    classes: tuple[str, ...]
    images: int
    difference: float


def _write_and_check(made: Path, format: ExportFormat, folder: Path) -> _Written:
    """Writes the model, and compares it with PyTorch's on random images."""
    with CountedProgress(f"steps of the export as {format}") as progress:
        network, description = load_model(folder)
        images = _random_images(_CANDIDATES, description.preprocessing)
        normalize = description.preprocessing.normalize
        expected = predict_probabilities(network, images, normalize, device=torch.device("cpu"))
        telling = expected.amax(dim=1).argsort(stable=True)[: sum(_BATCHES)]
        images, expected = images[telling], expected[telling]
        progress(1, _STEPS)
        usage = _write(made, format, folder)
        progress(2, _STEPS)
        difference = _difference(made, images, expected)
        progress(_STEPS, _STEPS)
    return _Written(usage, tuple(description.classes), len(images), difference)


def _difference(made: Path, images: Tensor, expected: Tensor) -> float:
    """Returns the largest difference of the written model's logits from PyTorch's, as a share of the latter's range.

    Args:
        expected: (N, K) probabilities that PyTorch has for the images.
    """
    probabilities = open_model(made, device="cpu").probabilities
    found = torch.cat([probabilities(part) for part in torch.split(images, list(_BATCHES))])
    logits = _logits(expected)
    largest = (_logits(found) - logits).abs().max().item()
    return largest / max(1.0, (logits.amax(dim=1) - logits.amin(dim=1)).max().item())


def _logits(probabilities: Tensor) -> Tensor:
    """Returns the logits (N, K) that softmax made these of, each image's but for a constant."""
    return probabilities.double().clamp(min=_LEAST_PROBABILITY).log()


def _check_place(path: Path, format: ExportFormat) -> None:
    if format not in get_args(ExportFormat):
        raise UserError(
            Setting("format", format),
            f": expected one of {', '.join(get_args(ExportFormat))}; timm opens hf, dalib.load opens torch",
        )
    ending = _ENDINGS.get(format)
    if ending is not None and path.suffix != ending:
        raise UserError(
            Setting("out", path), f": expected a file that ends in {ending} for ", Setting("format", format)
        )
    if ending is None and path.suffix.lower() in (*_ENDINGS.values(), *_OF_WEIGHTS):
        raise UserError(
            Setting("out", path),
            ": ",
            Setting("format", format),
            f" is a folder with model.safetensors and config.json in it; expected a name without {path.suffix}, or "
            f"one that ends in {_ENDINGS['onnx']} or {_ENDINGS['torch-export']} for ",
            Setting("format", "onnx"),
            " or torch-export",
        )
    if path.exists() or path.is_symlink():
        raise UserError(Setting("out", path), ": there is something already; remove it or give another name")
    make_parent(path)


def _write(path: Path, format: ExportFormat, folder: Path) -> str:
    """Writes the model; returns instructions for its use, where it is a folder."""
    model, description = load_classifier(folder)
    if format == "torch":
        path.mkdir()
        for name in ("config.json", "model.safetensors"):
            shutil.copyfile(folder / name, path / name)
        return _USAGE
    if format == "hf":
        path.mkdir()
        try:
            return write_timm_folder(path, model, make_predictor(model, description.architecture), description)
        except ValueError as error:
            raise UserError(
                Setting("format", "hf"), f": {error}; expected ", Setting("format", "onnx"), ", torch-export or torch"
            ) from None
    predictor = make_predictor(ready_to_trace(model, description.preprocessing), description.architecture)
    try:
        program = traced(predictor.eval(), description.preprocessing)
        (write_onnx if format == "onnx" else write_program)(path, program, description)
    except (UserError, OSError):  # a full disk is no fault of the network's
        raise
    except Exception as error:  # what torch cannot trace or translate it tells in many ways
        what = " ".join(str(error).split())[:300]
        raise UserError(
            Setting("format", format), f": torch cannot export this network ({what}); choose another format"
        ) from error
    return ""


def _random_images(count: int, preprocessing: Preprocessing) -> Tensor:
    """Draws images (count, C, size, size) uint8 with shapes and noise, as photographs have both; the same each time."""
    generator = torch.Generator().manual_seed(0)
    shape = (count, preprocessing.channels)
    coarse = torch.rand(*shape, 4, 4, generator=generator)
    smooth = F.interpolate(coarse, size=(preprocessing.size,) * 2, mode="bilinear", align_corners=False)
    noise = torch.randn(*shape, preprocessing.size, preprocessing.size, generator=generator)
    return (smooth * 255 + 12 * noise).clamp(0, 255).round().to(torch.uint8)


_USAGE = """\
config.json says what the network is and how it is fed, model.safetensors holds its weights. dalib opens it:

```python
import dalib

predictor = dalib.load("THIS FOLDER")
predictor("photo.jpg")
```

or `dalib predict "THIS FOLDER" --images photos/ --out photos.csv`.
"""
