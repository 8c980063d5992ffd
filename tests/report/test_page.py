"""The page says what the files say, survives hostile names, and needs nothing from outside."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dalib.commands.flags import FlagSpelling
from dalib.core.errors import UserError, spelled
from dalib.core.files import read_json, write_json
from dalib.records.candidates import ADAPTED, CANDIDATES, Candidate
from dalib.records.folder import RunFolder
from dalib.report.page import write_report

MakeRun = Callable[..., RunFolder]
HOSTILE = "<script>alert('1')</script>\"'&" + "x" * 400 + "\u202e日本語"
VOID = {"meta", "img", "br", "link", "input", "wbr"}


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


BINS = [
    {"confidence": 0.35, "accuracy": 0.3, "count": 10},
    {"confidence": None, "accuracy": None, "count": 0},
    {"confidence": 0.95, "accuracy": 0.9, "count": 40},
]


def estimate(value: float | None, reliable: bool = True, reason: str = "") -> dict[str, Any]:
    low, high = (0.0, 1.0) if value is None else (value - 0.04, value + 0.04)
    return {"value": value, "low": low, "high": high, "method": "atc", "reliable": reliable, "reason": reason}


def judged_run(make_run: MakeRun, *, evaluated: bool = False, text: str = "x", **settings: Any) -> RunFolder:
    """A run with all the files that there can be, each of whose texts has ``text`` in it."""
    run = make_run(adapted=(0.9, 0.88, 0.92) if evaluated else None, text=text, **settings)
    summary = read_json(run.summary)
    summary["fingerprints"] = {"source": f"s {text}", "target": f"t {text}"}
    write_json(run.summary, summary)
    classes = summary["classes"]
    model = {
        "scores": {"target_mask_rate": 0.5, "target_mutual_information": 1.25, f"target_new {text}": 2.0},
        "estimate": estimate(0.9, reliable=False, reason=text),
        "classes": [estimate(0.8), estimate(None, reliable=False, reason=text), *(estimate(0.7) for _ in classes[2:])],
        "calibration": {"temperature": 1.5, "error": 0.042, "bins": BINS},
    }
    judgement = {
        "shipped": "adapted",
        "outcome": "helped",
        "headline": f"Adaptation probably helped {text}",
        "reasons": [f"reason {text}"],
        "models": {"source-only": {**model, "estimate": estimate(0.8)}, "adapted": model},
        "distance": 1.25,
        "prior": {
            "kind": f"kind {text}",
            "shares": [1 / len(classes)] * len(classes),
            "estimate": [0.5, 0.5] + [0.0] * (len(classes) - 2),
        },
        "selection": {"step": 50, "of": 75, "score": f"score {text}", "reason": f"because {text}"},
    }
    write_json(run.judgement, judgement)
    points = [[0.1 * index, -0.1 * index, index % len(classes)] for index in range(30)]
    both = {"source": points, "target": points}
    write_json(run.embedding, {"method": f"t-SNE {text}", "models": {"source-only": both, "adapted": both}})
    with run.metrics.open("a", encoding="utf-8") as file:
        file.write('\n{"step": 50, "target_mask_rate": 0.5, "target_mutual_information": 1.2, "target_classes": 2.5}\n')
        file.write('{"step": 75, "target_mask_rate": 0.6, "target_mutual_information": 1.3, "target_classes": 2.4}\n')
    samples = read_json(run.samples / "samples.json")
    write_json(run.samples / "samples.json", [{**samples[0], "group": group} for group in ("most", "least", "differ")])
    for path in run.evaluations.glob("*.json"):
        evaluation = read_json(path)
        for measures in evaluation["models"].values():
            measures["calibration"] = {"error": 0.07, "bins": BINS}
        write_json(path, {**evaluation, "paired": {"adapted": 60, "source_only": 20}})
    return run


@pytest.mark.parametrize(
    ("adapted", "headline", "notes"),
    [
        (
            (0.961, 0.942, 0.974),
            "Adaptation helped: adapted 96.1%, source-only 84.9% on digits-held-out (597 images)",
            ["11.2 points more", "do not overlap"],
        ),
        (
            (0.7, 0.66, 0.73),
            "Adaptation hurt: adapted 70.0%, source-only 84.9% on digits-held-out (597 images)",
            ["14.9 points less", "do not overlap"],
        ),
        (
            (0.86, 0.83, 0.88),
            "Adaptation made no clear difference: adapted 86.0%, source-only 84.9% on digits-held-out (597 images)",
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
    assert ".evaluate(" not in page.text


@pytest.mark.parametrize("given", [".", "..", "../../run"])
def test_the_page_is_named_by_the_folder_wherever_it_is_written_from(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    run = make_run()
    inside = run.root.resolve() / ("" if given == "." else "samples")
    inside.mkdir(exist_ok=True)
    monkeypatch.chdir(inside)
    page = write_report(RunFolder(Path(given))).read_text(encoding="utf-8")
    assert "dalib report · <bdi>run</bdi>" in page


def test_without_labels_it_says_so_and_names_the_command(make_run: MakeRun) -> None:
    run = make_run(name="my run")
    assert f"dalib.open_run({str(run.root)!r}).evaluate(data='FOLDER')" in Page(run).text
    with spelled(FlagSpelling()):
        page = Page(run)
    assert page.headline == "Without labels, it is not known whether adaptation helped"
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
    assert "it is unknown whether adaptation helped" in page.text
    assert "Accuracy by class" not in page.text


@pytest.mark.parametrize("evaluated", [True, False])
@pytest.mark.parametrize("classes", [3, 25])
def test_hostile_names_are_text(make_run: MakeRun, classes: int, evaluated: bool) -> None:
    names = (HOSTILE, *(f"{number}{HOSTILE}" for number in range(1, classes)))
    run = judged_run(make_run, evaluated=evaluated, name="a <script> '\"&", classes=names, text=HOSTILE)
    page = Page(run)
    assert {"path", "svg"} <= {tag for tag, _ in page.tags}
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
    assert addresses
    assert all(address and address.startswith(("data:image/png;base64,", "#")) for address in addresses)
    assert "script" not in {tag for tag, _ in page.tags}


def test_links_lead_to_sections(make_run: MakeRun) -> None:
    page = Page(judged_run(make_run))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [str(attributes["href"]) for tag, attributes in page.tags if tag == "a"]
    assert len(links) > 5
    assert {link.removeprefix("#") for link in links} <= set(ids)


@pytest.mark.parametrize("evaluated", [True, False])
def test_readers_without_eyes_are_served(make_run: MakeRun, evaluated: bool) -> None:
    page = Page(judged_run(make_run, evaluated=evaluated))
    assert [tag for tag, _ in page.tags].count("main") == 1
    ids = {attributes.get("id") for _, attributes in page.tags}
    assert all(attributes["aria-labelledby"] in ids for tag, attributes in page.tags if tag == "section")
    assert all(attributes.get("scope") for tag, attributes in page.tags if tag == "th")
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
    before = sections(run)
    for file in SECTIONS[section]:
        (run.root / file).unlink()
    assert section in before
    assert sections(run) == [title for title in before if title != section]


def sections(run: RunFolder) -> list[str]:
    """Without the one that explains the verdict, which every file may change."""
    return [title for title in Page(run).texts("h2") if not title.startswith("Why")]


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


def test_neither_a_flag_nor_source_only_is_broken_at_its_hyphen(make_run: MakeRun) -> None:
    run = judged_run(make_run)
    judgement = read_json(run.judgement)
    judgement["headline"] = "Better than source-only with --classes fewer, and no source-onlyness"
    write_json(run.judgement, judgement)
    page = Page(run)
    assert page.headline.startswith("Better than source-only with --classes fewer, and no source-onlyness")
    assert '<span class="whole">source-only</span> with <span class="whole">--classes</span> fewer' in page.source
    assert ">source-only</span>ness" not in page.source


def test_an_estimate_says_that_it_is_one(make_run: MakeRun) -> None:
    page = Page(judged_run(make_run))
    assert page.headline == "Adaptation probably helped x (an estimate, not a measurement)"
    assert "estimated without labels" in page.text
    assert "The estimate for adapted is not reliable: x." in page.text
    assert "The adapted model is the selected model of this run." in page.text
    assert "Reason x." in page.text
    assert "Adapted estimate" in page.text


def test_a_judged_run_has_each_section_in_its_place(make_run: MakeRun) -> None:
    assert Page(judged_run(make_run)).texts("h2") == [
        "Where source-only and adapted differ",
        "Why, and what to do next",
        "The models side by side",
        "Estimated accuracy by class",
        "Sample predictions",
        "Map of the features",
        "Predicted classes on the target",
        "Training",
        "Does confidence match accuracy?",
        "Augmented views",
        "Unreadable files",
        "To repeat this run",
        "Label-free scores",
    ]


def test_mistakes_are_shown_with_their_truth(make_run: MakeRun) -> None:
    run = judged_run(make_run, evaluated=True)
    (path,) = run.evaluations.glob("*.json")
    (run.mistakes / "x").mkdir(parents=True)
    Image.new("L", (8, 8)).save(run.mistakes / "x" / "000.png")
    predictions = {"adapted": {"class": "a", "confidence": 0.9}, "source-only": {"class": "c", "confidence": 0.8}}
    mistake = {"file": "000.png", "name": HOSTILE, "group": "lost", "truth": "c", "predictions": predictions}
    write_json(path, read_json(path) | {"pictures": "x", "mistakes": [mistake]})
    page = Page(run)
    assert "Lost by adaptation" in page.texts("h3")
    assert re.search(r"truth.*?<bdi>c</bdi>.*?<dd class=\"wrong\"><bdi>a</bdi>", page.source, flags=re.DOTALL)
    assert "script" not in {tag for tag, _ in page.tags}


@pytest.mark.parametrize("group", ["lost", "both", "mended"])
def test_mistakes_name_the_model_that_the_adapted_one_is_compared_with(make_run: MakeRun, group: str) -> None:
    run = judged_run(make_run, evaluated=True)
    (path,) = run.evaluations.glob("*.json")
    (run.mistakes / "x").mkdir(parents=True)
    Image.new("L", (8, 8)).save(run.mistakes / "x" / "000.png")
    predictions = {"adapted": {"class": "a", "confidence": 0.9}, "aligned": {"class": "c", "confidence": 0.8}}
    mistake = {"file": "000.png", "name": "x", "group": group, "truth": "c", "predictions": predictions}
    write_json(path, read_json(path) | {"pictures": "x", "mistakes": [mistake]})
    (note,) = re.findall(r" by adaptation</h3>\s*<p[^>]*>([^<]*)</p>", Page(run).source)
    assert "aligned" in note
    assert "source-only" not in note


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda each: each.name)
@pytest.mark.parametrize("mark", ["i", ".curve", ".dot", ".bin", ".samples.compact dt"])
def test_each_model_has_a_colour_in_every_figure(make_run: MakeRun, mark: str, candidate: Candidate) -> None:
    source = Page(make_run()).source
    own = rf"{re.escape(mark)}\.{candidate.name}\b[^{{}}]*\{{[^}}]*var\(--"
    adapted_is_the_default = mark == ".bin" and candidate.name == ADAPTED
    assert re.search(r"\.bin \{[^}]*var\(--adapted" if adapted_is_the_default else own, source)


@pytest.mark.parametrize("folder", ["..", "../x", "", "."])
def test_pictures_of_mistakes_outside_their_folder_are_not_read(make_run: MakeRun, folder: str) -> None:
    run = judged_run(make_run, evaluated=True)
    (path,) = run.evaluations.glob("*.json")
    Image.new("L", (8, 8)).save(run.root / "000.png")
    mistake = {"file": "000.png", "group": "lost", "truth": "c"}
    write_json(path, read_json(path) | {"pictures": folder, "mistakes": [mistake]})
    run.mistakes.mkdir()
    assert "Lost by adaptation" not in Page(run).texts("h3")


def test_a_map_shows_the_image_of_a_mark_without_a_script(make_run: MakeRun) -> None:
    run = judged_run(make_run)
    embedding = read_json(run.embedding)
    for domains in embedding["models"].values():
        domains["source_tiles"], domains["target_tiles"] = list(range(30)), list(range(30, 60))
    Image.new("RGB", (32 * 8, 16)).save(run.embedding.with_name("map.jpg"))
    write_json(run.embedding, embedding | {"sheet": {"file": "map.jpg", "size": 8, "columns": 32}})
    page = Page(run)
    assert "Point at a mark to see its image." in page.text
    assert ("use", {"href": "#thumbnails"}) in page.tags
    (image,) = [attributes for tag, attributes in page.tags if tag == "image"]
    assert str(image["href"]).startswith("data:image/jpeg;base64,")
    write_json(run.embedding, embedding | {"sheet": {"file": "../map.jpg", "size": 8, "columns": 32}})
    assert "Point at a mark" not in Page(run).text


def test_scores_come_last_and_are_folded(make_run: MakeRun) -> None:
    page = Page(judged_run(make_run))
    assert page.texts("h2")[-1] == "Label-free scores"
    assert page.source.rindex("<details>") < page.source.index("Mutual information</bdi>")


def test_measured_classes_replace_estimated_ones(make_run: MakeRun) -> None:
    titles = Page(judged_run(make_run, evaluated=True)).texts("h2")
    assert "Mistakes on x" in titles
    assert "Estimated accuracy by class" not in titles


def test_the_same_images_decide(make_run: MakeRun) -> None:
    page = Page(judged_run(make_run, evaluated=True))
    assert "measured with labels" in page.text
    assert "Only the adapted model is right on 60 images, only the source-only one on 20" in page.text
    assert "Without these labels, the judgement was: Adaptation probably helped x." in page.text


def test_the_models_stand_side_by_side(make_run: MakeRun) -> None:
    page = Page(judged_run(make_run))
    assert "adaptedselected" in page.text
    assert "Mutual information" in page.text
    assert "certain and diverse, in nats; higher is better" in page.text
    assert "1.250" in page.text
    assert "the domains are 1.25 apart" in page.text


def test_the_kept_step_is_marked(make_run: MakeRun) -> None:
    page = Page(judged_run(make_run))
    kept = [attributes for tag, attributes in page.tags if tag == "path" and attributes.get("class") == "kept"]
    assert len(kept) > 2
    assert "kept: step 50" in page.text
    assert "Weights kept: step 50 of 75, by the rule “score x”. Because x." in page.text


def test_label_free_curves_are_drawn(make_run: MakeRun) -> None:
    page = Page(judged_run(make_run))
    labels = [str(attributes["aria-label"]) for _, attributes in page.tags if "aria-label" in attributes]
    assert any(label.startswith("Label-free scores, adapted over 75 steps: mask rate") for label in labels)
    assert any("mutual information from 1.2 to 1.3" in label for label in labels)
    assert any("effective classes from 2.5 to 2.4" in label for label in labels)


def test_the_loss_parts_of_every_method_are_drawn(make_run: MakeRun) -> None:
    run = judged_run(make_run)
    run.metrics.write_text(
        '{"step": 25, "supervised": 1.5, "class_confusion": 0.5, "masked": 0.25}\n'
        '{"step": 50, "supervised": 0.5, "class_confusion": 0.4, "masked": 0.2}\n',
        encoding="utf-8",
    )
    page = Page(run)
    labels = [str(attributes["aria-label"]) for _, attributes in page.tags if "aria-label" in attributes]
    assert any("class confusion from 0.5 to 0.4; masked from 0.25 to 0.2" in label for label in labels)


def test_calibration_is_drawn_of_source_and_of_labelled_target(make_run: MakeRun) -> None:
    page = Page(judged_run(make_run, evaluated=True))
    labels = [str(attributes["aria-label"]) for _, attributes in page.tags if "aria-label" in attributes]
    assert sum(label.startswith("Accuracy by confidence") for label in labels) == 2
    assert "calibration error 4.2%" in page.text
    assert "calibration error 7.0%" in page.text


def test_the_map_tells_domains_by_shape(make_run: MakeRun) -> None:
    page = Page(judged_run(make_run))
    classes = [str(attributes.get("class")) for tag, attributes in page.tags if tag == "path"]
    assert "marks source c0" in classes
    assert "marks target c0" in classes
    assert "hollow square: source" in page.text


def test_priors_stand_beside_the_predicted_classes(make_run: MakeRun) -> None:
    page = Page(judged_run(make_run))
    assert "prior used (kind x)" in page.text
    assert "prior estimated" in page.text


def test_samples_come_in_groups(make_run: MakeRun) -> None:
    assert [title for title in Page(judged_run(make_run)).texts("h3") if title in GROUPS] == GROUPS


def alts(page: Page) -> list[tuple[str, str]]:
    return [(tag, str(attributes.get("alt"))) for tag, attributes in page.tags if tag == "img"]


def with_kinds(page: Page) -> list[str]:
    return [title for title in page.texts("h3") if title.endswith("is the surer one")]


def differing_run(make_run: MakeRun, kinds: dict[str, int], **settings: Any) -> RunFolder:
    run = judged_run(make_run, **settings)
    (sample, *_) = read_json(run.samples / "samples.json")
    write_json(
        run.samples / "samples.json",
        [
            sample | {"group": "differ", "surer": surer, "name": f"{surer} {number} {settings.get('text', '')}"}
            for surer, count in kinds.items()
            for number in range(count)
        ],
    )
    return run


def test_where_the_models_differ_stands_right_under_the_verdict(make_run: MakeRun) -> None:
    page = Page(differing_run(make_run, {"adapted": 12, "source-only": 3}))
    assert page.texts("h2")[0] == "Where source-only and adapted differ"
    assert with_kinds(page) == ["The adapted model is the surer one"]
    assert "They give different classes on 300 of 1,200 target images (25.0%)" in page.text
    assert "The surest come first" in page.text
    assert page.texts("summary")[0] == "3 more images"
    cards = re.findall(r"<dl>(.*?)</dl>", page.source, flags=re.DOTALL)
    assert len(cards) == 15
    assert " ".join(re.sub("<[^>]*>", " ", cards[0]).split()) == "adapted a 90.0% source-only b 40.0%"
    names = [alt.removeprefix("Target image ").strip() for tag, alt in alts(page) if "Target" in alt]
    assert names[:7] == [f"{surer} {n}" for n in range(3) for surer in ("adapted", "source-only")] + ["adapted 3"]
    assert "Drawn at random" not in page.text


def test_differences_of_older_runs_are_called_drawn_at_random(make_run: MakeRun) -> None:
    page = Page(judged_run(make_run))
    assert "Drawn at random from the images on which the models give different classes." in page.text
    assert "The surest come first" not in page.text


def test_hostile_names_among_the_differences_are_text(make_run: MakeRun) -> None:
    names = (HOSTILE, f"1{HOSTILE}", f"2{HOSTILE}")
    page = Page(differing_run(make_run, {"adapted": 8, HOSTILE: 2}, text=HOSTILE, classes=names, name="a <b> run"))
    assert "script" not in {tag for tag, _ in page.tags}
    assert page.open == []


def test_the_probability_is_a_number_that_matters(make_run: MakeRun) -> None:
    for evaluated, note in ((False, "estimated without labels"), (True, "as judged without labels")):
        run = judged_run(make_run, evaluated=evaluated, name=f"run {evaluated}")
        assert "Probability" not in Page(run).text
        write_json(run.judgement, read_json(run.judgement) | {"probability": 0.974})
        tiles = re.findall(r"<dl class=\"tiles\">(.*?)</dl>", Page(run).source, flags=re.DOTALL)
        assert (
            f'<dt>Probability that adaptation helped</dt><dd class="value">97%</dd><dd class="small quiet">{note}'
            in tiles[0]
        )


@pytest.mark.parametrize("outcome", ["helped", "hurt", "unclear"])
def test_the_banner_has_the_colour_of_the_finding(make_run: MakeRun, outcome: str) -> None:
    run = judged_run(make_run)
    write_json(run.judgement, read_json(run.judgement) | {"outcome": outcome})
    page = Page(run)
    assert ("header", {"class": outcome}) in page.tags
    assert re.search(rf"header\.{outcome}\b[^}}]*--tone: var\(--{outcome}\)", page.source)


def test_commands_of_the_next_steps_quote_the_folder(make_run: MakeRun) -> None:
    run = judged_run(make_run, name="my run")
    with spelled(FlagSpelling()):
        page = Page(run)
    assert "What to do next" in page.text
    assert f"dalib query '{run.root}' --n 30 --out to_label.csv" in page.text
    assert f"dalib keep '{run.root}' source-only" in page.text


GROUPS = ["Least confident", "Most confident"]


def test_a_damaged_judgement_is_named(make_run: MakeRun) -> None:
    run = judged_run(make_run)
    run.judgement.write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match=r"judgement\.json: expected JSON"):
        write_report(run)


@pytest.mark.parametrize("judgement", [{}, {"headline": "It helped"}, {"models": {"adapted": {}}, "prior": {}}])
def test_a_judgement_may_have_gaps(make_run: MakeRun, judgement: dict[str, Any]) -> None:
    run = make_run()
    write_json(run.judgement, {"shipped": "adapted", "outcome": "helped"} | judgement)
    write_json(run.embedding, {})
    assert Page(run).open == []


def test_a_judgement_without_an_outcome_is_damaged(make_run: MakeRun) -> None:
    run = make_run()
    write_json(run.judgement, {"shipped": "adapted"})
    with pytest.raises(UserError, match=r"judgement\.json: expected outcome, which is missing"):
        write_report(run)


def test_nulls_in_a_judgement_are_dashes(make_run: MakeRun) -> None:
    run = judged_run(make_run)
    judgement = read_json(run.judgement)
    judgement["prior"].update(shares=None, estimate=None)
    judgement["distance"] = None
    for model in judgement["models"].values():
        model["estimate"] = estimate(None, reliable=False, reason="too few")
        model["scores"] = {"target_mask_rate": None}
    write_json(run.judgement, judgement)
    page = Page(run)
    assert "no estimate: too few" in page.text
    assert "share of images the model is confident of" not in page.text


def test_the_aligned_model_gets_a_column(make_run: MakeRun) -> None:
    run = judged_run(make_run, evaluated=True)
    (path,) = run.evaluations.glob("*.json")
    evaluation = read_json(path)
    evaluation["models"]["aligned"] = measured(0.87, 0.85, 0.89)
    write_json(path, evaluation)
    headers = Page(run).source.partition('"wide models"')[2].partition("<thead>")[2].partition("</thead>")[0]
    whole = '<span class="whole">source-only</span>'  # it is one word where the table is narrow
    assert re.findall(r'class="n">(<span.*?</span>|[\w-]+)', headers) == [whole, "aligned", "adapted"]
    assert headers.lower().count("selected") == 1, "who selected the model is said once"


def test_labels_of_a_few_images_count_before_the_estimate(make_run: MakeRun) -> None:
    run = judged_run(make_run)
    write_json(run.labelled, few_labels(0.02, 0.12))
    page = Page(run)
    assert page.headline == (
        "Adaptation helped: adapted about 92.0%, source-only 85.0%, from the labels of 100 target images"
    )
    assert "from 100 labels of 1,200 images" in page.text


def few_labels(low: float, high: float) -> dict[str, Any]:
    return {
        "labels": "labels.csv",
        "when": "2026",
        "count": 100,
        "target": 1200,
        "design": "stratified",
        "notes": ["a note"],
        "models": {
            "adapted": {"value": 0.92, "low": 0.86, "high": 0.96, "count": 100},
            "source-only": {"value": 0.85, "low": 0.78, "high": 0.9, "count": 100},
        },
        "difference": {"value": (low + high) / 2, "low": low, "high": high, "count": 40},
    }


def test_ten_thousand_target_images_make_no_heavy_page(make_run: MakeRun) -> None:
    run = judged_run(make_run, evaluated=True, classes=tuple(f"class number {n}" for n in range(100)))
    generator = random.Random(0)

    def noise(width: int, height: int) -> Image.Image:  # what PNG compresses worst
        return Image.frombytes("RGB", (width, height), generator.randbytes(3 * width * height))

    summary = read_json(run.summary)
    summary["counts"]["target"] = 10_000
    write_json(run.summary, summary)
    samples = []
    for number in range(36):
        noise(112, 112).save(run.samples / f"{number:03d}.png")
        predictions = {name: {"class": "class number 1", "confidence": 0.5} for name in ("adapted", "source-only")}
        group = ("differ", "least", "most")[number % 3]
        samples.append({"file": f"{number:03d}.png", "name": "n" * 50, "group": group, "predictions": predictions})
    write_json(run.samples / "samples.json", samples)
    noise(5 * 114, 8 * 114).save(run.views)
    points = [[generator.random(), generator.random(), generator.randrange(100)] for _ in range(10_000)]
    both = {"source": points, "target": points}
    write_json(run.embedding, {"method": "t-SNE", "models": {"source-only": both, "adapted": both}})
    write_json(run.unreadable, [{"path": f"{number}.png", "reason": "truncated"} for number in range(10_000)])
    line = '{"step": %d, "supervised": 0.5, "target_mask_rate": 0.25, "source_validation_accuracy": 0.9}\n'
    run.metrics.write_text("".join(line % step for step in range(1, 20_000)), encoding="utf-8")
    assert write_report(run).stat().st_size < 5_000_000


def test_the_title_of_a_long_verdict_ends_with_a_whole_word(make_run: MakeRun) -> None:
    text = "in every one of its many and wonderfully various surroundings"
    title = Page(judged_run(make_run, text=text)).texts("title")[0]  # marks of the map have titles, too
    words, _, _ = title.partition("…")
    assert "…" in title
    assert f"Adaptation probably helped {text} ".startswith(f"{words} ")
