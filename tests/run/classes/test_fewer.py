"""A target with fewer classes than the source: what is estimated, how the source is drawn, and the whole run."""

import html
import json
import math
import shutil

import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from dalib.commands.main import run
from dalib.core.words import likelihood
from dalib.data.domain_images import LabelledImages
from dalib.data.rows import Selected
from dalib.judge.evidence import Evidence
from dalib.judge.prior import ShareEstimate, estimate_shares
from dalib.records.folder import RunFolder
from dalib.records.summary import Summary
from dalib.run.classes.fewer import ExpectedClasses, expected_classes, resampled, target_kind

pytestmark = pytest.mark.usefixtures("few_digits")
QUICK = [
    *("--batch", "32", "--steps", "40", "--baseline_steps", "60"),
    *("--every.log", "10", "--every.evaluate", "20", "--every.checkpoint", "20"),
]


def source_of(counts):
    labels = torch.cat([torch.full((count,), number) for number, count in enumerate(counts)])
    images = torch.arange(len(labels), dtype=torch.uint8)[:, None]
    return LabelledImages(images, labels, ("a", "b", "c"), tuple(map(str, range(len(labels)))))


def test_the_source_is_drawn_in_the_shares_that_are_expected():
    source = source_of([10, 20, 30])
    drawn = resampled(source, torch.tensor([0.5, 0.45, 0.05]), seed=0)
    assert torch.bincount(drawn.labels).tolist() == [30, 27, 3]
    rows = drawn.images[:, 0].long()
    assert torch.equal(source.labels[rows], drawn.labels)
    assert drawn.names == tuple(str(row) for row in rows.tolist())
    assert torch.bincount(rows[drawn.labels == 0]).tolist() == [3] * 10  # repeated alike
    assert len(set(rows[drawn.labels == 2].tolist())) == 3


def test_drawing_depends_on_the_seed_alone_and_leaves_files_unread():
    source = source_of([10, 20, 30])
    on_disk = LabelledImages(Selected(source.images, torch.arange(60)), *list(vars(source).values())[1:])
    shares = torch.tensor([0.3, 0.3, 0.4])
    drawn = [resampled(each, shares, seed) for each, seed in ((source, 1), (on_disk, 1), (source, 2))]
    assert drawn[0].names == drawn[1].names != drawn[2].names
    assert isinstance(drawn[1].images, Selected)


def test_a_class_without_images_in_the_source_has_none_afterwards():
    drawn = resampled(source_of([10, 0, 10]), torch.tensor([0.4, 0.4, 0.2]), seed=0)
    assert torch.bincount(drawn.labels, minlength=3).tolist() == [8, 0, 4]


def test_an_uncertain_class_counts_as_present_and_an_absent_one_keeps_a_little():
    shares = torch.tensor([0.7, 0.3, 0.0, 0.0], dtype=torch.float64)
    high = torch.tensor([0.8, 0.4, 0.1, 0.01], dtype=torch.float64)
    expected = ExpectedClasses.of(ShareEstimate(shares, shares, high))
    assert expected.present.tolist() == [True, True, True, False]
    assert float(expected.shares.sum()) == pytest.approx(1)
    assert float(expected.shares.min()) == pytest.approx(0.025)
    assert expected.in_words(("a", "b", "c", "d")) == (
        "The target seems to have 3 of the source's 4 classes: a, b, c; the other one weighs little in the adaptation"
    )


def test_a_forgotten_class_is_not_counted_among_those_that_are_there():
    half = torch.tensor([0.5, 0.5])
    expected = ExpectedClasses(half, torch.tensor([True, False]))
    labels = torch.tensor([0, 1, 1])
    evidence = Evidence(torch.eye(2)[[0, 0, 0]], labels, torch.eye(2), None, torch.arange(3.0)[:, None])
    assert evidence.validation_accuracy == pytest.approx(1 / 3)
    among = expected.among(evidence)
    assert among.validation_accuracy == 1
    assert among.validation_features.tolist() == [[0.0]]
    nothing_left = ExpectedClasses(half, torch.tensor([False, False]))
    assert nothing_left.among(evidence) is evidence


def test_classes_to_which_no_image_clearly_belongs_are_found_absent():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(400, 6, generator=generator)
    logits[torch.arange(400), torch.arange(400) % 3] += 4
    nothing = torch.zeros(0, 6), torch.zeros(0, dtype=torch.int64)
    said = {"source-only": Evidence(*nothing, logits.softmax(dim=1))}
    found = expected_classes(said, torch.arange(60) % 6, tuple("abcdef"))
    assert found.present.tolist() == [True] * 3 + [False] * 3


@pytest.fixture(scope="module")
def four_digits(tmp_path_factory):
    """Images of the digits 0 to 3 alone."""
    folder, digits = tmp_path_factory.mktemp("four"), load_digits()
    for number, (image, label) in enumerate(zip(digits.images[:400], digits.target[:400], strict=True)):
        if label < 4:
            Image.fromarray((image * 15).astype("uint8")).resize((16, 16)).save(folder / f"{number}.png")
    return folder


def train(target, out, *arguments, code=0):
    given = ["--source", "fonts", "--target", str(target), "--data.size", "16", "--data.channels", "1"]
    assert run(["train", *given, "--out", str(out), *QUICK, *arguments]) == code
    return RunFolder(out)


def test_a_run_tells_the_classes_that_seem_to_be_there_and_survives_a_stop(four_digits, tmp_path, capsys):
    found = train(four_digits, tmp_path / "run", "--classes", "fewer")
    assert "of the source's 10 classes" in capsys.readouterr().out
    judgement = json.loads(found.judgement.read_text())
    prior = judgement["prior"]
    assert prior["kind"] == "fewer"
    assert math.isclose(sum(prior["shares"]), 1, abs_tol=1e-5)
    assert sum(prior["shares"][:4]) > 0.6  # of 0.4 with equal shares
    assert any("of the source's 10 classes" in reason for reason in judgement["reasons"])
    shutil.rmtree(found.model)
    max(found.checkpoints.iterdir()).unlink()  # as if killed between two checkpoints
    assert run(["train", "--resume", str(found.root)]) == 0
    again = json.loads(found.judgement.read_text())
    assert again["prior"] == prior
    assert again["models"] == judgement["models"]


def test_shares_in_a_file_replace_the_estimate(four_digits, tmp_path):
    file = tmp_path / "shares.csv"
    file.write_text("".join(f"{digit},{int(digit < 4)}\n" for digit in range(10)))
    found = train(four_digits, tmp_path / "run", "--classes", "fewer", "--prior", str(file))
    prior = json.loads(found.judgement.read_text())["prior"]
    assert prior["kind"] == str(file)
    assert prior["shares"] == pytest.approx([0.235] * 4 + [0.01] * 6)


def test_auto_tells_what_the_target_seems_to_be_and_goes_on_alike(four_digits, tmp_path, capsys):
    found = train(four_digits, tmp_path / "run", "--classes", "auto")
    told = capsys.readouterr().out
    kind = Summary.read(found.summary).target_kind
    assert kind is not None
    assert kind.same + kind.fewer + kind.other == pytest.approx(1)
    kind_is_told = kind.believed != "same" or kind.fewer >= 0.1
    assert (f"the adaptation expects {kind.expectation}" in told) == kind_is_told
    judgement = json.loads(found.judgement.read_text())
    assert (f"the adaptation expects {kind.expectation}" in judgement["reasons"][-1]) == kind_is_told
    assert (judgement["prior"]["kind"] == "fewer") == (kind.believed == "fewer")
    assert f"the source's classes {likelihood(kind.same)}, fewer of them" in html.unescape(found.report.read_text())
    max(found.checkpoints.iterdir()).unlink()  # as if killed between two checkpoints
    shutil.rmtree(found.model)
    assert run(["train", "--resume", str(found.root)]) == 0
    again = json.loads(found.judgement.read_text())
    assert (again["models"], again["reasons"]) == (judgement["models"], judgement["reasons"])


@pytest.mark.parametrize(
    ("count", "classes", "kind"), [(29, 4, "same"), (30, 4, "fewer"), (30, 12, "same"), (36, 12, "fewer")]
)
def test_of_few_images_a_class_may_be_missing_by_chance(count, classes, kind):
    one = torch.eye(classes)[[0] * count] * 0.9 + 0.1 / classes
    said = {"source-only": Evidence(torch.zeros(0, classes), torch.zeros(0, dtype=torch.int64), one)}
    assert target_kind(said, torch.arange(60) % classes, classes).believed == kind


def test_the_kind_is_that_of_models_from_before_the_adaptation():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(400, 10, generator=generator)
    nothing = torch.zeros(0, 10), torch.zeros(0, dtype=torch.int64)
    for there, kind in ((4, "fewer"), (10, "same")):
        certain = logits + 5 * torch.eye(10)[torch.arange(400) % there]
        said = {"source-only": Evidence(*nothing, certain.softmax(dim=1))}
        assert target_kind(said, torch.arange(60) % 10, 10).believed == kind


@pytest.mark.parametrize(("sure", "there", "kind"), [(3.0, 12, "fewer"), (0.8, 30, "same")])
def test_models_that_hardly_know_the_classes_show_no_target_of_fewer(sure, there, kind):
    """One is right on 78% of the validation images, the other on 12%; both lean to some classes on the target."""
    generator, labels = torch.Generator().manual_seed(0), torch.arange(300) % 30

    def said_of(labels):
        return torch.randn(len(labels), 30, generator=generator) + sure * torch.eye(30)[labels]

    validation, target = said_of(labels), said_of(torch.arange(300) % there)
    leaning = target + 0.5 * torch.randn(30, generator=generator)
    evidence = Evidence(validation.softmax(dim=1), labels, leaning.softmax(dim=1))
    present = ExpectedClasses.of(estimate_shares([evidence], torch.ones(30) / 30)).present
    assert int((~present).sum()) > 10  # which would be fewer, were it not for the validation images
    assert target_kind({"source-only": evidence}, labels, 30).believed == kind


def test_classes_that_seem_absent_by_mistake_are_no_sign_of_fewer():
    """The models name a third of the validation images of five classes only, and so of the target's."""
    generator, labels = torch.Generator().manual_seed(0), torch.arange(900) % 30

    def said_of(labels):
        sure = torch.where((labels < 8) & (torch.rand(len(labels), generator=generator) < 0.45), 0.0, 6.0)
        return (torch.randn(len(labels), 30, generator=generator) + sure[:, None] * torch.eye(30)[labels]).softmax(1)

    said = {"source-only": Evidence(said_of(labels), labels, said_of(labels))}
    assert target_kind(said, labels, 30).fewer < 0.01


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--method", "source-only"], "--classes fewer: it changes the adaptation"),
        (["--baseline", "false"], "expected --baseline true"),
        (["--prior", "source"], "leave out --prior source"),
    ],
)
def test_settings_that_do_not_go_with_it_are_refused_before_anything_is_read(tmp_path, capsys, arguments, said):
    found = train(tmp_path / "nowhere", tmp_path / "run", "--classes", "fewer", *arguments, code=2)
    assert said in capsys.readouterr().err
    assert not found.root.exists()
