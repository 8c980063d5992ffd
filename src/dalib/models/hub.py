"""Weights from Hugging Face's hub: fetched when they are asked for, kept in its cache, and safetensors alone.

``hub`` is the repository that timm names for a network, ``hf_hub:OWNER/NAME`` another one, and
``hf_hub:OWNER/NAME@REVISION`` one state of it. huggingface_hub downloads them, and obeys its own environment variables:
HF_HUB_OFFLINE=1 (take what is in the cache, and ask nobody), HF_ENDPOINT (a mirror), HF_HOME and HF_HUB_CACHE (where
the cache is), HF_TOKEN (for private repositories). Nothing is unpickled: a repository without safetensors is refused.

A revision that is a whole commit and lies in the cache is taken from there without asking the hub.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.filesize import decimal

from dalib._version import __version__
from dalib.core.console import BytesProgress, say
from dalib.core.errors import Setting, UserError, in_a_line
from dalib.models.pretrained import (
    PACKAGES,
    PretrainedSettings,
    how_to_install,
    hub_repository,
    licence_of,
    pretrained_settings,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dalib.core.errors import Part

OF_TIMM = "hub"
"""Stands for the repository that timm names for the network."""

PREFIXES = ("hf_hub:", "hf-hub:")
"""Prefixes of the name of another repository; timm writes both."""

WEIGHTS, CONFIG = "model.safetensors", "config.json"

SECONDS = 10
"""Seconds within which the hub has to answer."""

_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?(@[\w./-]+)?", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_LARGEST_SIDE = 4096  # pixels that a repository may ask for


@dataclass(frozen=True)
class HubWeights:
    """A file of weights in the hub's cache, and what it is a copy of.

    Attributes:
        repository: owner and name.
        revision: the commit.
        file: name of the file in the repository.
        sha256: digest of its content.
        path: where it lies here.
    """

    repository: str
    revision: str
    file: str
    sha256: str
    path: Path

    @property
    def pinned(self) -> str:
        """The name that stands for this state of the repository, whatever it becomes later.

        >>> HubWeights("timm/resnet18.a1_in1k", "0" * 4, "model.safetensors", "", Path()).pinned
        'hf_hub:timm/resnet18.a1_in1k@0000'
        """
        return f"{PREFIXES[0]}{self.repository}@{self.revision}"


def is_hub(name: object) -> bool:
    """Returns whether a name is that of weights, or of a network, on the hub.

    >>> is_hub("hub"), is_hub("hf_hub:timm/resnet18.a1_in1k"), is_hub("weights.safetensors")
    (True, True, False)
    """
    return isinstance(name, str) and (name == OF_TIMM or name.startswith(PREFIXES))


def fetch_weights(asked: str, network: str) -> HubWeights:
    """Returns the weights of a network, fetched from the hub unless they are in its cache.

    Args:
        asked: ``hub``, or ``hf_hub:OWNER/NAME`` with or without ``@REVISION``.
        network: timm's name of the network that takes them.

    Raises:
        UserError: no such repository, revision or safetensors file, or neither a network nor a copy in the cache. The
            message gives the remedy.
    """
    name = _named("weights", asked, network)
    with _Asking(name, network) as asking:
        cached = None if name.commit is None else _weights_in_cache(name)
        listed = None if cached else asking.hub()
        if listed is None:
            cached = cached or _weights_in_cache(name)
            if cached is None:
                raise asking.unreachable()
            asking.say_offline(cached)
            return _weights(name, cached)
        file = _file_of(name, listed)
        if CONFIG in listed.files:  # what the weights' preprocessing is
            asking.download(CONFIG, listed.commit)
        path = asking.download(file, name.revision or "main", listed)
        return _checked(_weights(name, path), listed)


def fetch_network(asked: str) -> str:
    """Returns timm's name of the network in a repository, from its config.json.

    Args:
        asked: ``hf_hub:OWNER/NAME``, with or without ``@REVISION``.

    Raises:
        UserError: no such repository, or one that is no network of timm's.
    """
    name = _named("backbone", asked, "")
    with _Asking(name, "") as asking:
        listed = asking.hub()
        if listed is not None and CONFIG in listed.files:
            content = _json(asking.download(CONFIG, listed.commit))
        else:
            cached = _in_cache(name, CONFIG)
            if cached is None and listed is None:
                raise asking.unreachable()
            content = {} if cached is None else _json(cached)
    return _network_in(name, content)


def settings_in_cache(asked: str | None, network: str) -> PretrainedSettings | None:
    """Returns the preprocessing that a repository states for its weights, as far as it is known here.

    None for weights that are no repository's, for the repository that timm names for this network, whose settings timm
    has, and where config.json is not in the cache or does not name it.
    """
    if asked is None or not asked.startswith(PREFIXES):
        return None
    name, usual = _named("weights", asked, network), pretrained_settings(network)
    path = None if name.repository == known_repository(network) else _in_cache(name, CONFIG)
    content = None if path is None else _json(path).get("pretrained_cfg")
    if not isinstance(content, dict):
        return None
    return PretrainedSettings(
        _side(content.get("input_size")) or usual.input_size,
        _channels(content.get("mean"), least=-math.inf) or usual.mean,
        _channels(content.get("std"), least=0.0) or usual.std,
        str(content.get("interpolation") or usual.interpolation),
    )


@dataclass(frozen=True)
class CachedNetwork:
    """A network of timm's whose weights are in the hub's cache.

    Attributes:
        repository, revision: what is a copy of which.
        network: timm's name.
        own: whether timm names this repository for the network, so that ``hub`` stands for it.
        path: the file of weights.
        licence: as the repository states it, if its README.md is in the cache, or as timm does for its own.
    """

    repository: str
    revision: str
    network: str
    own: bool
    path: Path
    licence: str | None


def cached_networks() -> list[CachedNetwork]:
    """Returns the networks of timm's whose safetensors are in the hub's cache, in the order of their repositories.

    Of a repository it is the state that a fetch without a network takes; no file of weights is opened.
    """
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        kept = scan_cache_dir(_constants().HF_HUB_CACHE).repos
    except (CacheNotFound, OSError, ValueError):
        return []
    found = []
    for repository in sorted(each.repo_id for each in kept if each.repo_type == "model"):
        name = _Name("weights", f"{PREFIXES[0]}{repository}", repository, None, None)
        path, config = _weights_in_cache(name), _in_cache(name, CONFIG)
        if path is None:
            continue
        try:
            network = _network_in(name, {} if config is None else _json(config))
        except UserError:  # of another library
            continue
        own = known_repository(network) == repository
        licence = _licence_in(_in_cache(name, "README.md")) or (licence_of(network) if own else None)
        found.append(CachedNetwork(repository, _snapshot_of(path).name, network, own, path, licence))
    return found


def _licence_in(readme: Path | None) -> str | None:
    """Returns the licence that the head of a model card states."""
    try:
        text = "" if readme is None else readme.read_text(encoding="utf-8", errors="replace")[:10_000]
    except OSError:
        return None
    stated = re.search(r"\A---\n(?:(?!---).*\n)*?license:[ \t]*([\w.+-]{1,40})[ \t]*\n", text)
    return None if stated is None else stated.group(1)


def known_repository(network: str) -> str | None:
    """Returns the repository that timm names for a network; None for a network that is unknown or has none.

    >>> known_repository("resnet50"), known_repository("of-nobody")
    ('timm/resnet50.a1_in1k', None)
    """
    try:
        found = hub_repository(network)
    except ValueError:
        return None
    return None if found is None else found[0]


def offline_ways(network: str) -> str:
    """Describes how a machine without a network gets pretrained weights of a network of timm's."""
    ways = []
    package = PACKAGES.get(network.split(".")[0])
    if package is not None:
        ways.append(how_to_install(package))
    ways.append(f"a file of weights: {Setting('weights', 'model.safetensors')}")
    ways.append(
        "the same command on a machine with a network, whose cache folder is then copied to "
        f"{_constants().HF_HUB_CACHE} here (HF_HUB_OFFLINE=1 asks nobody)"
    )
    if package is None:
        ways.append(f"{Setting('backbone', 'lite0')}, whose weights are installed with dalib")
    return "; or ".join(ways)


@dataclass(frozen=True)
class _Name:
    """A repository as it was asked for."""

    setting: str
    asked: str
    repository: str
    revision: str | None
    file: str | None

    @property
    def commit(self) -> str | None:
        return self.revision if self.revision and _COMMIT.fullmatch(self.revision) else None

    def refusal(self, *message: str | Part) -> UserError:
        return UserError(Setting(self.setting, self.asked), ": ", *message)


@dataclass(frozen=True)
class _Listed:
    """A state of a repository of the hub: its commit, and the digest of each file that has one."""

    commit: str
    files: Mapping[str, str | None]
    sizes: Mapping[str, int | None]


def _named(setting: str, asked: str, network: str) -> _Name:
    """Returns the repository that a name stands for.

    Raises:
        UserError: no name of one, or a network without one.
    """
    prefix = next((each for each in PREFIXES if asked.startswith(each)), None)
    if prefix is None:
        try:
            known = hub_repository(network)
        except ValueError as error:
            raise UserError(Setting("backbone", network), f": {error}") from None
        if known is None:
            raise UserError(
                Setting(setting, asked),
                f": timm names no repository for {network}; expected hf_hub:OWNER/NAME, or {offline_ways(network)}",
            )
        return _Name(setting, asked, known[0], None, known[1])
    text = asked.removeprefix(prefix)
    if not _NAME.fullmatch(text) or ".." in text or "--" in text.partition("@")[0]:
        raise UserError(
            Setting(setting, asked),
            ": expected a repository of the hub, such as hf_hub:timm/resnet50.a1_in1k, with @REVISION behind it for "
            "one state of it",
        )
    repository, _, revision = text.partition("@")
    return _Name(setting, asked, repository, revision or None, None)


class _Asking:
    """Asks the hub about one repository, and turns failures into errors with a remedy."""

    def __init__(self, name: _Name, network: str) -> None:
        self.name, self.network = name, network
        self.why = ""

    def __enter__(self) -> _Asking:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, UserError):
            raise self._refusal(error) from None

    def hub(self) -> _Listed | None:
        """Returns the hub's entry; None where the hub cannot be reached, or must not be."""
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

        if _constants().HF_HUB_OFFLINE:
            self.why = "HF_HUB_OFFLINE is set"
            return None
        api = HfApi(endpoint=_constants().ENDPOINT, library_name="dalib", library_version=__version__)
        try:
            found = api.model_info(
                self.name.repository, revision=self.name.revision, files_metadata=True, timeout=SECONDS
            )
        except OfflineModeIsEnabled:
            self.why = "HF_HUB_OFFLINE is set"
            return None
        except HfHubHTTPError as error:
            if error.response is None or error.response.status_code < 500:
                raise
            self.why = f"{_constants().ENDPOINT} answered with status {error.response.status_code}"
            return None
        except (OSError, ValueError) as error:  # ValueError: what answers is no hub
            self.why = in_a_line(error)
            return None
        except Exception as error:  # those of the HTTP library, which differs between versions
            if type(error).__module__.split(".")[0] not in ("httpx", "httpx2", "httpcore", "requests", "urllib3"):
                raise
            self.why = in_a_line(error)
            return None
        files = {each.rfilename: each for each in found.siblings or ()}
        return _Listed(
            str(found.sha),
            {file: getattr(each.lfs, "sha256", None) for file, each in files.items()},
            {file: each.size for file, each in files.items()},
        )

    def download(self, file: str, revision: str, listed: _Listed | None = None) -> Path:
        """Returns the file, downloaded unless it is in the cache; with ``listed``, that is shown."""
        from huggingface_hub import hf_hub_download

        more: dict[str, Any] = {}
        if listed is not None and _in_cache(self.name, file, listed.commit) is None:
            size = listed.sizes.get(file)
            what = file if size is None else f"{file} ({decimal(size)})"
            say(f"downloading {what} of {self.name.repository} from {_constants().ENDPOINT}")
        if "tqdm_class" in inspect.signature(hf_hub_download).parameters:  # else it shows a bar of its own
            more["tqdm_class"] = _bar_of(None if listed is None else f"{self.name.repository}: {file}")
        path = hf_hub_download(
            self.name.repository,
            file,
            revision=revision,
            endpoint=_constants().ENDPOINT,
            library_name="dalib",
            library_version=__version__,
            **more,
        )
        return Path(str(path))

    def say_offline(self, path: Path) -> None:
        """Prints why the hub was not asked, unless there was no need to."""
        if self.why:
            say(f"note: {self.why}: {self.name.repository} is taken from the cache, revision {_snapshot_of(path).name}")

    def unreachable(self) -> UserError:
        """Returns the message for a machine with neither a network connection nor a copy."""
        where = f"revision {self.name.revision} of " if self.name.revision else ""
        asking = "With a network behind a proxy or a mirror, set HTTPS_PROXY or HF_ENDPOINT"
        if _constants().HF_HUB_OFFLINE:
            asking = "With a network, unset HF_HUB_OFFLINE"
        return self.name.refusal(
            f"{where}{self.name.repository} is not in the cache {_constants().HF_HUB_CACHE}, and the hub "
            f"({_constants().ENDPOINT}) was not reached ({self.why}). {asking}. Without a "
            f"network: {offline_ways(self.network)}"
        )

    def _refusal(self, error: Exception) -> UserError:
        from huggingface_hub import errors

        name, endpoint = self.name, _constants().ENDPOINT
        status = getattr(getattr(error, "response", None), "status_code", None)
        if isinstance(error, errors.GatedRepoError):
            return name.refusal(
                f"{name.repository} wants its terms to be accepted: do so on {endpoint}/{name.repository}, and log in "
                "by: hf auth login"
            )
        if isinstance(error, errors.RevisionNotFoundError):
            return name.refusal(
                f"{name.repository} has no revision {name.revision}; {endpoint}/{name.repository}/commits/main lists "
                "them"
            )
        if isinstance(error, errors.RepositoryNotFoundError | errors.HFValidationError) or status in (401, 403, 404):
            known = known_repository(self.network)
            own = "" if known is None else f"; timm's for {self.network} is {known} ({Setting('weights', OF_TIMM)})"
            return name.refusal(
                f"no repository {name.repository} on {endpoint}, or a private one, which wants HF_TOKEN{own}"
            )
        return name.refusal(
            f"{name.repository} could not be fetched from {endpoint} ({in_a_line(error)}). Nothing that is not whole "
            f"was kept: give the command again. Without a network: {offline_ways(self.network)}"
        )


def _file_of(name: _Name, listed: _Listed) -> str:
    """Returns the file of weights in a repository.

    Raises:
        UserError: no safetensors, or several.
    """
    for file in (name.file, WEIGHTS):
        if file in listed.files:
            return str(file)
    safe = [file for file in listed.files if file.endswith(".safetensors")]
    if len(safe) == 1:
        return safe[0]
    if safe:
        raise name.refusal(
            f"{name.repository} has no {WEIGHTS} but {', '.join(sorted(safe)[:3])}; download the one that is meant, "
            "and give the file: ",
            Setting("weights", "FILE"),
        )
    others = sorted(file for file in listed.files if file.endswith((".bin", ".pt", ".pth", ".ckpt", ".npz", ".h5")))
    what = f"only {', '.join(others[:3])}" if others else "no file of weights"
    raise name.refusal(
        f"{name.repository} has {what}; expected {WEIGHTS}, because the other formats can run any code when they are "
        "opened. Take a repository with safetensors; or, of a file that you trust, save its state dict with "
        "safetensors and give that: ",
        Setting("weights", "FILE"),
    )


def _weights_in_cache(name: _Name) -> Path | None:
    """Returns the weights of a repository, if they are in the cache.

    Those of a name of their own are the one file of safetensors beside or below config.json, which is fetched first.
    """
    for file in (name.file, WEIGHTS):
        if file is not None and (found := _in_cache(name, file)) is not None:
            return found
    config = _in_cache(name, CONFIG)
    own = [] if config is None else list(config.parent.rglob("*.safetensors"))
    return own[0] if len(own) == 1 else None


def _in_cache(name: _Name, file: str, revision: str | None = None) -> Path | None:
    """Returns a file of a repository, if it is in the cache."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name.repository, file, revision=revision or name.revision)
    return Path(found) if isinstance(found, str) else None


def _weights(name: _Name, path: Path) -> HubWeights:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); delete it, and give the command again") from None
    snapshot = _snapshot_of(path)
    return HubWeights(name.repository, snapshot.name, path.relative_to(snapshot).as_posix(), digest, path)


def _snapshot_of(path: Path) -> Path:
    """Returns the folder of a file's commit in the hub's cache, .../snapshots/COMMIT; files may lie deeper in it."""
    return next(each for each in path.parents if each.parent.name == "snapshots")


def _checked(weights: HubWeights, listed: _Listed) -> HubWeights:
    """Returns the same, if the content is what the hub states; it states this for large files."""
    expected = listed.files.get(weights.file)
    if expected is not None and weights.revision == listed.commit and expected != weights.sha256:
        raise UserError(
            f"{weights.path}: damaged, its sha256 is {weights.sha256} and not {expected}; delete "
            f"{weights.path.resolve()}, and give the command again"
        )
    return weights


def _network_in(name: _Name, content: Mapping[str, Any]) -> str:
    """Returns timm's name of what a config.json describes; with the name of its weights, where timm knows that."""
    architecture, config = content.get("architecture"), content.get("pretrained_cfg")
    tag = config.get("tag") if isinstance(config, dict) else None
    own = name.repository.rpartition("/")[2]
    tried = [own]
    if isinstance(architecture, str):
        tried = [*([f"{architecture}.{tag}"] if tag else []), architecture]
    for each in tried:
        try:
            pretrained_settings(str(each))
        except ValueError:
            continue
        return str(each)
    got = repr(architecture)[:60] if architecture is not None else "none"
    raise name.refusal(
        f"{name.repository} is no network of timm's: its {CONFIG} names the architecture {got}; expected one of timm's "
        "repositories, or of the same form (https://huggingface.co/timm)"
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _side(values: object) -> int | None:
    if not isinstance(values, list) or len(values) != 3 or not all(type(each) is int for each in values):
        return None
    side = min(values[1:])
    return side if 1 <= side <= _LARGEST_SIDE else None


def _channels(values: object, least: float) -> tuple[float, ...] | None:
    if not isinstance(values, list) or len(values) != 3 or not all(type(each) in (int, float) for each in values):
        return None
    return tuple(map(float, values)) if all(math.isfinite(each) and each > least for each in values) else None


def _constants() -> Any:
    """Returns huggingface_hub's constants, as its environment variables set them; imported on use, as it takes long."""
    from huggingface_hub import constants

    return constants


def _bar_of(name: str | None) -> Callable[..., Any]:
    """Returns a class of progress bars as huggingface_hub takes it, which shows dalib's own; None shows nothing."""
    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *_: Any, total: int | None = None, initial: int = 0, **__: Any) -> None:
            super().__init__(disable=True)
            self.shown = None if name is None else BytesProgress(name, total, initial)

        def update(self, n: float | None = 1) -> bool | None:
            if self.shown is not None:
                self.shown.add(int(n or 0))
            return None

        def update_transfer(self, n: float | None = 1) -> None:
            """Counts nothing: where it is there, one bar shows what was received and what was written."""

        def close(self) -> None:
            super().close()
            shown: BytesProgress | None = getattr(self, "shown", None)  # a bar is closed when it is thrown away, too
            if shown is not None:
                shown.close()

    return Bar
