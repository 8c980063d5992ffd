"""Labels decide which model of a run is selected, and everything that predicts uses that one and says so."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import dalib
import dalib.run.train
from dalib.commands.main import run
from dalib.core.files import write_json
from dalib.data.domain_images import LabelledImages
from dalib.data.preprocessing import Preprocessing
from dalib.models.architecture import Architecture
from dalib.models.network import make_classifier
from dalib.models.saved import ModelDescription, save_model
from dalib.records.folder import RunFolder
from dalib.records.selection import Measurement
from dalib.run.finished import measure
from dalib.run.finished.select import conclude

pytestmark = pytest.mark.usefixtures("few_digits")
ARCHITECTURE = Architecture(backbones=("small",), bottleneck_dim=4, channels=1, size=8)
CLASSES = ("ant", "bee")
SAYS = {"adapted": 0, "source-only": 1}
IMAGES = 60


def images(folder, count=IMAGES):
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(folder / f"{number:02d}.png")
    return folder


@pytest.fixture
def made(tmp_path):
    """A run whose adapted model calls everything an ant, and whose source-only model, which is selected, a bee."""
    found = RunFolder(tmp_path / "run")
    names = [str(path) for path in sorted(images(tmp_path / "target").iterdir())]
    tensors = {f"target/{name}": torch.eye(2)[[says] * IMAGES] * 0.8 + 0.1 for name, says in SAYS.items()}
    write_json(found.images, {"target": names, "validation": []})
    save_file(tensors, found.predictions)
    summary = {"dalib": "1", "status": "done", "method": "self-ensemble", "settings": {"keep": "better"}}
    summary |= {"source": "drawings", "target": str(tmp_path / "target"), "classes": CLASSES, "models": {}}
    write_json(found.summary, summary | {"counts": {"target": IMAGES}, "seconds": {}})
    headline = "Adaptation seems to have hurt: the source-only model predicts"  # as older versions ended it
    models = {name: {"scores": {}} for name in SAYS}
    write_json(
        found.judgement,
        {"shipped": "source-only", "outcome": "hurt", "headline": headline, "reasons": [], "models": models},
    )
    found.config.write_text("seed: 0\n")
    for name, folder in (("adapted", found.model), ("source-only", found.source_only.model)):
        torch.manual_seed(0)
        network = make_classifier(ARCHITECTURE, 2)
        with torch.no_grad():
            network.head.bias[SAYS[name]] += 100
        save_model(folder, network, ModelDescription(ARCHITECTURE, CLASSES, Preprocessing(size=8, channels=1)))
    conclude(found, "source-only", "judgement")
    return found


def ask(capsys, *arguments, code=0):
    capsys.readouterr()
    assert run([str(each) for each in arguments]) == code
    return capsys.readouterr().out.replace("\n", " ")


def of_class(folder, ants, bees=0):
    """A labelled set of so many images of either class."""
    for name, count in (("ant", ants), ("bee", bees)):
        if count:
            images(folder / name, count)
    return folder


def labels(run_, out, ants, bees=0):
    names = json.loads(run_.images.read_text())["target"]
    given = ["ant"] * ants + ["bee"] * bees
    out.write_text("path,label\n" + "".join(f"{name},{label}\n" for name, label in zip(names, given, strict=False)))
    return out


def test_a_clear_measurement_selects_and_everything_goes_on_with_that_model(made, tmp_path, capsys):
    told = ask(capsys, "eval", made.root, "--data", of_class(tmp_path / "labelled", 40))
    assert (
        "The adapted model is now the selected model of this run. Measured: adapted 100.0%, source-only 0.0% on 40 "
        "labelled" in told
    )
    assert "so its accuracy on them is a little too high" in told
    told = ask(capsys, "predict", made.root, "--images", tmp_path / "target", "--out", tmp_path / "out.csv")
    assert "predicting with the adapted model (selected by measurement on 40 labelled images)" in told
    with (tmp_path / "out.csv").open(newline="") as file:
        assert {row["class"] for row in csv.DictReader(file)} == {"ant"}
    told = ask(capsys, "export", made.root, "--format", "torch", "--out", tmp_path / "exported")
    assert "exporting the adapted model (selected by measurement on 40 labelled images)" in told
    image = next((tmp_path / "target").iterdir())
    assert dalib.load(tmp_path / "exported")(image).label == "ant"
    assert dalib.load(made.root)(image).label == dalib.load(made.model)(image).label == "ant"
    assert "selected by measurement on 40 labelled images" in repr(dalib.load(made.root))
    told = ask(capsys, "query", made.root, "--n", "4", "--out", tmp_path / "to_label.csv")
    assert "The adapted model is the selected model of this run (selected by measurement on 40" in told
    told = ask(capsys, "eval", made.root, "--data", of_class(tmp_path / "others", 0, 40))
    assert "The source-only model is now the selected model" in told


def test_one_labelled_image_is_counted_as_one(made, tmp_path, capsys):
    said = ask(capsys, "eval", made.root, "--data", of_class(tmp_path / "one", 1))
    assert f"100.0% of 1 image of {tmp_path / 'one'}" in said
    assert f"source-only 0.0% right on 1 labelled image of {tmp_path / 'one'}" in repr(dalib.open_run(made.root))


def test_the_report_names_the_selected_model_and_does_not_contradict_itself(made, tmp_path, capsys):
    ask(capsys, "eval", made.root, "--data", of_class(tmp_path / "labelled", 40))
    page = made.report.read_text()
    assert (
        "The adapted model is the selected model of this run (selected by measurement on 40 labelled images)." in page
    )
    assert "These labels have selected the adapted model, so its accuracy on them is a little too high" in page
    assert "model predicts" not in page
    assert "Without these labels, the judgement was: Adaptation seems to have hurt." in page
    assert json.loads(made.judgement.read_text())["shipped"] == "source-only", "the choice without labels is kept"


def test_labels_of_a_few_target_images_select_too(made, tmp_path, capsys):
    told = ask(capsys, "eval", made.root, "--labels", labels(made, tmp_path / "few.csv", ants=20))
    assert "The adapted model is now the selected model of this run. Measured" in told
    selection = made.selection()
    assert (selection.model, selection.by, selection.measured.labels) == ("adapted", "measurement", "labelled")
    assert "These labels have selected the adapted model" in made.report.read_text()


def test_an_unclear_measurement_changes_nothing(made, tmp_path, capsys):
    for given in (("--data", of_class(tmp_path / "x", 20, 19)), ("--labels", labels(made, tmp_path / "f.csv", 9, 8))):
        assert "The source-only model stays selected" in ask(capsys, "eval", made.root, *given)
    assert made.selection().by == "judgement"


def test_what_the_user_keeps_is_not_overridden(made, tmp_path, capsys):
    told = ask(capsys, "keep", made.root, "source-only")
    assert "The source-only model is the selected model of this run (selected by the user)" in told
    told = ask(capsys, "eval", made.root, "--data", of_class(tmp_path / "labelled", 40))
    assert "The measurement disagrees with the choice of source-only, which stays" in told
    assert f"dalib keep {made.root} adapted" in told
    page = made.report.read_text()
    assert "On these labels the adapted model is better" in page
    assert "(selected by the user)" in page
    assert f"dalib keep {made.root} adapted" in page
    ask(capsys, "keep", made.root, "adapted")
    told = ask(capsys, "predict", made.root, "--images", tmp_path / "target", "--out", tmp_path / "out.csv")
    assert "predicting with the adapted model (selected by the user)" in told


def test_the_other_model_can_be_asked_for_and_is_named(made, tmp_path, capsys):
    told = ask(
        capsys,
        "predict",
        made.root,
        "--images",
        tmp_path / "target",
        "--out",
        tmp_path / "out.csv",
        "--model",
        "adapted",
    )
    assert "predicting with the adapted model (asked for; source-only is selected without target labels)" in told


@pytest.mark.parametrize("several", [False, True])
def test_the_source_is_no_target(several, made, tmp_path, capsys):
    data, summary = of_class(tmp_path / "drawings", 40), json.loads(made.summary.read_text())
    sources = [str(data), str(of_class(tmp_path / "sketches", 4))] if several else [str(data)]
    settings = summary["settings"] | {"source": sources if several else sources[0]}
    write_json(made.summary, summary | {"source": " + ".join(sources), "settings": settings})
    told = ask(capsys, "eval", made.root, "--data", data)
    assert "is of the run's source and says nothing of the target. The source-only model is the selected" in told
    assert made.selection().by == "judgement"


@pytest.mark.parametrize(
    "arguments", [("keep",), ("keep", "RUN"), ("keep", "RUN", "best"), ("keep", "nowhere", "adapted")]
)
def test_bad_input_of_keep_is_one_line_and_exit_code_2(arguments, made, capsys):
    assert run([str(made.root) if each == "RUN" else each for each in arguments]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


# labels that trained


def test_labels_that_trained_do_not_select(made, tmp_path, capsys):
    few = labels(made, tmp_path / "few.csv", ants=20)
    made.config.write_text(f"target_labels: {few}\n")
    told = ask(capsys, "eval", made.root, "--labels", few)
    assert "trained on 20 of these labels" in told
    assert "select no model, and 0 others are too few. The source-only model is the selected model" in told
    more = labels(made, tmp_path / "more.csv", ants=35)
    told = ask(capsys, "eval", made.root, "--labels", more)
    assert "the selection goes by the 15 labels that adapted was not trained on" in told
    assert "on 15 labelled images" in told
    assert made.selection().model == "adapted"


def test_where_it_is_not_known_which_labels_trained_none_select(made, tmp_path, capsys):
    made.config.write_text(f"target_labels: {tmp_path / 'gone.csv'}\n")
    assert "may have been" in ask(capsys, "eval", made.root, "--labels", labels(made, tmp_path / "few.csv", ants=20))
    assert made.selection().by == "judgement"


def test_a_named_set_is_one_evaluation_wherever_the_command_is_given(made, tmp_path, monkeypatch):
    rows = LabelledImages(
        torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 1, 0, 1]), CLASSES, tuple("abcd")
    )
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        monkeypatch.chdir(tmp_path / place)
        measure.measure(made, "usps-test", rows, torch.device("cpu"))
    (file,) = made.evaluations.glob("*.json")
    assert file.name == "usps-test.json"
    older = file.rename(file.with_name("usps-test-0a1b2c.json"))
    measure.measure(made, "usps-test", rows, torch.device("cpu"))
    assert list(made.evaluations.glob("*.json")) == [older]


# at the end of training

QUICK = ["--steps", "2", "--batch", "4", "--data.size", "16", "--every.checkpoint", "2", "--every.log", "2"]
WORSE = Measurement("labelled", "evaluation", 200, "adapted", "source-only", (0.493, 0.812), -0.319, -0.39, -0.241)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """source/{dark,light}, labelled/{dark,light}, target/ with 60 images, and few.csv with a label of each."""
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    shades, lines = {"dark": 60, "light": 190}, ["path,label"]
    for name, shade in shades.items():
        for number in range(30):
            places = [root / f"target/{name}{number:02d}.png"]
            places += [root / f"{place}/{name}/{number}.png" for place in ("source", "labelled") if number < 12]
            for path in places:
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = np.clip(rng.normal(shade, 30, (16, 16, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(path)
            lines.append(f"{name}{number:02d}.png,{name}")
    (root / "few.csv").write_text("\n".join(lines) + "\n")
    return root


def train(folders, out, capsys, *more):
    where = ["--source", f"{folders}/source", "--target", f"{folders}/target", "--out", str(out)]
    return ask(capsys, "train", *where, *QUICK, *more), RunFolder.existing(out)


@pytest.mark.parametrize(
    ("keep", "expected"), [("better", ("source-only", "measurement")), ("adapted", ("adapted", "user"))]
)
def test_an_evaluation_that_was_asked_for_selects_at_the_end(keep, expected, folders, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(measure, "measurement_of", lambda *given: WORSE)  # training this short is even
    told, found = train(folders, tmp_path / "run", capsys, "--evaluate", f"{folders}/labelled", "--keep", keep)
    assert (found.selection().model, found.selection().by) == expected
    assert ("The measurement disagrees with the choice of adapted" in told) == (keep == "adapted")
    assert ("source-only model is now the selected" in told or "source-only model stays" in told) == (keep == "better")


def test_a_test_set_that_is_measured_by_default_selects_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(measure, "measurement_of", lambda *given: WORSE)
    ask(capsys, "train", "--steps", "1", "--baseline_steps", "1", "--batch", "8", "--out", tmp_path / "run")
    found = RunFolder.existing(tmp_path / "run")
    assert found.selection().by == "judgement"
    (result,) = [json.loads(path.read_text()) for path in found.evaluations.glob("*.json")]
    assert result["asked"] is False
    told = ask(capsys, "eval", found.root, "--data", "digits-held-out")
    assert "source-only model is now the selected model" in told, "now it is asked for"
    (result,) = [json.loads(path.read_text()) for path in found.evaluations.glob("*.json")]
    assert result["asked"] is True


def test_a_part_of_many_target_labels_is_held_out_and_judges(folders, tmp_path, capsys):
    told, found = train(folders, tmp_path / "run", capsys, "--target_labels", f"{folders}/few.csv")
    assert "48 of them with a label to learn from, 12 with a label that is held out to judge the models" in told
    assert "judging by 12 labels of" in told
    result = json.loads(found.labelled.read_text())
    assert (result["count"], result["held_out"]) == (12, True)
    counts = json.loads(found.summary.read_text())["counts"]
    assert (counts["target_labelled"], counts["target_held_out"]) == (48, 12)
    assert "from the labels of 12 target images that training did not see" in found.report.read_text()
    told = ask(capsys, "eval", found.root, "--labels", f"{folders}/few.csv")
    assert "trained on 48 of these labels" in told
    assert "the selection goes by the 12 labels that adapted was not trained on" in told
    assert Path(found.report).is_file()
