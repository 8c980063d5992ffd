"""Networks as files for other programs: any batch, the same probabilities, and what goes with them."""

import functools
import json

import pytest
import torch
from torch import nn

from dalib.core.errors import UserError
from dalib.data.preprocessing import Preprocessing
from dalib.models.architecture import Architecture
from dalib.models.averaged import AveragedViews
from dalib.models.classifier import ImageClassifier
from dalib.models.exported import (
    PixelsToProbabilities,
    read_onnx,
    read_program,
    ready_to_trace,
    traced,
    write_onnx,
    write_program,
)
from dalib.models.known import KnownRule
from dalib.models.padding import Conv2dSame
from dalib.models.saved import FORMAT, ModelDescription, content_of

ARCHITECTURE = Architecture(backbones=("small",), bottleneck_dim=6, channels=3, size=11)
CPU = torch.device("cpu")
PREPROCESSING = Preprocessing(13, 3, crop=11, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
FORMS = {"onnx": (write_onnx, read_onnx), "pt2": (write_program, read_program)}


class Padded(nn.Sequential):
    """Convolutions with padding of TensorFlow's kind: 11 -> 6 -> 3 pixels, an uneven padding in the second."""

    out_features = 5

    def __init__(self):
        super().__init__(
            Conv2dSame(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(), Conv2dSame(4, 5, 3, stride=2, groups=1)
        )


def make_classifier():
    torch.manual_seed(0)
    network = ImageClassifier(Padded(), 4, 6, dropout=0.5, standardize=True)
    network(torch.randn(8, 3, 11, 11))
    nn.init.normal_(network.head.weight, std=3)
    return network.eval()


@pytest.fixture
def classifier():
    return make_classifier()


def predictor(network, views):
    return AveragedViews(network, views, flip=True) if views else network


@functools.cache
def program_of(preprocessing, views=0):
    """The classifier's traced program, which both forms are written of: to trace takes longer than to write."""
    return traced(predictor(ready_to_trace(make_classifier(), preprocessing), views), preprocessing)


def images_of(count):
    return torch.randint(0, 256, (count, 3, 13, 13), dtype=torch.uint8)


@pytest.mark.parametrize("views", [0, 3])
@pytest.mark.parametrize("preprocessing", [PREPROCESSING, Preprocessing(13, 3, crop=11)], ids=["fixed", "own"])
@pytest.mark.parametrize("form", FORMS)
def test_any_batch_gives_the_probabilities_of_the_network(form, preprocessing, views, classifier, tmp_path):
    write, read = FORMS[form]
    description = ModelDescription(ARCHITECTURE, ("a", "b", "Ü", "d, e"), preprocessing, KnownRule(0.4, 0.05))
    write(tmp_path / f"m.{form}", program_of(preprocessing, views), description)
    opened = read(tmp_path / f"m.{form}", CPU)
    assert opened.description == description
    plain = PixelsToProbabilities(predictor(classifier, views), preprocessing).eval()
    for count in (1, 2, 7):
        images = images_of(count)
        with torch.no_grad():
            expected = plain(images)
        assert expected.std() > 0.05
        torch.testing.assert_close(opened.probabilities(images), expected, rtol=0, atol=1e-5)


def test_a_gpu_that_onnx_runtime_cannot_use_is_told_or_passed_over(tmp_path, monkeypatch):
    onnxruntime = pytest.importorskip("onnxruntime")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    description = ModelDescription(ARCHITECTURE, ("a", "b", "c", "d"), PREPROCESSING)
    write_onnx(tmp_path / "m.onnx", program_of(PREPROCESSING), description)
    with pytest.raises(UserError, match="device='cuda': this ONNX Runtime runs on CPUs alone"):
        read_onnx(tmp_path / "m.onnx", torch.device("cuda"), fall_back=False)
    assert read_onnx(tmp_path / "m.onnx", torch.device("cuda")).probabilities(images_of(2)).shape == (2, 4)


def test_getting_ready_changes_nothing(classifier):
    before = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    ready = ready_to_trace(classifier, PREPROCESSING)
    assert not any(type(module) is Conv2dSame for module in ready.modules())
    assert all(tensor.is_contiguous() for tensor in ready.state_dict().values())
    assert classifier.state_dict().keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in classifier.state_dict().items())
    assert any(type(module) is Conv2dSame for module in classifier.modules())


@pytest.mark.parametrize("form", FORMS)
def test_a_file_of_a_newer_format_or_without_a_description_is_told(form, tmp_path, monkeypatch):
    write, read = FORMS[form]
    program = program_of(PREPROCESSING)
    description = ModelDescription(ARCHITECTURE, ("a", "b", "c", "d"), PREPROCESSING)
    newer = {**content_of(description), "format": FORMAT + 1}
    path = tmp_path / f"m.{form}"
    for content, expected in ((newer, "update dalib"), ([], "not a model of dalib's")):
        with monkeypatch.context() as patched:
            patched.setattr("dalib.models.exported.content_of", lambda _, content=content: content)
            write(path, program, description)
        with pytest.raises(UserError, match=expected):
            read(path, CPU)
    if form == "pt2":
        torch.export.save(program, path)
        with pytest.raises(UserError, match="not a program that"):
            read(path, CPU)


def test_the_description_is_json_that_others_can_read(classifier, tmp_path):
    description = ModelDescription(ARCHITECTURE, ("a", "b", "c", "d"), PREPROCESSING)
    write_program(tmp_path / "m.pt2", traced(classifier, PREPROCESSING), description)
    extra = {"dalib": ""}
    torch.export.load(tmp_path / "m.pt2", extra_files=extra)
    content = json.loads(extra["dalib"])
    assert content["classes"] == ["a", "b", "c", "d"]
    assert (content["preprocessing"]["size"], content["preprocessing"]["crop"]) == (13, 11)
