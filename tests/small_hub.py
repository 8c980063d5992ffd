"""A small Hugging Face hub on loopback, with what huggingface_hub asks for when it downloads a file of a model."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import timm
import torch
from safetensors.torch import save

LARGE = ".safetensors"
"""Files of this ending are kept as large files, whose digest the hub tells."""


@dataclass
class SmallHub:
    """Repositories, each with its states: commit and files, the newest last.

    Attributes:
        breaks: number of answers that are to be cut off in the middle of a file.
        requests: method and path of each request that came.
    """

    repositories: dict[str, list[tuple[str, dict[str, bytes]]]] = field(default_factory=dict)
    breaks: int = 0
    status: int = 200
    gated: set[str] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)
    endpoint: str = ""

    def put(self, repository: str, **files: bytes) -> str:
        """Adds a state of a repository, with ``__`` in names in place of a dot; returns its commit."""
        states = self.repositories.setdefault(repository, [])
        named = {name.replace("__", "."): content for name, content in files.items()}
        commit = hashlib.sha1(f"{repository} {len(states)}".encode()).hexdigest()
        states.append((commit, named))
        return commit

    def files_at(self, repository: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        states = self.repositories[repository]
        return states[-1] if revision == "main" else next((each for each in states if each[0] == revision), None)


@contextmanager
def served(hub: SmallHub) -> Iterator[SmallHub]:
    """Serves the hub until the block ends; ``hub.endpoint`` says where."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OfHub", (_Answers,), {"hub": hub}))
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Answers(BaseHTTPRequestHandler):
    hub: SmallHub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, format: str, *args: object) -> None:
        self.hub.requests.append(f"{self.command} {self.path}")

    def _answer(self, body: bool) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        if self.hub.status != 200:
            self._send(self.hub.status, b"", {}, body)
        elif path.startswith("api/models/"):
            repository, _, revision = path.removeprefix("api/models/").partition("/revision/")
            self._describe(repository, revision or "main")
        elif "/resolve/" in path:
            repository, _, rest = path.partition("/resolve/")
            revision, _, file = rest.partition("/")
            self._file(repository, revision, file, body)
        else:
            self._send(404, b"{}", {}, body)

    def _state(self, repository: str, revision: str, body: bool = True) -> tuple[str, dict[str, bytes]] | None:
        error = None
        if repository not in self.hub.repositories:
            error = (404, "RepoNotFound")
        elif repository in self.hub.gated:
            error = (403, "GatedRepo")
        elif self.hub.files_at(repository, revision) is None:
            error = (404, "RevisionNotFound")
        if error is not None:
            self._send(error[0], b"", {"X-Error-Code": error[1], "X-Error-Message": error[1]}, body)
            return None
        return self.hub.files_at(repository, revision)

    def _describe(self, repository: str, revision: str) -> None:
        state = self._state(repository, revision)
        if state is None:
            return
        siblings = []
        for name, content in state[1].items():
            entry = {"rfilename": name, "size": len(content), "blobId": hashlib.sha1(content).hexdigest()}
            if name.endswith(LARGE):
                digest = hashlib.sha256(content).hexdigest()
                entry["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 134}
            siblings.append(entry)
        content = {"id": repository, "modelId": repository, "sha": state[0], "siblings": siblings, "tags": []}
        self._send(200, json.dumps(content).encode(), {"Content-Type": "application/json"}, True)

    def _file(self, repository: str, revision: str, file: str, body: bool) -> None:
        state = self._state(repository, revision, body)
        if state is None:
            return
        commit, files = state
        if file not in files:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}, body)
            return
        content, status = files[file], 200
        digest = hashlib.sha256(content) if file.endswith(LARGE) else hashlib.sha1(content)
        headers = {"ETag": f'"{digest.hexdigest()}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        wanted = self.headers.get("Range", "")
        if wanted.startswith("bytes="):
            first, whole = int(wanted.removeprefix("bytes=").split("-")[0]), len(content)
            content, status = content[first:], 206
            headers["Content-Range"] = f"bytes {first}-{whole - 1}/{whole}"
        self._send(status, content, headers, body)

    def _send(self, status: int, content: bytes, headers: dict[str, str], body: bool) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if not body:
            return
        if self.hub.breaks and len(content) > 10_000:
            self.hub.breaks -= 1
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
            self.connection.close()
            return
        self.wfile.write(content)


def weights_of(network: str, seed: int = 0, **more: torch.Tensor) -> bytes:
    """Returns the safetensors of a network of timm's with its classifier, as its repository would hold it."""
    torch.manual_seed(seed)
    state = timm.create_model(network, num_classes=10).state_dict()
    return save({**{name: each.contiguous() for name, each in state.items()}, **more}, metadata={"format": "pt"})


def config_of(network: str, tag: str = "", **more: object) -> bytes:
    """Returns timm's config.json of a network."""
    config = {"tag": tag, "input_size": [3, 160, 160], "mean": [0.5] * 3, "std": [0.25] * 3, **more}
    return json.dumps({"architecture": network, "num_classes": 10, "pretrained_cfg": config}).encode()
