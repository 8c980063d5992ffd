"""Input that somebody made to do harm: nothing of it runs, leaves its folder, fills the memory or reaches a screen."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import struct
import sys
import tracemalloc
import zipfile
import zlib
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from mutations import bounded, bounded_memory, tried
from PIL import Image
from torch import nn
from whole_run import write_run

from dalib.commands import main
from dalib.commands.config_file import read_config
from dalib.core.console import CountedProgress, TrainingProgress, say, say_unreadable
from dalib.core.errors import UserError
from dalib.core.files import Unreadable
from dalib.data.decoding import decode, read_header
from dalib.data.listing import list_images, list_labelled
from dalib.data.preprocessing import Preprocessing
from dalib.models.weights import load_weights
from dalib.report.page import write_report

SEEN = Preprocessing(8, 3)


# --- pickles


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = str(target)

    def __reduce__(self):
        return os.mkdir, (self.target,)


@pytest.mark.parametrize("where", ["as a tensor", "as a key", "beside tensors", "as the whole file"])
@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.bin", "w.safetensors"])
def test_a_payload_in_weights_is_refused_and_makes_nothing(tmp_path, name, where):
    target, file = tmp_path / "made", tmp_path / name
    payload = Payload(target)
    content = {
        "as a tensor": {"weight": payload},
        "as a key": {"model": {"weight": torch.zeros(1)}, "x": [payload]},
        "beside tensors": {"weight": torch.zeros(2, 2), "bias": torch.zeros(2), "more": payload},
        "as the whole file": payload,
    }[where]
    torch.save(content, file)
    if file.suffix != ".safetensors":
        torch.load(file, weights_only=False)
        assert target.is_dir(), "the payload works where pickles are trusted"
        target.rmdir()
    with pytest.raises(UserError, match=name):
        load_weights(nn.Linear(2, 2), file)
    assert not target.exists()


def test_nothing_here_unpickles_but_with_weights_only():
    sources = list(Path(main.__file__).parents[1].rglob("*.py"))
    calls = [
        line for path in sources for line in path.read_text(encoding="utf-8").splitlines() if "torch.load(" in line
    ]
    assert calls
    assert all("weights_only=True" in line for line in calls)
    # adaptation/settings.py runs a class statement of the package itself, which importing its file would run too
    texts = {path: path.read_text(encoding="utf-8") for path in sources}
    assert [path.name for path, text in texts.items() if re.search(r"(?<![\w.])exec\(", text)] == ["settings.py"]
    text = "".join(texts.values()).replace("exec(code, names)", "")
    dangers = r"pickle\.loads?\(|allow_pickle=True|yaml\.(unsafe_|full_)?load\(|shell=True|os\.system\("
    assert re.findall(rf"{dangers}|(?<![\w.])(?<!def )(?:eval|exec)\(", text) == []


STRANGE_TENSORS = {
    "sparse": lambda: torch.zeros(2, 2).to_sparse(),
    "quantized": lambda: torch.quantize_per_tensor(torch.zeros(2, 2), 0.1, 0, torch.qint8),
    "complex": lambda: torch.zeros(2, 2, dtype=torch.complex64),
    "meta": lambda: torch.zeros(2, 2, device="meta"),
    "float8": lambda: torch.zeros(2, 2, dtype=torch.float8_e4m3fn),
    "bool": lambda: torch.zeros(2, 2, dtype=torch.bool),
    "expanded": lambda: torch.zeros(1).expand(2, 2),
    "infinite": lambda: torch.full((2, 2), torch.inf),
}


@pytest.mark.parametrize("kind", STRANGE_TENSORS)
@pytest.mark.filterwarnings("ignore")  # torch warns of sparse and quantized tensors
def test_tensors_of_a_strange_kind_are_taken_as_numbers_or_refused(tmp_path, kind):
    tensor = STRANGE_TENSORS[kind]()
    file = tmp_path / "w.pth"
    torch.save({"weight": tensor, "bias": torch.zeros(2)}, file)
    module = nn.Linear(2, 2)
    _, refusal = tried(lambda: load_weights(module, file))
    if kind not in ("bool", "expanded"):
        assert "w.pth" in refusal
    else:
        assert module.weight.isfinite().all()
        assert module.weight.dtype == torch.float32


# --- archives and headers that promise more than there is


@pytest.mark.parametrize(
    "header",
    [
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 2**40) + b"{",
        struct.pack("<Q", 100) + b'{"a":' + b"[" * 95,
        b'{"weight":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,16]}}',
        b'{"weight":{"dtype":"F32","shape":[2,2],"data_offsets":[0,17179869184]}}',
        b'{"weight":{"dtype":"F32","shape":[2,2],"data_offsets":[16,0]}}',
        b'{"weight":{"dtype":"F32","shape":[-2,-2],"data_offsets":[0,16]}}',
        b'{"weight":{"dtype":"X9","shape":[2,2],"data_offsets":[0,16]}}',
        b'{"weight":7}',
        b"[]",
    ],
    ids=[
        "length",
        "longer than the file",
        "nested",
        "shape",
        "offset",
        "reversed",
        "negative",
        "dtype",
        "number",
        "list",
    ],
)
def test_an_absurd_header_of_safetensors_is_refused(tmp_path, header):
    whole = header if header[:1] not in b"{[" else struct.pack("<Q", len(header)) + header
    (tmp_path / "w.safetensors").write_bytes(whole + bytes(16))
    run = write_run(tmp_path / "run")
    (run.model / "model.safetensors").write_bytes(whole + bytes(16))
    with bounded("header"), bounded_memory():
        with pytest.raises(UserError, match=r"w\.safetensors"):
            load_weights(nn.Linear(2, 2), tmp_path / "w.safetensors")
        assert main.run(["predict", str(run.root), "--images", str(tmp_path), "--out", str(tmp_path / "o.csv")]) == 2


@pytest.mark.parametrize("values", [{"bottleneck_dim": 10**9}, {"size": 10**9}, {"channels": 10**9}])
def test_a_model_that_would_fill_the_memory_is_not_made(tmp_path, capsys, values):
    run = write_run(tmp_path / "run")
    path = run.model / "config.json"
    content = json.loads(path.read_text())
    content["architecture"] |= values
    path.write_text(json.dumps(content))
    with bounded_memory():
        assert main.run(["predict", str(run.root), "--images", str(tmp_path), "--out", str(tmp_path / "o.csv")]) == 2
    assert "expected a number from 1 to 65536" in capsys.readouterr().err


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


ZEROS = zlib.compress(bytes(64 * 2**20), 9)
BOMBS = {
    "a huge header": png(2**31 - 1, 2**31 - 1, chunk(b"IDAT", zlib.compress(bytes(100)))),
    "90 million pixels": png(9500, 9500, chunk(b"IDAT", ZEROS)),
    "pixels beyond the header": png(4, 4, chunk(b"IDAT", ZEROS)),
    "a compressed text": png(4, 4, chunk(b"zTXt", b"k\0\0" + ZEROS), chunk(b"IDAT", zlib.compress(bytes(20)))),
    "a compressed profile": png(4, 4, chunk(b"iCCP", b"k\0\0" + ZEROS), chunk(b"IDAT", zlib.compress(bytes(20)))),
    "a bitmap": b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 2**30, 2**30, 1, 24, 0, 0, 0, 0, 0, 0),
    "a pixmap": b"P6 1000000 1000000 255\n" + bytes(100),
    "a gif": b"GIF89a" + struct.pack("<HHBBBBHHHHBH", 65535, 65535, 0, 0, 0, 44, 0, 0, 65535, 65535, 0, 2) + b";",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_decompression_bomb_is_not_decoded(tmp_path, bomb):
    file = tmp_path / "bomb.png"
    file.write_bytes(BOMBS[bomb])
    with bounded(bomb):
        tracemalloc.start()
        try:
            images, _, unreadable = decode([file], SEEN, threads=1)
            read_header(file)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 8 * 2**20
    if bomb == "pixels beyond the header":  # the four rows are read, and no more of the stream
        assert len(images) + len(unreadable) == 1
    elif not bomb.startswith("a compressed"):
        assert [each.path for each in unreadable] == [str(file)]


def test_a_picture_just_below_the_limit_is_read(tmp_path):
    file = tmp_path / "large.png"
    Image.new("1", (9400, 9400)).save(file)
    assert decode([file], SEEN, threads=1)[1].tolist() == [0]


@pytest.mark.parametrize("name", ["step-000000008.pt", "w.pth"])
def test_a_zip_bomb_is_no_checkpoint(tmp_path, name):
    from dalib.engine.checkpoint import CheckpointFolder

    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as records:
        records.writestr("archive/data.pkl", pickle.dumps({"format": 2}, protocol=2))
        records.writestr("archive/version", "3\n")
        records.writestr("archive/data/0", bytes(200 * 2**20))
    (tmp_path / name).write_bytes(content.getvalue())
    with bounded("zip"), bounded_memory():
        if name == "w.pth":
            with pytest.raises(UserError, match=r"w\.pth"):
                load_weights(nn.Linear(2, 2), tmp_path / name)
        else:
            with pytest.warns(UserWarning, match="passed over"):
                assert CheckpointFolder(tmp_path).newest(torch.device("cpu")) is None


# --- paths


@pytest.mark.parametrize("file", ["list.csv", "list.jsonl"])
@pytest.mark.parametrize(
    "path",
    ["../x.png", "a/../../x.png", "/etc/passwd", "a\0.png", "link/x.png", "loop/../../x.png", "/proc/self/environ"],
)
def test_a_path_that_escapes_the_folder_of_its_list_is_refused(tmp_path, file, path):
    root = tmp_path / "set"
    root.mkdir()
    (tmp_path / "x.png").touch()
    (root / "link").symlink_to(tmp_path)
    (root / "loop").symlink_to("loop")
    row = {"path": path, "label": "a"}
    text = f"path,label\n{path},a\n" if file.endswith("csv") else json.dumps(row)
    (root / file).write_text(text)
    for read in (list_labelled, list_images):
        with pytest.raises(UserError, match=rf"{file}'?, line \d: .*(leaves the folder of the list|is not a path)"):
            read(root / file, argument="source")


@pytest.mark.skipif(sys.platform == "win32", reason="there these are other folders, and refused as such")
@pytest.mark.parametrize(
    "path", ["..\\x.png", "C:\\x.png", "\\\\server\\share\\x.png", "~/x.png", "$HOME/x.png", "C:x.png"]
)
def test_names_that_other_systems_take_for_paths_are_names_in_the_folder(tmp_path, path):
    (tmp_path / "list.csv").write_text(f"path\n{path}\n")
    (found,) = list_images(tmp_path / "list.csv", argument="target").paths
    assert found == tmp_path / path
    assert Path(os.path.realpath(found)).is_relative_to(os.path.realpath(tmp_path))
    _, _, unreadable = decode([found], SEEN)
    assert unreadable[0].reason == "No such file or directory"


def test_a_path_of_any_length_and_depth_is_one_line(tmp_path):
    for path in ("a" * 300_000, "a/" * 30_000 + "x.png"):
        (tmp_path / "list.jsonl").write_text(json.dumps({"path": path}))
        with bounded("path"):
            try:
                listing = list_images(tmp_path / "list.jsonl", argument="target")
            except UserError:
                continue
            assert len(decode(listing.paths, SEEN)[2]) == 1


def test_loops_of_links_end_and_names_need_not_be_text(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "self").symlink_to("self")
    (tmp_path / "a" / "first").symlink_to("second")
    (tmp_path / "a" / "second").symlink_to("first")
    odd = tmp_path / "a" / os.fsdecode(b"\xff\xfe\x1b[31m.png")
    Image.new("L", (4, 4)).save(odd)
    for read in (list_images, list_labelled):
        with bounded("links"):
            assert list(read(tmp_path, argument="source").paths) == [odd]
    (tmp_path / "list.jsonl").write_text('{"path": "a/self"}\n{"path": "a/first"}\n{"path": "a/b/up/b/up/x.png"}\n')
    listing = list_images(tmp_path / "list.jsonl", argument="source")
    assert len(decode(listing.paths, SEEN)[2]) == 3


# --- YAML and JSON


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.mkdir ['{made}']",
        "!!python/object/new:os.mkdir ['{made}']",
        "!!python/name:os.system",
        "!!python/module:os",
        "!!python/object:os.system {{}}",
        "!!binary x",
        "!unknown x",
        "{{class_path: os.mkdir, init_args: {{path: '{made}'}}}}",
    ],
)
@pytest.mark.parametrize(("command", "key"), [("train", "source"), ("train", "preset"), ("checks", "data")])
def test_a_configuration_runs_nothing(tmp_path, capsys, command, key, value):
    made, file = tmp_path / "made", tmp_path / "c.yaml"
    file.write_text(f"{key}: {value.format(made=made)}\nsteps: 0\ntarget_labels: {tmp_path / 'none.csv'}\n")
    assert main.run([command, "--config", str(file)]) == 2
    assert capsys.readouterr().err.startswith("dalib: error: ")
    assert not made.exists()
    with pytest.raises(UserError):
        read_config(file)
    assert not made.exists()


# --- the report


@pytest.mark.parametrize("name", ["summary.json", "samples/samples.json"])
@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[" * 900 + "]" * 900, "1" * 5000])
def test_json_nested_without_end_makes_no_report(tmp_path, name, text):
    run = write_run(tmp_path / "run")
    (run.root / name).write_text(text)
    with bounded(name), pytest.raises(UserError, match="run"):
        write_report(run)
    assert not run.report.exists()


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    handle_startendtag = handle_starttag


INJECTIONS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</title><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "--><script>alert(1)</script><!--",
    "<svg/onload=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    "\x1b]8;;http://x\x07\u202e<b>",
    "&lt;script&gt;",
]


@pytest.mark.parametrize("number", range(len(INJECTIONS)))
def test_names_in_a_report_make_no_element_and_no_attribute(tmp_path, number):
    """Of files, classes, data sets and the run's own folder: the tags are those of a run with plain names."""
    text = INJECTIONS[number]
    same = "x" * len(text)  # long names get a title
    plain = write_run(tmp_path / same, same, ("ant", same, "cat"))
    hostile = write_run(tmp_path / text.replace("/", "\u2215"), text, ("ant", text, "cat"))
    found = []
    for run in (plain, hostile):
        tags = Tags()
        tags.feed(write_report(run).read_text(encoding="utf-8"))
        # long names may break behind their underscores: empty elements of ours, of which plain names have none
        found.append([(tag, sorted(attributes)) for tag, attributes in tags.tags if (tag, attributes) != ("wbr", {})])
        for tag, attributes in tags.tags:
            assert tag not in {"script", "iframe", "object", "embed", "base", "form"}
            assert not [name for name in attributes if name.startswith("on") or name == "srcdoc"]
            for name in ("href", "src", "xlink:href", "action"):
                assert (attributes.get(name) or "#").startswith(("#", "data:image/png;base64,"))
    assert found[0] == found[1]


# --- the terminal


ESCAPES = "\x1b[2J\x1b]0;title\x07\x9b31m\r\x08\x7f.png"


def harmless(text: str) -> bool:
    return not any((ord(letter) < 32 and letter != "\n") or 127 <= ord(letter) < 160 for letter in text)


def test_escape_sequences_do_not_reach_the_terminal(capsys):
    say(f"reading {ESCAPES}")
    say_unreadable([Unreadable(f"a\n{ESCAPES}", f"bad {ESCAPES}")])
    printed = capsys.readouterr().out
    assert harmless(printed)
    assert "\\x1b[2J" in printed
    assert printed.count("\n") == 3, "a name with an end of line makes no line of its own"


def test_what_is_meant_to_be_several_lines_stays_so(capsys):
    say("one\n\ttwo")
    assert capsys.readouterr().out == "one\n\ttwo\n"


class Terminal(io.StringIO):
    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("name", ["a [/] b", "[bold", "[link=file:///x]y[/link]", "\x1b]0;title\x07", "\udcff"])
def test_names_of_what_is_shown_are_no_commands(terminal, name):
    stream = Terminal(terminal)
    with CountedProgress(f"reading {name}", stream) as progress:
        progress(1, 2)
        progress(2, 2)
    with TrainingProgress(name, 2, stream) as training:
        training.line({"step": 2, "loss": 0.5})
    shown = stream.getvalue()
    assert "\x1b]0;" not in shown
    assert "\x1b]8;" not in shown
    if name.startswith("["):
        assert name in shown


def test_predictions_of_hostile_names_print_no_escape_sequences(tmp_path, capsys):
    run = write_run(tmp_path / "run")
    images = tmp_path / "images"
    images.mkdir()
    Image.new("L", (8, 8)).save(images / "good\x1b[2J.png")
    (images / "bad\x1b[2J.png").write_bytes(b"no image")
    out = tmp_path / "o.csv"
    assert main.run(["predict", str(run.root), "--images", str(images), "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert harmless(printed.out)
    assert harmless(printed.err)
    assert "good\x1b[2J.png" in out.read_text(), "a file is not a terminal: names stay as they are"
