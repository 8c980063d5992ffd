"""Whatever is in a folder or list: a file is used as what it is, or listed with a reason, and all doors agree."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import tempfile
import unicodedata
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import torch
from awkward import (
    KINDS,
    SIZE,
    Case,
    Dialect,
    Fates,
    File,
    cases,
    dialects,
    fates,
    key_of,
    reference,
    spelled,
    write_list,
    write_tree,
)
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dalib.commands.main import run
from dalib.core.errors import UserError
from dalib.data.file_rows import read_folder
from dalib.data.labels import read_target_labels
from dalib.data.preprocessing import Preprocessing
from dalib.data.sources import open_labelled, open_source, open_target
from dalib.models.architecture import Architecture
from dalib.models.exported import OpenedModel
from dalib.models.network import make_classifier
from dalib.models.saved import ModelDescription, save_model
from dalib.run.checks import checks
from dalib.run.finished.load import Predictor, open_model
from dalib.run.finished.predict import predict
from dalib.run.recipe.recipe import make_data_request
from dalib.run.settings.config import TrainConfig
from dalib.run.start.domains import open_domains

CACHES = ("ram", "disk", "off")
few = settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
many = settings(few, max_examples=600)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A model for each number of channels; they have no use for what they say of images, but must differ in it."""
    made = {}
    for channels in (1, 3):
        architecture = Architecture(backbones=("small",), bottleneck_dim=8, channels=channels, size=SIZE)
        torch.manual_seed(0)
        network = make_classifier(architecture, 3)
        torch.nn.init.normal_(network.head.weight, std=3.0)
        made[channels] = tmp_path_factory.mktemp("models") / "model"
        save_model(
            made[channels], network, ModelDescription(architecture, ("a", "b", "c"), Preprocessing(SIZE, channels))
        )
    return made


@dataclass
class Read:
    """What a door says: rows, labels and names of those that are used, and the others."""

    rows: dict[str, np.ndarray]
    labels: dict[str, str] | None
    unreadable: list[str]
    left_out: dict[str, str]
    told: str


@contextlib.contextmanager
def a_place():
    """A folder of its own, with its own cache, and what is printed meanwhile."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        patched.setenv("DALIB_CACHE", str(Path(folder) / "cache"))
        patched.setattr("dalib.run.checks.import_conflicts", lambda: [])  # it looks through all that is installed
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            yield Path(folder), printed


def forget(printed: io.StringIO) -> None:
    printed.seek(0)
    printed.truncate()


def below(root: Path, name: str) -> str:
    return spelled(Path(os.path.relpath(name, root)).as_posix())


def read(root: Path, opened, told: str) -> Read:
    rows = opened.images[torch.arange(len(opened.names))].numpy()
    names = [below(root, name) for name in opened.names]
    assert len(set(names)) == len(names) == len(rows), names
    labels = None
    if hasattr(opened, "labels"):
        labels = {
            name: key_of(opened.classes[label]) for name, label in zip(names, opened.labels.tolist(), strict=True)
        }
    return Read(
        dict(zip(names, rows, strict=True)),
        labels,
        [below(root, each.path) for each in opened.unreadable],
        {below(root, each.path): each.reason for each in opened.left_out},
        told,
    )


def require(found: Read, expected: Fates, channels: int) -> None:
    """Every file is used as what it is, or listed with a reason and told."""
    assert set(found.rows) == set(expected.used)
    for name, row in found.rows.items():
        as_it_is = reference(expected.used[name].content(), channels)
        assert np.abs(row.astype(int) - as_it_is).max() <= 2, f"{name}: other pixels"
    if found.labels is not None:
        assert found.labels == {name: key_of(file.parts[0]) for name, file in expected.used.items()}
    assert sorted(found.unreadable) == sorted(expected.unreadable)
    assert set(found.left_out) == set(expected.left_out)
    for path, reason in found.left_out.items():
        assert reason.startswith(expected.left_out[path]), f"{path}: {reason}"
    for part in expected.told:
        assert part in found.told


def require_equal(every: dict[str, Read]) -> None:
    """All doors say the same, in one order and bit for bit."""
    first = next(iter(every.values()))
    for name, each in every.items():
        assert list(each.rows) == list(first.rows), name
        for path, row in each.rows.items():
            assert np.array_equal(row, first.rows[path]), f"{name}: {path}"
        assert each.labels is None or first.labels is None or each.labels == first.labels, name
        assert each.left_out == first.left_out, name


def refusals(calls) -> dict[str, str]:
    """What each of the calls refuses; empty for what it does not."""
    found = {}
    for name, call in calls.items():
        try:
            call()
        except UserError as error:
            found[name] = str(error)
        else:
            found[name] = ""
    return found


def config_of(source, target, **more) -> TrainConfig:
    config = TrainConfig()
    data = replace(config.data, validation_share=0.0)
    return replace(config, source=str(source), target=str(target), data=data, device="cpu", **more)


def labelled_doors(where: Path, target: Path, preprocessing: Preprocessing, classes, printed):
    """Calls that read a labelled set, by the name of their door."""
    doors = {}
    for cache in CACHES:

        def python(cache=cache):
            notes = []
            return open_source(str(where), preprocessing, cache=cache, on_note=notes.append), notes

        def evaluated(cache=cache):
            notes = []
            opened = open_labelled(str(where), preprocessing, classes, cache=cache, on_note=notes.append)
            return opened, notes

        def trained(cache=cache):
            forget(printed)
            domains = open_domains(make_data_request(config_of(where, target, cache=cache)), preprocessing)
            return domains.train, [printed.getvalue()]

        doors |= {f"python {cache}": python, f"eval {cache}": evaluated, f"train {cache}": trained}
    return doors


def unlabelled_doors(where: Path, preprocessing: Preprocessing):
    doors = {}
    for cache in CACHES:

        def python(opener, cache=cache, **more):
            notes = []
            return opener(str(where), preprocessing, cache=cache, on_note=notes.append, **more), notes

        doors[f"python {cache}"] = partial(python, open_target)
        doors[f"folder {cache}"] = partial(python, read_folder, argument="--images")
    return doors


def require_checks(text: str, expected: Fates, what: str) -> None:
    """What ``checks`` prints is what is read."""
    found = re.search(rf"^{what} .*: (\d+) images?", text, re.MULTILINE)
    assert found is not None, text
    assert int(found[1]) == len(expected.used)
    if what == "source":
        counts = {key_of(name): int(count) for name, count in re.findall(r"^  ([^\n]*): (\d+)$", text, re.MULTILINE)}
        for name in expected.classes:
            assert counts[name] == sum(key_of(file.parts[0]) == name for file in expected.used.values())
    require_skipped(text, len(expected.unreadable))
    for part in expected.told:
        assert part in text


def require_skipped(text: str, count: int) -> None:
    told = re.findall(r"skipped (\d+) image", text)
    assert [int(each) for each in told] == ([count] if count else []), text


def require_predictions(model: Path, where: Path, root: Path, expected: Fates, place: Path, printed) -> None:
    """``predict`` writes a row for each used file, of its own pixels; Python takes these and no others."""
    opened = open_model(model, device="cpu")
    channels = opened.description.preprocessing.channels
    for cache in CACHES:
        out = place / f"{cache}.csv"
        forget(printed)
        told = refusals({"": partial(predict, model, str(where), str(out), device="cpu", cache=cache)})[""]
        assert bool(told) == (not expected.used), told
        if told:
            continue
        require_skipped(printed.getvalue(), len(expected.unreadable))
        for part in expected.told:
            assert part in printed.getvalue()
        with out.open(newline="", encoding="utf-8") as file:
            rows = {row["path"]: float(row["confidence"]) for row in csv.DictReader(file)}
        written = {name.encode(errors="backslashreplace").decode(): name for name in expected.used}
        by_name = {below(root, name): confidence for name, confidence in rows.items()}
        assert set(by_name) == set(written)
        for name, confidence in by_name.items():
            pixels = torch.from_numpy(reference(expected.used[written[name]].content(), channels))[None]
            assert abs(float(opened.probabilities(pixels).max()) - confidence) < 0.05, name
    seen = []

    def probabilities(rows):
        seen.append(rows.numpy())
        return torch.full((len(rows), 3), 1 / 3)

    predictor = Predictor(OpenedModel(opened.description, probabilities))
    for name, file in expected.used.items():
        predictor(str(root / name))
        assert np.abs(seen.pop()[0].astype(int) - reference(file.content(), channels)).max() <= 2
    for name in expected.unreadable:
        with pytest.raises(UserError, match="image "):
            predictor(str(root / name))


def check_folders(case: Case, models) -> None:
    """The property, of a folder of classes and a folder of images."""
    preprocessing = Preprocessing(SIZE, case.channels)
    with a_place() as (place, printed):
        source, target = place / "source", place / "target"
        for root, files in ((source, case.source), (target, case.target)):
            root.mkdir()
            write_tree(root, files, same_time=case.same_time)
        of_source, of_target = fates(case.source, labelled=True), fates(case.target, labelled=False)
        classes = sorted({file.parts[0] for file in case.source if len(file.parts) > 1})
        doors = labelled_doors(source, target, preprocessing, classes, printed)
        if of_source.refused or of_target.refused or len(of_source.classes) < 2:
            for name, told in refusals(doors).items():
                alone = not name.startswith("train") and not of_source.refused
                refused = not alone or (name.startswith("python") and len(of_source.classes) < 2)
                assert bool(told) == refused, f"{name}: {told}"
        else:
            every = {}
            for name, door in doors.items():
                opened, notes = door()
                every[name] = read(source, opened, "\n".join(notes))
                require(every[name], of_source, case.channels)
            require_equal(every)
        forget(printed)
        told = refusals({"": partial(checks, config_of(source, target), source=True, target=False)})[""]
        assert bool(told) == (of_source.refused or len(of_source.classes) < 2), told
        if not told:
            require_checks(printed.getvalue(), of_source, "source")
        every = {}
        for name, door in unlabelled_doors(target, preprocessing).items():
            if of_target.refused:
                with pytest.raises(UserError):
                    door()
            else:
                opened, notes = door()
                every[name] = read(target, opened, "\n".join(notes))
                require(every[name], of_target, case.channels)
        if every:
            require_equal(every)
        forget(printed)
        told = refusals({"": partial(checks, config_of(source, target), source=False, target=True)})[""]
        assert bool(told) == of_target.refused, told
        if not told:
            require_checks(printed.getvalue(), of_target, "target")
        require_predictions(models[case.channels], target, target, of_target, place, printed)


CLASSES = (File("cat/0.bmp", "bmp", "", 3), File("dog/0.bmp", "bmp", "", 6))
OTHERS = (File("cat/0.bmp", "bmp", "", 9), File("dog/0.bmp", "bmp", "", 12))

ONE_TIME = Case(CLASSES, OTHERS, same_time=True)
"""The cache on the disk gave the target the source's pixels."""
LOOSE = Case((*CLASSES, File("b", "png", "", 3)), OTHERS)
"""An image without an ending, beside the class folders, was called no image."""
CUT = Case((*CLASSES, File("cat/1.png", "png", "cut", 1), File("cat/2.jpg", "jpeg", "tail", 2)), OTHERS)
"""With the cache off, other images stood in for what has a header and no whole picture."""
TAIL = Case(CLASSES, (*OTHERS, File("a.tif", "tiff lzw", "tail", 0)))
"""All pixels are there, and the last bytes of what else the file holds are not."""
TWINS = (*CLASSES, File("cat/caf\u00e9.png", "png", "", 3), File("cat/cafe\u0301.png", "png", "", 9))
"""A list lost the second of two files whose names differ in their spelling alone."""


@few
@given(cases())
@example(ONE_TIME)
@example(LOOSE)
@example(CUT)
@example(TAIL)
def test_every_door_reads_the_same_of_folders(models, case):
    check_folders(case, models)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@many
@given(cases())
def test_every_door_reads_the_same_of_many_folders(models, case):
    check_folders(case, models)


@dataclass(frozen=True)
class ListCase:
    """A tree, a list of some of its files, and how that is written."""

    case: Case
    dialect: Dialect


def list_cases() -> st.SearchStrategy[ListCase]:
    return st.builds(ListCase, cases(listed=True), dialects())


def listed(files: tuple[File, ...]) -> tuple[tuple[File, ...], Fates]:
    """The files of a list, and what must become of them: a list may name whatever it likes."""
    labelled = tuple(file for file in files if len(file.parts) > 1)
    used: dict[str, File] = {}
    unreadable: set[str] = set()
    for file in labelled:
        if reference(file.content(), 3) is None:
            unreadable.add(spelled(file.path))
        else:
            used[spelled(file.path)] = file
    found = Fates(used, frozenset(unreadable), {})
    return labelled, replace(found, refused=found.classes != {key_of(file.parts[0]) for file in labelled})


def check_lists(of_lists: ListCase, models) -> None:
    """The property, of a list of labelled files, of the same as a list of images, and as labels of a target."""
    case, dialect = of_lists.case, of_lists.dialect
    preprocessing = Preprocessing(SIZE, case.channels)
    files, expected = listed(case.source)
    if not files:
        return
    every_path = {each for file in files for each in (file.path, *map(str, PurePosixPath(file.path).parents))}
    if len({unicodedata.normalize("NFC", each) for each in every_path}) < len(every_path):
        dialect = replace(dialect, decompose=False)  # one spelling of two files or folders
    with a_place() as (place, printed):
        root, target = place / "source", place / "target"
        for folder, some in ((root, case.source), (target, case.target)):
            folder.mkdir()
            write_tree(folder, some, same_time=case.same_time)
        where = root / f"list{dialect.ending}"
        rows = [(file.path, file.parts[0]) for file in files]
        write_list(where, rows, dialect)
        classes = [file.parts[0] for file in files]
        doors = labelled_doors(where, target, preprocessing, classes, printed)
        no_target = fates(case.target, labelled=False).refused
        missing = dialect.missing is not None
        few_classes = len(expected.classes) < 2
        every = {}
        for name, door in doors.items():
            told = refusals({"": door})[""]
            of_target = name.startswith("train") and no_target
            too_few = few_classes and not name.startswith("eval")
            assert bool(told) == (missing or expected.refused or of_target or too_few), f"{name}: {told}"
            if missing:
                assert "has no label" in told
                assert str(where) in told
            if not told:
                opened, notes = door()
                every[name] = read(root, opened, "\n".join(notes))
                require(every[name], expected, case.channels)
        if every:
            require_equal(every)
        forget(printed)
        told = refusals({"": partial(checks, config_of(where, target), source=True, target=False)})[""]
        assert bool(told) == (missing or expected.refused or few_classes), told
        if not told:
            require_checks(printed.getvalue(), expected, "source")
        every = {}
        for name, door in unlabelled_doors(where, preprocessing).items():
            told = refusals({"": door})[""]
            assert bool(told) == (not expected.used), f"{name}: {told}"
            if not told:
                opened, notes = door()
                every[name] = read(root, opened, "\n".join(notes))
                require(every[name], expected, case.channels)
        if every:
            require_equal(every)
            require_labels_of_target(where, root, files, expected, missing)
        require_predictions(models[case.channels], where, root, expected, place, printed)


def require_labels_of_target(where: Path, root: Path, files, expected: Fates, missing: bool) -> None:
    """The same list as labels of a target that is read as a folder or as a list: each is of its own image."""
    if where.suffix == ".jsonl" or expected.unreadable:
        return  # a label of an image that is not among the target's is refused
    classes = sorted(expected.classes)
    names = [str(root / name) for name in expected.used]
    wanted = {name: key_of(file.parts[0]) for name, file in expected.used.items()}
    if missing:
        wanted.pop(spelled(files[-1].path))
    for target in (root, where):
        told = refusals({"": partial(read_target_labels, where, names, classes, str(target), argument="--labels")})[""]
        assert bool(told) == (not wanted), told
        if not told:
            given_ = read_target_labels(where, names, classes, str(target), argument="--labels")
            pairs = zip(given_.rows.tolist(), given_.labels.tolist(), strict=True)
            assert {below(root, names[row]): classes[label] for row, label in pairs} == wanted


@few
@given(list_cases())
@example(ListCase(Case(TWINS, OTHERS), Dialect()))
@example(ListCase(Case((*CLASSES, *TWINS[:1:-1]), OTHERS), Dialect()))  # the composed name second
@example(ListCase(Case((*CLASSES, File("cat/0.bmp ", "bmp", "", 90)), OTHERS), Dialect()))
@example(ListCase(Case(CLASSES, OTHERS), Dialect(dots=True)))  # --labels refused such paths
@example(
    ListCase(Case((*CLASSES, File("cat/n\u00e4chste/back\\slash.png", "png", "", 0)), OTHERS), Dialect(decompose=True))
)
def test_every_door_reads_the_same_of_lists(models, of_lists):
    check_lists(of_lists, models)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@many
@given(list_cases())
def test_every_door_reads_the_same_of_many_lists(models, of_lists):
    check_lists(of_lists, models)


def test_a_run_on_awkward_data_is_of_the_same_files_at_every_door(tmp_path):
    """A short training, and what is written and asked of it afterwards."""
    odd = (*TWINS, File("dog/x", "png", "cut", 1), File("@eaDir/a.png"), File("dog/.a.png"), File("dog/b.xyz"))
    places = {}
    for what, labelled in (("source", True), ("target", False)):
        places[what] = tmp_path / what, fates(odd, labelled=labelled)
        write_tree(places[what][0], odd)
        (places[what][0] / f"{what}.txt").write_text("not an image")
    (source, of_source), (target, of_target) = places.values()
    out, query, predicted = (str(tmp_path / name) for name in ("run", "query.csv", "predicted.csv"))
    quick = ["--steps", "2", "--batch", "4", "--data.size", "16", "--method", "source-only", "--device", "cpu"]
    quick += ["--data.validation_share", "0.5"]
    for command in (
        ["train", "--source", str(source), "--target", str(target), "--out", out, *quick],
        ["query", out, "--n", "99", "--out", query],
        ["predict", out, "--images", str(target), "--out", predicted],
        ["eval", out, "--data", str(source)],
    ):
        assert run(command) == 0, command
    for file in (query, predicted):
        with Path(file).open(newline="", encoding="utf-8") as content:
            names = [below(target, row["path"]) for row in csv.DictReader(content)]
        assert sorted(names) == sorted(of_target.used)
    counts = json.loads((tmp_path / "run/summary.json").read_text())["counts"]
    assert counts["source"] + counts["source_validation"] == len(of_source.used)
    assert counts["target"] == len(of_target.used)
    left_out = json.loads((tmp_path / "run/left_out.json").read_text())
    for what, (root, expected) in places.items():
        assert {below(root, each["path"]) for each in left_out[what]} == {*expected.left_out, f"{what}.txt"}
    (measured,) = (tmp_path / "run/evaluations").glob("*.json")
    assert json.loads(measured.read_text())["count"] == len(of_source.used)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_each_kind_is_read_where_it_is_whole(kind):
    for seed in range(3):
        assert reference(File("a", kind, "", seed).content(), 3) is not None
        assert reference(File("a", kind, "cut", seed).content(), 3) is None
