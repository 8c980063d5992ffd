"""A trained network as one file that opens without this library: an ONNX graph, or a program of torch.export.

Either takes images as they are stored, (N, C, size, size) uint8 with any N, and gives probabilities (N, K) float32:
the centred crop, normalisation, the mean over views and softmax are in the graph. Decoding and scaling to ``size`` are
not, because no graph does them as PIL does; the file describes this, beside the names of the classes, in the JSON that
a model's config.json has (:func:`dalib.models.saved.content_of`), under the key ``dalib``: of an ONNX file in its
metadata, of a program in its extra files.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dalib.core.errors import Call, Setting, UserError, in_a_line
from dalib.models.classifier import logits_of
from dalib.models.inference import with_static_padding
from dalib.models.saved import content_of, description_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch.export import ExportedProgram

    from dalib.data.preprocessing import Preprocessing
    from dalib.models.representation import FeatureNetwork
    from dalib.models.saved import ModelDescription

KEY = "dalib"
INPUT, OUTPUT = "images", "probabilities"


@dataclass(frozen=True)
class OpenedModel:
    """A model for prediction, from any file or folder that dalib opens."""

    description: ModelDescription
    probabilities: Callable[[Tensor], Tensor]
    """(N, C, size, size) uint8 -> (N, K) float32, on the CPU both."""
    faster: Callable[[], Callable[[Tensor], Tensor]] | None = None
    """Prepares a faster way to compute the same, which takes about a second; None where there is none."""
    representation: Callable[[], FeatureNetwork] | None = None
    """Returns a function that computes features of images; None for a file that gives probabilities alone."""

    def for_many(self) -> OpenedModel:
        """Returns the model prepared for many images: its probabilities are the same to rounding."""
        return self if self.faster is None else replace(self, probabilities=self.faster(), faster=None)


class PixelsToProbabilities(nn.Module):
    """Everything after decoding and scaling in one call: (N, C, size, size) uint8 -> probabilities (N, K) float32.

    >>> from dalib.data.preprocessing import Preprocessing
    >>> network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    >>> PixelsToProbabilities(network, Preprocessing(8, 1))(torch.zeros(2, 1, 8, 8, dtype=torch.uint8)).shape
    torch.Size([2, 3])
    """

    def __init__(self, predictor: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.predictor, self.preprocessing = predictor, preprocessing

    def forward(self, images: Tensor) -> Tensor:
        return logits_of(self.predictor, self.preprocessing.normalize(images)).float().softmax(dim=1)


def ready_to_trace(model: nn.Module, preprocessing: Preprocessing) -> nn.Module:
    """Returns a copy of a classifier in evaluation mode, with plain memory and with padding that exporters support.

    torch 2.14 loses the padding of a kernel when it translates to ONNX, and the padding of images is slow.
    """
    size = preprocessing.input_size
    copied = with_static_padding(model, torch.zeros(1, preprocessing.channels, size, size))
    for tensor in (*copied.parameters(), *copied.buffers()):
        # a view of other memory, or channels_last, would be written so
        tensor.data = tensor.detach().clone(memory_format=torch.contiguous_format)
    return copied


def traced(predictor: nn.Module, preprocessing: Preprocessing) -> ExportedProgram:
    """Traces a predictor, images -> logits, for any number of images of the stored size."""
    size = preprocessing.size
    # two of them: a batch of one would be taken for a constant
    images = torch.zeros(2, preprocessing.channels, size, size, dtype=torch.uint8)
    with torch.no_grad():
        return torch.export.export(
            PixelsToProbabilities(predictor, preprocessing).eval(),
            (images,),
            dynamic_shapes={INPUT: {0: torch.export.Dim("batch", min=1)}},
            strict=False,
        )


def write_program(path: Path, program: ExportedProgram, description: ModelDescription) -> None:
    """Writes a ``.pt2`` file: ``torch.export.load(path).module()(images)`` predicts."""
    torch.export.save(program, path, extra_files={KEY: json.dumps(content_of(description))})


def read_program(path: Path, device: torch.device) -> OpenedModel:
    """Reads a file of :func:`write_program`. torch may unpickle parts of it: open only files that you trust.

    Raises:
        UserError: not such a file.
    """
    extra = {KEY: ""}
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("not an archive of torch's")
        program = torch.export.load(path, extra_files=extra)
        content = json.loads(extra[KEY])
    except Exception as error:  # torch raises whatever it likes
        raise UserError(
            f"{path}: not a program that `", Call("dalib.run.export.export"), f"` wrote ({in_a_line(error)})"
        ) from None
    description = description_of(content, path)
    if device.type != "cpu":
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, device)
    network = program.module()

    def probabilities(images: Tensor) -> Tensor:
        with torch.no_grad():
            found: Tensor = network(images.to(device))
        return found.cpu()

    return OpenedModel(description, probabilities)


def write_onnx(path: Path, program: ExportedProgram, description: ModelDescription) -> None:
    """Writes an ``.onnx`` file with the input ``images`` and the output ``probabilities``.

    Raises:
        UserError: what torch needs for it is not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(
            Setting("format", "onnx"), f": {error.name} is not installed; pip install onnx onnxscript onnxruntime"
        ) from None
    translated: Any = torch.onnx.export(program, dynamo=True, input_names=[INPUT], output_names=[OUTPUT], verbose=False)
    translated.model.metadata_props[KEY] = json.dumps(content_of(description))
    translated.save(str(path), include_initializers=True, external_data=False)


def read_onnx(path: Path, device: torch.device, *, fall_back: bool = True) -> OpenedModel:
    """Reads a file of :func:`write_onnx`, run by ONNX Runtime; torch builds no network.

    Args:
        device: device that it runs on.
        fall_back: to the CPU, where ONNX Runtime has no support of the GPU that was chosen.

    Raises:
        UserError: ONNX Runtime is not installed, or without support of GPUs, or not such a file.
    """
    try:
        import onnxruntime
    except ImportError:
        raise UserError(f"{path}: onnxruntime is not installed; pip install onnxruntime") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors alone
    providers = ["CPUExecutionProvider"]
    if device.type == "cuda":
        if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            providers.insert(0, "CUDAExecutionProvider")
        elif not fall_back:
            raise UserError(
                Setting("device", str(device)),
                ": this ONNX Runtime runs on CPUs alone; pip install onnxruntime-gpu, or leave out ",
                Setting("device"),
            )
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        content = json.loads(session.get_modelmeta().custom_metadata_map[KEY])
    except Exception as error:  # its errors have no common class
        raise UserError(
            f"{path}: not a graph that `", Call("dalib.run.export.export"), f"` wrote ({in_a_line(error)})"
        ) from None

    def probabilities(images: Tensor) -> Tensor:
        (found,) = session.run([OUTPUT], {INPUT: images.contiguous().numpy()})
        return torch.from_numpy(found)

    return OpenedModel(description_of(content, path), probabilities)
