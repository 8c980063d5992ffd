"""A target with images of unknown classes: which are set apart, what the training sees, and the whole run."""

import csv
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from dalib.commands.main import run
from dalib.core.errors import UserError
from dalib.data.domain_images import UnlabelledImages
from dalib.data.rows import Selected
from dalib.judge.evidence import Evidence
from dalib.judge.structure import Representation
from dalib.models.saved import load_description
from dalib.records.evaluation import Evaluation
from dalib.records.folder import RunFolder, models_of
from dalib.records.images import ImageNames
from dalib.records.labelled import Labelled
from dalib.records.summary import Summary
from dalib.run.classes.unknown import ExpectedKnown
from dalib.run.finished.label_estimates import evaluate_labels
from dalib.run.finished.measure import evaluate
from dalib.run.finished.query import query
from dalib.run.opened import open_run

KNOWN = 6
QUICK = [
    *("--data.size", "16", "--data.channels", "1", "--batch", "32", "--steps", "40", "--baseline_steps", "80"),
    *("--every.log", "20", "--every.evaluate", "20", "--every.checkpoint", "40"),
]


def evidence_of(target):
    return Evidence(torch.zeros(0, target.shape[1]), torch.zeros(0, dtype=torch.int64), target)


@pytest.fixture
def two_kinds():
    """Predictions for 60 images that two models are sure of and 30 that they are not."""
    logits = torch.randn(90, 4, generator=torch.Generator().manual_seed(0))
    logits[torch.arange(60), torch.arange(60) % 4] += 6
    return {"source-only": evidence_of(logits.softmax(dim=1)), "aligned": evidence_of((logits / 2).softmax(dim=1))}


def test_images_that_no_model_is_sure_of_seem_unknown(two_kinds):
    expected = ExpectedKnown.of(two_kinds, None)
    assert int(expected.known[:60].sum()) > 55
    assert int(expected.known[60:].sum()) < 5
    assert "of the target's 90 images" in expected.in_words("abcd")


def test_one_image_of_many_that_seems_unknown_is_not_0_percent_of_them():
    known = torch.ones(400, dtype=torch.bool)
    known[7] = False
    assert ExpectedKnown(known).in_words("abcd").startswith("1 of the target's 400 images (0.2%) seems to be of none")


def test_features_mend_what_single_predictions_get_wrong(two_kinds):
    """Images of an unknown class that the models are sure of lie with others of their class."""
    centres = torch.eye(6)[torch.cat([torch.arange(60) % 4, 4 + torch.arange(30) % 2])]
    target = centres + 0.05 * torch.randn(90, 6, generator=torch.Generator().manual_seed(1))
    sure = two_kinds["source-only"].target.clone()
    sure[60:66] = torch.tensor([0.97, 0.01, 0.01, 0.01])
    source, labels = torch.eye(6)[:4].repeat(5, 1), torch.arange(4).repeat(5)
    before = {"source-only": evidence_of(sure)}
    alone = ExpectedKnown.of(before, None)
    together = ExpectedKnown.of(before, Representation(target, source, labels))
    assert alone.known[60:66].all()
    assert not together.known[60:].any()
    assert together.known[:60].all()


def test_the_target_is_split_into_what_is_trained_on_and_what_is_apart():
    expected = ExpectedKnown(torch.tensor([True, False, True]))
    images, names = torch.arange(3, dtype=torch.uint8)[:, None], ("a", "b", "c")
    of_memory = expected.apart(UnlabelledImages(images, names))
    assert of_memory.images[:, 0].tolist() == [0, 2]
    assert of_memory.outside[:, 0].tolist() == [1]
    assert of_memory.names == ("a", "c")
    of_files = expected.apart(UnlabelledImages(Selected(images, torch.arange(3)), names))
    assert isinstance(of_files.images, Selected)
    assert ExpectedKnown(torch.ones(3, dtype=torch.bool)).apart(UnlabelledImages(images, names)).outside is None


def test_the_judgement_sees_the_images_that_seem_known():
    expected = ExpectedKnown(torch.tensor([True, False, True]))
    p = torch.eye(3)
    left = expected.among(Evidence(p[:0], torch.zeros(0, dtype=torch.int64), p, p, None, p))
    assert torch.equal(left.target, p[[0, 2]])
    assert torch.equal(left.student, p[[0, 2]])
    assert torch.equal(left.target_features, p[[0, 2]])
    grouped = replace(left, target=p, student=None, target_features=None, target_groups=torch.tensor([4, 5, 5]))
    assert expected.among(grouped).target_groups.tolist() == [4, 5]
    seen = expected.seen_in(Representation(p, p[:1], torch.zeros(1, dtype=torch.int64)))
    assert torch.equal(seen.target, p[[0, 2]])


def test_too_few_images_show_no_unknown_ones():
    with pytest.raises(UserError, match="at least 10 target images"):
        ExpectedKnown.of({"source-only": evidence_of(torch.eye(3))}, None)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A source of the digits 0 to 5, and images of all ten, each in a folder of its class."""
    folder, found = tmp_path_factory.mktemp("digits"), load_digits()
    for number, (image, label) in enumerate(zip(found.images[:700], found.target[:700], strict=True)):
        domain = "source" if number < 350 else "target"
        if domain == "target" or label < KNOWN:
            place = folder / domain / str(label)
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray((image * 15).astype("uint8")).resize((16, 16)).save(place / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def trained(digits):
    out = digits / "run"
    given = ["--source", str(digits / "source"), "--target", str(digits / "target"), "--out", str(out)]
    assert run(["train", *given, *QUICK, "--classes", "other"]) == 0
    return RunFolder(out)


def test_a_run_sets_images_apart_and_says_how_many(trained):
    judgement = json.loads(trained.judgement.read_text())
    assert any("seem to be of none of the 6 classes" in reason for reason in judgement["reasons"])
    assert judgement["prior"]["kind"] == "uniform"
    lines = [json.loads(line) for line in trained.metrics.read_text().splitlines()]
    losses = [line["unknown"] for line in lines if "unknown" in line]
    assert losses
    assert all(math.isfinite(loss) for loss in losses)


def test_the_report_and_the_run_show_how_many_images_each_model_predicts_as_unknown(trained):
    counts, page = Summary.read(trained.summary).unknown, trained.report.read_text(encoding="utf-8")
    assert set(counts) == set(models_of(trained))
    assert f'<dt>Predicted as unknown</dt><dd class="value">{counts[trained.selection().model]}</dd>' in page
    assert page.count("Predicted as unknown") == 2  # and the table of the models
    assert "target images as unknown (" in repr(open_run(trained.root))


def test_every_model_of_the_run_has_a_rule_of_its_own(trained):
    rules = {name: load_description(folder).known for name, folder in models_of(trained).items()}
    assert set(rules) >= {"source-only", "adapted"}
    assert None not in rules.values()
    assert len(set(rules.values())) == len(rules)


def test_models_keep_their_rules_where_a_finished_run_is_judged_again(trained, tmp_path):
    again = RunFolder(tmp_path / "again")
    shutil.copytree(trained.root, again.root)
    assert run(["train", "--resume", str(again.root)]) == 0
    rules = {name: load_description(folder).known for name, folder in models_of(again).items()}
    assert rules == {name: load_description(folder).known for name, folder in models_of(trained).items()}
    assert load_description(again.model).known == rules[again.selection().model]
    assert query(again, 3, str(tmp_path / "ask.csv")) == 3


def test_predictions_find_unknown_images_that_training_was_not_told_of(trained, digits, tmp_path, capsys):
    out = tmp_path / "out.csv"
    given = ["--images", str(digits / "target"), "--out", str(out), "--model", "adapted"]
    assert run(["predict", str(trained.root), *given]) == 0
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    unknown = [int(row["path"].split("/")[-2]) >= KNOWN for row in rows]
    said = [row["class"] == "unknown" for row in rows]
    assert f"{sum(said)} of {len(rows)} images are predicted as unknown" in capsys.readouterr().out
    assert Summary.read(trained.summary).unknown["adapted"] == sum(said)  # the target's images are those of the run
    found = sum(u and s for u, s in zip(unknown, said, strict=True)) / sum(unknown)
    wrongly = sum(s and not u for u, s in zip(unknown, said, strict=True)) / (len(rows) - sum(unknown))
    assert found > wrongly + 0.3


def test_a_labelled_folder_gives_hos_and_the_share_of_unknown_images(trained, digits, capsys):
    found = evaluate(trained, str(digits / "target"))
    assert "HOS" in capsys.readouterr().out
    assert found.classes == (*"012345", "unknown")
    count = sum(len(list((digits / "target" / str(digit)).iterdir())) for digit in range(KNOWN, 10))
    assert found.unknown.value == pytest.approx(count / found.count)
    assert found.unknown.low < found.unknown.value < found.unknown.high
    adapted = found.models["adapted"]
    confusion = torch.tensor(adapted.confusion)
    assert confusion.shape == (KNOWN + 1, KNOWN + 1)
    of_class = confusion.diagonal() / confusion.sum(dim=1)
    measured = adapted.open_set
    assert measured.known == pytest.approx(float(of_class[:KNOWN].mean()))
    assert measured.unknown == pytest.approx(float(of_class[KNOWN]))
    assert measured.hos == pytest.approx(2 / (1 / measured.known + 1 / measured.unknown))
    known = confusion[:KNOWN]
    assert measured.of_known.value == pytest.approx(float(known.diagonal().sum() / known.sum()))
    assert Evaluation.read(next(iter(trained.evaluations.glob("*.json")))) == found


def labelled_list(trained, file, label_of):
    rows = [["path", "label"]]
    rows += [[name, label_of(Path(name).parent.name)] for name in ImageNames.read(trained.images).target]
    with file.open("w", newline="") as opened:
        csv.writer(opened).writerows(rows)
    return file


def test_a_list_with_unknown_gives_what_the_folder_gives(trained, digits, tmp_path, capsys):
    file = labelled_list(trained, tmp_path / "l.csv", lambda name: name if int(name) < KNOWN else "unknown")
    listed, folder = evaluate_labels(trained, str(file)), evaluate(trained, str(digits / "target"))
    assert "of the target's images are of none of the classes" in capsys.readouterr().out
    assert listed.unknown.value == pytest.approx(folder.unknown.value)
    for name, each in folder.models.items():
        of_list = listed.open_sets[name]
        assert listed.models[name].value == pytest.approx(each.accuracy, abs=0.01)
        assert of_list.hos == pytest.approx(each.open_set.hos, abs=0.02)
        assert of_list.of_known.value == pytest.approx(each.open_set.of_known.value, abs=0.02)
    assert Labelled.read(trained.labelled) == listed


def test_a_list_of_known_images_alone_has_no_hos(trained, tmp_path):
    file = labelled_list(trained, tmp_path / "l.csv", lambda name: name if int(name) < KNOWN else "")
    measured = evaluate_labels(trained, str(file))
    assert measured.unknown.value == 0
    assert measured.open_sets["adapted"].hos is None
    assert measured.open_sets["adapted"].of_known.value == pytest.approx(measured.models["adapted"].value)


def test_the_labelling_page_has_a_button_for_none_of_these(trained, tmp_path):
    query(trained, 5, str(tmp_path / "q.csv"))
    page = (tmp_path / "q.html").read_text()
    assert page.count("None of these</button>") == 5
    assert '<option value="unknown">' in page


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--method", "source-only"], "--classes other: it changes the adaptation"),
        (["--baseline", "false"], "which images are of other classes; expected --baseline true"),
    ],
)
def test_settings_that_do_not_go_with_it_are_refused_before_anything_is_read(tmp_path, capsys, arguments, said):
    given = ["--source", str(tmp_path / "no"), "--target", str(tmp_path / "none"), "--out", str(tmp_path / "run")]
    assert run(["train", *given, "--classes", "other", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_class_of_the_source_that_is_called_unknown_is_refused(digits, tmp_path, capsys):
    source = tmp_path / "source"
    for name, digit in (("zero", 0), ("Unknown", 1)):
        (source / name).mkdir(parents=True)
        for image in sorted((digits / "source" / str(digit)).iterdir())[:6]:
            (source / name / image.name).write_bytes(image.read_bytes())
    given = ["--source", str(source), "--target", str(digits / "target"), "--out", str(tmp_path / "run")]
    assert run(["train", *given, *QUICK, "--classes", "other"]) == 2
    assert "the source has a class 'unknown'" in capsys.readouterr().err
