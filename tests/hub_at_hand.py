"""A cache of the hub with networks in it, and speeds that nobody measures."""

import pytest
from huggingface_hub import constants

from dalib.models.hub import fetch_weights
from dalib.models.pretrained import hub_repository
from dalib.run.settings import at_hand
from small_hub import SmallHub, config_of, served, weights_of

NETWORK = "test_resnet"
OWN = hub_repository(NETWORK)[0]


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """An empty cache of the hub, and an empty one of ours."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("DALIB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "hub"


@pytest.fixture
def filled(hub_cache, monkeypatch):
    """A cache with timm's own network, one of a lab, and one of another library."""
    with served(SmallHub()) as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        )
        content = weights_of(NETWORK)
        hub.put(OWN, model__safetensors=content, config__json=config_of(NETWORK))
        hub.put("lab/own", model__safetensors=content, config__json=config_of(NETWORK))
        hub.put("lab/bert", model__safetensors=content, config__json=b'{"architectures": ["Bert"]}')
        for asked in ("hub", "hf_hub:lab/own", "hf_hub:lab/bert"):
            fetch_weights(asked, NETWORK)
    card = "---\ntags:\n- timm\nlicense: mit\n---\n# A network\nlicense: gpl-3.0\n"
    next((hub_cache / "models--lab--own").glob("snapshots/*/config.json")).with_name("README.md").write_text(card)
    return len(content)


@pytest.fixture
def measured(monkeypatch):
    """Measures nothing; the list says what would have been."""
    calls = []

    def measure(network, pixels, device):
        calls.append((network, pixels, device.type))
        return 100.0 + len(calls)

    monkeypatch.setattr(at_hand, "images_per_second", measure)
    return calls
