"""The page says what the files say, survives hostile names, and needs nothing from outside."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from dalib.errors import UserError
from dalib.report.page import write_report
from dalib.runfolder import RunFolder, read_json, write_json

if TYPE_CHECKING:
    from pathlib import Path

MakeRun = Callable[..., RunFolder]
HOSTILE = "<script>alert('1')</script>\"'&" + "x" * 400 + "\u202e日本語"
VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """All tags with their attributes, all text, and the tags that are open at the end."""

    def __init__(self, run: RunFolder) -> None:
        super().__init__()
        self.source = write_report(run).read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def texts(self, tag: str) -> list[str]:
        found = re.findall(rf"<{tag}\b[^>]*>(.*?)</{tag}>", self.source, flags=re.DOTALL)
        return [re.sub("<[^>]*>", "", each).strip() for each in found]

    @property
    def headline(self) -> str:
        (headline,) = self.texts("h1")
        return headline


def measured(accuracy: float, low: float, high: float, classes: int = 3) -> dict[str, Any]:
    confusion = [[8 if row == column else 1 for column in range(classes)] for row in range(classes)]
    return {"accuracy": accuracy, "interval": [low, high], "confusion": confusion}


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    def make(
        *,
        name: str = "run",
        status: str = "done",
        adapted: tuple[float, float, float] | None = None,
        classes: tuple[str, ...] = ("a", "b", "c"),
        text: str = "digits-held-out",
    ) -> RunFolder:
        """A whole run; ``adapted`` is accuracy, low, high on labelled data, where source-only has 84.9%."""
        run = RunFolder(tmp_path / name)
        run.source_only.root.mkdir(parents=True)
        run.samples.mkdir()
        run.config.write_text(f"source: fonts\ntarget: '{text}'\n", encoding="utf-8")
        count = len(classes)
        model = {"source_validation_accuracy": 0.99, "target_confidence": 0.9}
        write_json(
            run.summary,
            {
                "dalib": "1.2.3",
                "torch": "2.11",
                "python": "3.11",
                "device": "CPU",
                "status": status,
                "started": "2026-01-02T03:04:05+00:00",
                "method": "self-ensemble",
                "source": "fonts",
                "target": text,
                "classes": list(classes),
                "counts": {"source": 90, "source_validation": 10, "target": 1200, "unreadable": 1},
                "seconds": {"data": 1.0, "source-only": 60.0, "adapted": 120.0},
                "models": {
                    "source-only": {**model, "target_histogram": [400] * count},
                    "adapted": {**model, "target_histogram": [600] * (count - 1) + [0]},
                },
                "changed": 0.25,
            },
        )
        for training in (run, run.source_only):
            training.metrics.write_text(
                '{"step": 25, "loss": 2.0, "supervised": 1.5, "consistency": 0.5, "class_balance": 0.0,'
                ' "mask_rate": 0.5, "agreement": 0.75}\n'
                '{"step": 50, "supervised": 0.5, "source_validation_accuracy": 0.95}\n'
                '{"step": 75, "superv',
                encoding="utf-8",
            )
        Image.new("L", (10, 16)).save(run.views)
        Image.new("L", (8, 8)).save(run.samples / "000.png")
        predictions = {
            "adapted": {"class": classes[0], "confidence": 0.9},
            "source-only": {"class": classes[1], "confidence": 0.4},
        }
        write_json(run.samples / "samples.json", [{"file": "000.png", "name": text, "predictions": predictions}])
        write_json(run.unreadable, [{"path": f"{number}-{text}", "reason": text} for number in range(25)])
        if adapted is not None:
            models = {"adapted": measured(*adapted, count), "source-only": measured(0.849, 0.818, 0.876, count)}
            evaluation = {"data": text, "count": 597, "when": "2026", "classes": list(classes), "models": models}
            write_json(run.evaluations / "labelled.json", evaluation)
        return run

    return make


@pytest.mark.parametrize(
    ("adapted", "headline", "notes"),
    [
        (
            (0.961, 0.942, 0.974),
            "Adaptation helped: 96.1% against 84.9% source-only on digits-held-out (597 images)",
            ["11.2 points more", "do not overlap"],
        ),
        (
            (0.7, 0.66, 0.73),
            "Adaptation hurt: 70.0% against 84.9% source-only on digits-held-out (597 images)",
            ["14.9 points less", "do not overlap"],
        ),
        (
            (0.86, 0.83, 0.88),
            "Adaptation made no clear difference: 86.0% against 84.9% source-only on digits-held-out (597 images)",
            ["1.1 points more", "overlap, so the difference may be chance"],
        ),
    ],
)
def test_with_labels_the_headline_judges(
    make_run: MakeRun, adapted: tuple[float, float, float], headline: str, notes: list[str]
) -> None:
    page = Page(make_run(adapted=adapted))
    assert page.headline == headline
    for note in notes:
        assert note in page.text
    assert "dalib eval" not in page.text


def test_without_labels_it_says_so_and_names_the_command(make_run: MakeRun) -> None:
    run = make_run(name="my run")
    page = Page(run)
    assert page.headline == "Without labels, nobody can say for sure yet whether adaptation helped"
    assert "300 of 1,200 target images (25.0%) changed class" in page.text
    assert f"dalib eval '{run.root}' --data FOLDER" in page.text
    assert "Mistakes on" not in page.text


@pytest.mark.parametrize(
    ("status", "word"), [("diverged", "diverged"), ("running", "not finished"), ("odd", "its status is “odd”")]
)
def test_a_run_that_is_not_done_says_so_first(make_run: MakeRun, status: str, word: str) -> None:
    page = Page(make_run(status=status, adapted=(0.961, 0.942, 0.974)))
    assert word in page.headline
    assert "Adaptation helped" not in page.headline


def test_one_model_alone_is_not_judged(make_run: MakeRun) -> None:
    run = make_run(adapted=(0.961, 0.942, 0.974))
    path = run.evaluations / "labelled.json"
    evaluation = json.loads(path.read_text(encoding="utf-8"))
    del evaluation["models"]["source-only"]
    write_json(path, evaluation)
    page = Page(run)
    assert page.headline == "The adapted model reaches 96.1% on digits-held-out (597 images)"
    assert "nobody can say whether adaptation helped" in page.text
    assert "Accuracy by class" not in page.text


@pytest.mark.parametrize("classes", [3, 25])
def test_hostile_names_are_text(make_run: MakeRun, classes: int) -> None:
    names = (HOSTILE, *(f"{number}{HOSTILE}" for number in range(1, classes)))
    page = Page(make_run(name="a <script> '\"&", adapted=(0.9, 0.88, 0.92), classes=names, text=HOSTILE))
    assert not {"script", "iframe", "object", "embed", "link", "base", "form"} & {tag for tag, _ in page.tags}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert page.open == []
    assert "<script>" in page.text
    assert "\u202e" not in page.source


def test_nothing_is_loaded_from_outside(make_run: MakeRun) -> None:
    page = Page(make_run(adapted=(0.9, 0.88, 0.92)))
    assert "http:" not in page.source
    assert "https:" not in page.source
    assert "url(" not in page.source
    assert "@import" not in page.source
    addresses = [attributes[key] for _, attributes in page.tags for key in ("src", "href") if key in attributes]
    assert len(addresses) == 2
    assert all(address and address.startswith("data:image/png;base64,") for address in addresses)


def test_readers_without_eyes_are_served(make_run: MakeRun) -> None:
    page = Page(make_run(adapted=(0.9, 0.88, 0.92)))
    assert ("html", {"lang": "en"}) in page.tags
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(attributes.get("alt") for tag, attributes in page.tags if tag == "img")
    assert len(page.texts("caption")) == sum(tag == "table" for tag, _ in page.tags)
    assert all(
        attributes.get("aria-label") or attributes.get("aria-hidden") for tag, attributes in page.tags if tag == "svg"
    )


def test_the_import_brings_no_torch() -> None:
    code = "import sys, dalib.report.page; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_the_same_folder_gives_the_same_bytes(make_run: MakeRun) -> None:
    run = make_run(adapted=(0.9, 0.88, 0.92))
    first = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == first
    assert not list(run.root.glob("*.tmp"))


SECTIONS = {
    "Training": ["metrics.jsonl", "source-only/metrics.jsonl"],
    "Mistakes on digits-held-out": ["evaluations/labelled.json"],
    "Augmented views": ["views.png"],
    "Sample predictions": ["samples/samples.json"],
    "Unreadable files": ["unreadable.json"],
}


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_without_its_files_is_left_out(make_run: MakeRun, section: str) -> None:
    run = make_run(adapted=(0.9, 0.88, 0.92))
    before = Page(run).texts("h2")
    for file in SECTIONS[section]:
        (run.root / file).unlink()
    assert section in before
    assert Page(run).texts("h2") == [title for title in before if title != section]


def test_the_least_folder_makes_a_page(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.config.write_text("steps: 1\n", encoding="utf-8")
    write_json(run.summary, {"status": "running", "method": "source-only", "models": {}})
    assert Page(run).texts("h2") == ["To repeat this run"]


def test_a_line_that_is_still_being_written_is_ignored(make_run: MakeRun) -> None:
    page = Page(make_run())
    labels = [attributes["aria-label"] for _, attributes in page.tags if "aria-label" in attributes]
    assert "Loss parts, adapted over 50 steps: supervised from 1.5 to 0.5; consistency from 0.5 to 0.5" in labels


def test_metrics_that_are_no_numbers_are_ignored(make_run: MakeRun) -> None:
    run = make_run()
    run.metrics.write_text(
        '[1]\n{"step": "x"}\n{"supervised": 1}\n{"step": 5, "supervised": NaN, "mask_rate": null}\n', encoding="utf-8"
    )
    run.source_only.metrics.unlink()
    assert "Training" not in Page(run).texts("h2")


def test_many_classes_give_pairs_instead_of_a_matrix(make_run: MakeRun) -> None:
    few = Page(make_run(name="few", adapted=(0.9, 0.88, 0.92)))
    many = Page(make_run(name="many", adapted=(0.9, 0.88, 0.92), classes=tuple(f"class {n}" for n in range(21))))
    assert ("table", {"class": "matrix"}) in few.tags
    assert ("table", {"class": "matrix"}) not in many.tags
    assert "Most confused pairs, adapted" in many.text


def test_a_vanished_class_is_named(make_run: MakeRun) -> None:
    assert "The adapted model predicts no target image as c." in Page(make_run()).text


def test_samples_on_which_models_differ_are_marked(make_run: MakeRun) -> None:
    assert ("li", {"class": "differ"}) in Page(make_run()).tags


def test_a_sample_outside_its_folder_is_not_read(make_run: MakeRun) -> None:
    run = make_run()
    write_json(run.samples / "samples.json", [{"file": "../views.png", "name": "x", "predictions": {}}])
    assert "Sample predictions" not in Page(run).texts("h2")


def test_only_the_first_unreadable_files_are_listed(make_run: MakeRun) -> None:
    page = Page(make_run())
    assert "25 files were skipped. The first 20:" in page.text
    assert "19-digits-held-out" in page.text
    assert "20-digits-held-out" not in page.text


def test_a_damaged_file_is_named(make_run: MakeRun) -> None:
    run = make_run()
    run.unreadable.write_text("[", encoding="utf-8")
    with pytest.raises(UserError, match=r"unreadable\.json: expected JSON"):
        write_report(run)


def test_a_measured_run_of_one_model_has_a_page(make_run):
    run = make_run(adapted=(0.96, 0.95, 0.97))
    summary = read_json(run.summary)
    del summary["models"]["source-only"]
    write_json(run.summary, summary)
    (evaluation,) = run.evaluations.glob("*.json")
    result = read_json(evaluation)
    del result["models"]["source-only"]
    write_json(evaluation, result)
    assert "96.0%" in Page(run).text
