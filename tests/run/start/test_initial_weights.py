"""Runs whose weights are of the hub, against a small one on loopback: what is recorded, resumed, and works without."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import constants
from PIL import Image
from safetensors.torch import load, load_file

import dalib
from dalib.commands.main import run
from dalib.core.errors import UserError
from dalib.models.pretrained import hub_repository
from dalib.records.summary import HubRecord, Summary
from dalib.run.settings.presets import from_preset
from dalib.run.start.initial_weights import Start, fetched
from small_hub import SmallHub, config_of, served, weights_of

NETWORK = "test_resnet"
OWN = hub_repository(NETWORK)[0]
QUICK = "--steps 4 --batch 4 --features 2 --data.size 32 --data.validation_share 0.2"
OFTEN = "--every.log 2 --every.evaluate 2 --every.checkpoint 2"


@pytest.fixture(scope="module")
def content():
    return weights_of(NETWORK)


@pytest.fixture
def hub(tmp_path, content, monkeypatch):
    with served(SmallHub()) as small:
        small.put(OWN, model__safetensors=content, config__json=config_of(NETWORK))
        template = small.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "ENDPOINT", small.endpoint)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield small


def arguments(images: Path, out: Path, *more: str) -> list[str]:
    where = ["--source", f"{images}/source", "--target", f"{images}/target", "--out", str(out)]
    named = ["--backbone", NETWORK] if "--backbone" not in more else []
    weights = ["--weights", "hub"] if not {"--weights", "--backbone"} & set(more) else []
    return ["train", *where, *named, *weights, *QUICK.split(), *OFTEN.split(), *more]


def trained(images: Path, out: Path, *more: str) -> Summary:
    assert run(arguments(images, out, *more)) == 0
    return Summary.read(out / "summary.json")


def cut(out: Path) -> Path:
    """Takes a run's last checkpoint and model away, as if it had been stopped."""
    (out / "checkpoints" / "step-000000004.pt").unlink()
    shutil.rmtree(out / "model")
    return out


def test_a_run_records_repository_revision_and_digest(hub, images, tmp_path, content, capsys):
    summary = trained(images, tmp_path / "run")
    commit = hub.repositories[OWN][0][0]
    assert summary.hub is not None
    assert (summary.hub.repository, summary.hub.revision, summary.hub.file) == (OWN, commit, "model.safetensors")
    assert len(summary.hub.sha256) == 64
    assert (summary.settings["weights"], summary.settings["backbone"]) == ("hub", NETWORK)
    assert yaml.safe_load((tmp_path / "run/config.yaml").read_text())["weights"] == "hub"
    assert "downloading model.safetensors" in capsys.readouterr().out
    saved, first = load_file(tmp_path / "run/model/model.safetensors"), load(content)
    assert all(
        torch.equal(saved[f"backbone.network.{name}"], each) for name, each in first.items() if "fc." not in name
    )


def test_a_backbone_may_be_a_repository(hub, images, tmp_path):
    commit = hub.put("lab/own", model__safetensors=weights_of(NETWORK, 3), config__json=config_of(NETWORK))
    summary = trained(images, tmp_path / "run", "--backbone", "hf_hub:lab/own")
    assert summary.hub is not None
    assert (summary.hub.repository, summary.hub.revision) == ("lab/own", commit)
    assert (summary.settings["backbone"], summary.settings["weights"]) == ("hf_hub:lab/own", None)
    model = json.loads((tmp_path / "run/model/config.json").read_text())
    assert model["architecture"]["backbone"] == NETWORK
    assert model["preprocessing"]["std"] == [0.25] * 3  # which config.json of the repository states, and timm does not
    assert run(["train", "--resume", str(cut(tmp_path / "run"))]) == 0


def test_what_was_trained_works_without_the_hub(hub, images, tmp_path, monkeypatch):
    trained(images, tmp_path / "run")
    assert run(["export", str(tmp_path / "run"), "--format", "hf", "--out", str(tmp_path / "exported")]) == 0
    assert run(["export", str(tmp_path / "run"), "--format", "torch", "--out", str(tmp_path / "own")]) == 0
    shutil.rmtree(tmp_path / "hub")
    hub.repositories.clear()
    hub.requests.clear()
    Image.new("RGB", (40, 40), "red").save(tmp_path / "photo.png")
    expected = dalib.load(tmp_path / "run", device="cpu")(tmp_path / "photo.png").probabilities
    for place in ("exported", "own"):
        got = dalib.load(tmp_path / place, device="cpu")(tmp_path / "photo.png").probabilities
        assert np.allclose(list(got.values()), list(expected.values()), atol=1e-5)
    assert (
        run(["predict", str(tmp_path / "run"), "--images", f"{images}/target", "--out", str(tmp_path / "p.csv")]) == 0
    )
    assert hub.requests == []


def test_resuming_goes_on_with_the_same_weights_with_and_without_the_hub(hub, images, tmp_path, monkeypatch):
    out = tmp_path / "run"
    trained(images, out)
    before = load_file(out / "model/model.safetensors")
    assert run(["train", "--resume", str(cut(out))]) == 0
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert run(["train", "--resume", str(cut(out))]) == 0
    after = load_file(out / "model/model.safetensors")
    assert all(torch.equal(each, after[name]) for name, each in before.items())


def test_resuming_refuses_another_revision_and_says_how_to_keep_the_first(hub, images, tmp_path, capsys):
    out = tmp_path / "run"
    trained(images, out)
    before = load_file(out / "model/model.safetensors")
    first = hub.repositories[OWN][0][0]
    second = hub.put(OWN, model__safetensors=weights_of(NETWORK, 5), config__json=config_of(NETWORK))
    capsys.readouterr()
    assert run(["train", "--resume", str(cut(out))]) == 2
    said = capsys.readouterr().err
    assert f"the weights of {OWN} were revision {first}, are {second}, and their content is another" in said
    assert f"write weights: hf_hub:{OWN}@{first} into {out}/config.yaml" in said
    assert "--allow_changes" in said
    assert said.count("has changed") == 0  # it is told once
    text = (out / "config.yaml").read_text()
    (out / "config.yaml").write_text(text.replace("weights: hub\n", f"weights: hf_hub:{OWN}@{first}\n"))
    assert run(["train", "--resume", str(out)]) == 0
    after = load_file(out / "model/model.safetensors")
    assert all(torch.equal(each, after[name]) for name, each in before.items())
    (out / "config.yaml").write_text(text)
    assert run(["train", "--resume", str(cut(out)), "--allow_changes"]) == 0
    assert f"note: the weights of {OWN} were revision {first}, are {second}" in capsys.readouterr().out


def test_resuming_refuses_another_revision_of_the_same_content_and_says_that_it_is_the_same(
    hub, images, tmp_path, content, capsys
):
    trained(images, tmp_path / "run")
    hub.put(OWN, model__safetensors=content, README__md=b"a comma more")
    assert run(["train", "--resume", str(cut(tmp_path / "run"))]) == 2
    assert "and their content is the same" in capsys.readouterr().err


def test_resuming_refuses_a_copy_in_the_cache_that_is_not_what_it_was(
    hub, images, tmp_path, content, capsys, monkeypatch
):
    out = tmp_path / "run"
    trained(images, out)
    file = next((tmp_path / "hub").rglob("snapshots/*/model.safetensors")).resolve()
    file.chmod(0o644)
    file.write_bytes(weights_of(NETWORK, 9))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert run(["train", "--resume", str(cut(out))]) == 2
    said = capsys.readouterr().err
    assert "had the sha256" in said
    assert "the copy in the cache is damaged" in said


def test_an_older_run_and_one_of_a_file_have_no_record(images, tmp_path, content):
    (tmp_path / "weights.safetensors").write_bytes(content)
    summary = trained(images, tmp_path / "run", "--weights", str(tmp_path / "weights.safetensors"))
    assert summary.hub is None
    assert "hub" not in json.loads((tmp_path / "run/summary.json").read_text())


def test_without_hub_and_cache_the_command_says_what_to_do_and_trains_nothing(
    hub, images, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert run(arguments(images, tmp_path / "run")) == 2
    said = capsys.readouterr().err
    assert "--weights hub: " in said
    assert "--weights model.safetensors" in said
    assert "--backbone lite0, whose weights are installed with dalib" in said
    assert not (tmp_path / "run").exists()


def test_hub_is_no_backbone(capsys, images, tmp_path):
    assert run(arguments(images, tmp_path / "run", "--backbone", "hub")) == 2
    assert "--backbone hub: expected a network, such as resnet50 with --weights hub" in capsys.readouterr().err


def test_weights_of_the_hub_want_a_network_of_timm(images, tmp_path, capsys):
    assert run(arguments(images, tmp_path / "run", "--backbone", "small", "--weights", "hub")) == 2
    said = capsys.readouterr().err
    assert "--weights hub: the hub has none for --backbone small" in said
    assert "expected a network of timm's, such as --backbone resnet50" in said


def test_several_processes_are_told_what_the_first_has_fetched(hub):
    """The first one asks the hub which state is the newest; the others fetch that one, though another came since."""

    class Other:
        first, size = False, 2

        def from_first(self, say):
            found = say()
            hub.put(OWN, model__safetensors=weights_of(NETWORK, 7))
            return found

    config = from_preset("photo-features", source="a", target="b", backbone=NETWORK, weights="hub")
    (pinned,), of_hub = fetched(config.backbones, init=False, world=Other())
    commit = hub.repositories[OWN][0][0]
    assert pinned.weights == f"hf_hub:{OWN}@{commit}"
    assert config.with_backbones([pinned]).with_backbones([of_hub.asked]) == config
    assert of_hub.record == HubRecord(OWN, commit, "model.safetensors", of_hub.record.sha256)


def test_checks_tell_of_weights_that_cannot_be_had(hub, images, monkeypatch, capsys):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    where = ["--source", f"{images}/source", "--target", f"{images}/target"]
    assert run(["checks", *where, "--backbone", NETWORK, "--weights", "hub"]) == 2
    assert "HF_HUB_OFFLINE is set" in capsys.readouterr().err


def test_the_environment_of_huggingface_hub_is_obeyed(hub, tmp_path):
    """Processes of their own, because huggingface_hub reads its variables when it is imported."""
    cache = tmp_path / "home" / "hub"
    environment = {**os.environ, "HF_ENDPOINT": hub.endpoint, "HF_HOME": str(cache.parent)}
    program = f"from dalib.models.hub import fetch_weights; fetch_weights('hub', {NETWORK!r})"

    def said(**more: str) -> str:
        given = {**environment, **more}
        done = subprocess.run([sys.executable, "-c", program], env=given, capture_output=True, text=True, timeout=250)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert f"downloading model.safetensors (1.5 MB) of {OWN} from {hub.endpoint}" in said(HF_HUB_OFFLINE="0")
    assert list(cache.rglob("model.safetensors"))
    hub.repositories.clear()
    assert f"HF_HUB_OFFLINE is set: {OWN} is taken from the cache" in said(HF_HUB_OFFLINE="1")


def test_several_backbones_are_fetched_each_with_the_commit_of_its_weights(hub):
    commits = (
        hub.repositories[OWN][0][0],
        hub.put("lab/own", model__safetensors=weights_of(NETWORK, 3), config__json=config_of(NETWORK)),
    )
    asked = from_preset("photo-features", backbone=[NETWORK, "hf_hub:lab/own"], weights="hub")
    backbones, of_hub = fetched(asked.backbones, init=False)
    config = asked.with_backbones(backbones)
    assert config.backbone == [NETWORK, NETWORK]
    assert config.weights == [f"hf_hub:{OWN}@{commits[0]}", f"hf_hub:lab/own@{commits[1]}"]
    assert of_hub is None  # the names say it all
    assert fetched(backbones, init=False) == (backbones, None)


@pytest.mark.parametrize(
    ("content", "remedy"),
    [
        ({"architecture": "resnet50"}, r"its weights .* backbone: backbone='resnet50' weights='.*model.safetensors'"),
        ({"architecture": {"backbone": "digits"}}, r"Without the source's images, .* dalib.adapt\(kit="),
    ],
    ids=["timm", "dalib"],
)
def test_a_model_without_its_run_is_told_what_it_is_good_for(tmp_path, content, remedy):
    (tmp_path / "config.json").write_text(json.dumps(content))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match=remedy):
        Start.of(str(tmp_path))
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(UserError, match=r"expected a run to start from beside a source$"):
        Start.of(str(tmp_path / "model.onnx"))


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("nowhere", r"init='.*nowhere': no such folder"),
        ("images", r"init='.*images': not a run folder"),
        ("model/model.safetensors", r"init='.*model.safetensors': a model without its run; .*kit='.*model'"),
        ("studio.dalib", r"init='.*studio.dalib': a kit"),
    ],
)
def test_what_is_no_run_to_start_from_is_named_by_the_argument_that_took_it(place, message, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "model").mkdir()
    for file in ("model/model.safetensors", "model/config.json", "studio.dalib"):
        (tmp_path / file).write_bytes(b"{}")
    with pytest.raises(UserError, match=message):
        Start.of(str(tmp_path / place))
