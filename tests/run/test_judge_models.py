"""`dalib.judge_models` and `dalib judge`: models that were trained elsewhere."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file

import dalib
from dalib.commands.main import run
from dalib.core.errors import UserError
from dalib.run.feature_space import FeatureSpace
from dalib.run.judge_models import write_page
from dalib.run.model_features import GivenFeatures
from dalib.run.model_tables import read_table

CLASSES = ["ant", "bee", "cat", "dog"]
PER_CLASS, WIDTH = 30, 12


def features_and_labels(seed):
    generator = np.random.default_rng(seed)
    centres = 4 * np.random.default_rng(0).normal(size=(4, WIDTH))
    labels = np.arange(4).repeat(PER_CLASS)
    return centres[labels] + 0.5 * generator.normal(size=(len(labels), WIDTH)), labels


def sure(labels):
    return 0.9 * np.eye(4)[labels] + 0.025


def noisy(labels, share, seed=0):
    generator = np.random.default_rng(seed)
    return np.where(generator.random(len(labels)) < share, generator.integers(0, 4, len(labels)), labels)


FEATURES, LABELS = features_and_labels(1)
BEFORE, AFTER = sure(noisy(LABELS, 0.7)), sure(LABELS)
WITH_NAN = np.where(LABELS[:, None] == 1, np.nan, AFTER)
NAMES = [f"street/{number:03d}.jpg" for number in range(len(LABELS))]


def write_csv(path, probabilities, names=NAMES, classes=CLASSES, labels=None, column="path"):
    header = [column, *classes, *([] if labels is None else ["label"])]
    lines = [",".join(header)]
    for number, (name, row) in enumerate(zip(names, probabilities, strict=True)):
        cells = [name, *(f"{value:.4f}" for value in row), *([] if labels is None else [classes[labels[number]]])]
        lines.append(",".join(cells))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


@pytest.fixture
def tables(tmp_path):
    """Two tables whose rows and columns are in another order, and features with names in a third."""
    order = np.random.default_rng(3).permutation(len(NAMES))
    write_csv(tmp_path / "before.csv", BEFORE)
    shuffled = AFTER[order][:, [2, 0, 3, 1]]
    write_csv(tmp_path / "after.csv", shuffled, [NAMES[row] for row in order], ["cat", "ant", "dog", "bee"])
    np.savez(tmp_path / "features.npz", features=FEATURES[::-1], names=np.array(NAMES[::-1]))
    return tmp_path


def test_arrays_give_a_verdict_a_ranking_and_estimates():
    source, labels = features_and_labels(2)
    found = dalib.judge_models(
        {"before": BEFORE, "after": torch.from_numpy(AFTER)},
        features=FEATURES,
        source=(source, labels),
        validation={"before": (BEFORE, LABELS), "after": (AFTER, LABELS)},
        reference="before",
    )
    assert isinstance(found, dalib.ModelsJudgement)
    assert (found.best, found.outcome, found.ranking) == ("after", "helped", ("after", "before"))
    assert found.probability("after", "before") > 0.9
    for each in found.models:
        assert each.estimate.low <= each.estimate.value <= each.estimate.high
    assert found.missing == ()


def test_files_in_any_order_give_what_arrays_give(tables):
    of_arrays = dalib.judge_models({"before": BEFORE, "after": AFTER}, features=FEATURES, reference="before")
    of_files = dalib.judge_models(
        {"before": tables / "before.csv", "after": str(tables / "after.csv")},
        features=tables / "features.npz",
        reference="before",
    )
    assert of_files.pairs[0][1] == pytest.approx(of_arrays.pairs[0][1])
    assert len(of_files.differing) == 20


@pytest.mark.parametrize("form", ["npz", "parquet", "semicolons", "predict", "tsv"])
def test_forms_of_tables(form, tmp_path):
    if form == "npz":
        place = tmp_path / "t.npz"
        np.savez(place, probabilities=AFTER, names=np.array(NAMES), classes=np.array(CLASSES))
    elif form == "parquet":
        pandas = pytest.importorskip("pandas")
        pytest.importorskip("pyarrow")
        place = tmp_path / "t.parquet"
        pandas.DataFrame(AFTER, columns=CLASSES).assign(path=NAMES).to_parquet(place)
    elif form == "semicolons":  # Excel of a country with decimal commas
        place = tmp_path / "t.csv"
        lines = [
            ";".join([name, *(f"{value:.3f}".replace(".", ",") for value in row)])
            for name, row in zip(NAMES, AFTER, strict=True)
        ]
        place.write_bytes(("\ufeffsep=;\r\nDatei;" + ";".join(CLASSES) + "\r\n" + "\r\n".join(lines) + "\r\n").encode())
    elif form == "tsv":
        place = tmp_path / "t.tsv"
        write_csv(place, AFTER)
        place.write_text(place.read_text().replace(",", "\t"))
    else:
        place = tmp_path / "t.csv"
        rows = ["path,class,confidence,runner_up,runner_up_confidence"]
        for name, label in zip(NAMES, LABELS, strict=True):
            rows.append(f"{name},{CLASSES[label]},0.9250,{CLASSES[(label + 1) % 4]},0.0250")
        place.write_text("\n".join(rows))
    table = read_table(place, "models", CLASSES)
    assert table.names == tuple(NAMES)
    assert table.classes == tuple(CLASSES)
    assert table.most_likely_only == (form == "predict")
    np.testing.assert_allclose(table.probabilities.numpy(), AFTER, atol=1e-3)


def test_a_table_of_predict_is_read_once_and_spread_over_the_classes_that_others_name(tmp_path, monkeypatch):
    place, reading = tmp_path / "t.csv", []
    place.write_text("path,class,confidence,runner_up,runner_up_confidence\nx.jpg,cup,0.8,pen,0.1\n")
    monkeypatch.setattr(
        "dalib.run.judge_models.read_table", lambda *arguments: reading.append(1) or read_table(*arguments)
    )
    whole = tmp_path / "w.csv"
    whole.write_text("path,cup,mug,pen\nx.jpg,0.5,0.25,0.25\n")
    dalib.judge_models({"a": place, "b": whole})
    assert len(reading) == 2
    table = read_table(place, "models")
    assert table.classes == ("cup", "pen")
    spread = table.over(("cup", "mug", "pen"))
    assert spread.classes == ("cup", "mug", "pen")
    np.testing.assert_allclose(spread.probabilities.numpy(), [[0.8, 0.1, 0.1]])


def test_two_tables_of_predict_alone_name_all_classes(tmp_path):
    def write(name, labels):
        rows = ["path,class,confidence,runner_up,runner_up_confidence"]
        rows += [
            f"{place},{CLASSES[one]},0.9,{CLASSES[(one + 1) % 4]},0.1" for place, one in zip(NAMES, labels, strict=True)
        ]
        (tmp_path / name).write_text("\n".join(rows))
        return tmp_path / name

    models = {"a": write("a.csv", noisy(LABELS, 0.7)), "b": write("b.csv", LABELS)}
    found = dalib.judge_models(models, features=FEATURES)
    assert found.best == "b"
    assert len(found["b"].failed) == 0


def test_folders_that_all_names_share_do_not_count(tmp_path):
    absolute = [f"/data/x/{name.removeprefix('street/')}" for name in NAMES]
    models = {
        "a": write_csv(tmp_path / "a.csv", BEFORE),
        "b": write_csv(tmp_path / "b.csv", AFTER[::-1], absolute[::-1]),
    }
    assert dalib.judge_models(models, features=FEATURES).best == "b"


def test_more_images_than_judge_are_drawn():
    many = 60
    found = dalib.judge_models({"a": np.tile(BEFORE, (many, 1)), "b": np.tile(AFTER, (many, 1))})
    assert found.images == 2000


@pytest.mark.parametrize("ending", ["npy", "safetensors"])
def test_features_in_other_files(ending, tmp_path):
    place = tmp_path / f"f.{ending}"
    if ending == "npy":
        np.save(place, FEATURES)
    else:
        save_file({"features": FEATURES.astype(np.float32)}, place)
    assert dalib.judge_models({"a": BEFORE, "b": AFTER}, features=place).best == "b"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"models": {"a": AFTER}}, "models: expected at least two models by their names, got 1"),
        ({"models": {"a": AFTER, "b": AFTER * 2}}, r"models\['b'\]: expected rows of at least 0 that sum to 1, got 2"),
        ({"models": {"a": AFTER, "b": AFTER * 100}}, "divide percentages by 100"),
        ({"models": {"a": AFTER, "b": WITH_NAN}}, "NaN or infinite values in 30 of 120 rows"),
        ({"models": {"a": AFTER, "b": AFTER[1:]}}, "expected 120 rows, one an image, as the first model has; got 119"),
        ({"models": {"a": AFTER, "b": np.eye(3)[LABELS % 3]}}, "expected 4 classes, got 3"),
        ({"models": {"a": AFTER, "b": "yes"}}, "expected a table that ends in .csv"),
        ({"reference": "bfore"}, "did you mean before?"),
        ({"features": FEATURES[1:]}, "features='array': expected 120 rows, one an image, got 119"),
        ({"features": FEATURES * np.nan}, "120 rows have NaN or infinite values"),
        ({"features": FEATURES[:, 0]}, r"expected features \(images, features\), got shape \(120,\)"),
        ({"source": (FEATURES, LABELS)}, "source='array': expected features or images of the target too"),
        ({"source": (FEATURES, LABELS), "images": "x"}, "source: expected a folder of images, as images is one"),
        ({"source": (FEATURES[:, :3], LABELS), "features": FEATURES}, "expected 12 features as of the target, got 3"),
        ({"features": FEATURES, "images": "x"}, "images: expected either images or features, got both"),
        ({"images": "x"}, "have no names of images"),
        ({"validation": {"aftr": (AFTER, LABELS)}}, "did you mean after?"),
        ({"validation": {"after": AFTER}}, r"validation\['after'\]: expected a pair \(probabilities, labels\)"),
        ({"validation": {"after": (AFTER, LABELS + 1)}}, "expected labels from 0 to 3, got 1 to 4"),
        ({"validation": {"after": (AFTER, LABELS[1:])}}, "as many labels as rows, got 119 and 120"),
        ({"classes": ["a", "b"]}, "expected 2 classes, got 4"),
        ({"classes": ["a", "a", "b", "c"]}, "classes: expected each class once"),
        ({"names": NAMES[1:]}, "expected as many names as rows|expected 119 rows"),
    ],
)  # fmt: skip
def test_mistakes_are_explained(change, message):
    given = {"models": {"before": BEFORE, "after": AFTER}} | change
    with pytest.raises(UserError, match=message):
        dalib.judge_models(given.pop("models"), **given)


def test_the_command_prints_the_judgement_and_writes_a_page(tables, capsys):
    page = tables / "pages" / "judged.html"
    command = ["judge", f"old={tables / 'before.csv'}", str(tables / "after.csv"), "--reference", "old"]
    assert run([*command, "--features", str(tables / "features.npz"), "--out", str(page)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("after seems to be better than old, with a probability of 99%.")
    assert "No accuracy is estimated" in printed
    assert f"page  {page}" in printed
    text = page.read_text(encoding="utf-8")
    assert "<h1>after seems to be better than old" in text
    assert "street/" in text


def test_the_command_prints_json_alone(tables, capsys):
    models = [str(tables / "before.csv"), str(tables / "after.csv")]
    assert run(["judge", *models, "--features", str(tables / "features.npz"), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["best"] == "after"
    assert [each["name"] for each in content["models"]] == ["after", "before"]


def test_the_command_estimates_with_validation_tables_and_features_of_the_source(tables, capsys):
    source, labels = features_and_labels(2)
    np.savez(tables / "source.npz", features=source, labels=np.array(CLASSES)[labels])
    for name, said in (("before", BEFORE), ("after", AFTER)):
        write_csv(tables / f"{name}_validation.csv", said, labels=LABELS, column="")
    models = [str(tables / "before.csv"), str(tables / "after.csv")]
    validation = [str(tables / "before_validation.csv"), str(tables / "after_validation.csv")]
    more = ["--source", str(tables / "source.npz"), "--validation", *validation]
    assert run(["judge", *models, "--features", str(tables / "features.npz"), *more]) == 0
    printed = capsys.readouterr().out
    assert "No accuracy is estimated" not in printed
    assert "100.0%" in printed


def test_names_of_files_are_escaped_in_the_page(tables):
    models = {"<script>alert(1)</script>": tables / "before.csv", "b": tables / "after.csv"}
    write_page(dalib.judge_models(models, features=tables / "features.npz"), tables / "p.html")
    text = (tables / "p.html").read_text(encoding="utf-8")
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["before.csv"], "expected at least two tables of probabilities, got 1"),
        ([], "expected TABLE, which is missing"),
        (["before.csv", "nothing.csv"], "no such file"),
        (["before.csv", "before.csv"], "two models have the name 'before'; name them, such as other="),
        (["before.csv", "other.csv"], "its images are not those of the first model; it lacks 'street/000.jpg'"),
        (["before.csv", "classes.csv"], "expected the classes 'ant', 'bee', 'cat' and 1 more; it lacks 'dog'"),
        (["before.csv", "twice.csv"], "the image 'street/000.jpg' has more than one row"),
        (["before.csv", "words.csv"], "row 1: expected a number in the column 'ant', got 'much'"),
        (["before.csv", "logits.csv"], "apply softmax to logits first"),
        (["before.csv", "empty.csv"], "expected a header and at least one row"),
        (["before.csv", "missing.csv"], "NaN or infinite values in 1 of 120 rows, the first is row 1 (street/000.jpg)"),
        (["before.csv", "a.npz"], "cannot be read"),
        (["before.csv", "after.csv", "--validation", "before.csv"], "--validation: expected one table for each of 2"),
        (["before.csv", "after.csv", "--validation", "before.csv", "after.csv"], "expected a column label"),
        (["before.csv", "after.csv", "--reference", "aftr"], "--reference aftr: expected one of the models"),
        (["before.csv", "after.csv", "--images", "nowhere"], "--images"),
        (["before.csv", "after.csv", "--out", "page.pdf"], "--out page.pdf: expected a name that ends in .html"),
        (["before.csv", "after.csv", "--out", "."], "--out .: expected a name that ends in .html"),
        (["before.csv", "after.csv", "--source", "x"], "--source x: expected --features or --images"),
        (["before.csv", "after.csv", "--features", "before.csv"], "expected a file that ends in .npz, .npy"),
        (["before.csv", "after.csv", "--features", "none.npy"], "--features none.npy: no such file"),
        (["before.csv", "after.csv", "--featurs", "x"], "did you mean --features?"),
    ],
)  # fmt: skip
def test_mistakes_on_the_command_line(arguments, message, tables, capsys, monkeypatch):
    monkeypatch.chdir(tables)
    write_csv(Path("other.csv"), AFTER, [f"other/{name}" for name in NAMES[:-1]] + ["other/new.jpg"])
    write_csv(Path("classes.csv"), AFTER, classes=["ant", "bee", "cat", "doog"])
    write_csv(Path("twice.csv"), AFTER, [NAMES[0], *NAMES[:-1]])
    write_csv(Path("logits.csv"), 5 * AFTER)
    Path("empty.csv").write_text("path,ant,bee\n")
    Path("a.npz").write_bytes(b"not an archive")
    text = Path("before.csv").read_text()
    first = text.splitlines()[1].split(",")
    Path("words.csv").write_text(text.replace(",".join(first), ",".join([first[0], "much", *first[2:]])))
    Path("missing.csv").write_text(text.replace(",".join(first), ",".join([first[0], "", *first[2:]])))
    assert run(["judge", *arguments]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """Red squares and green stripes: labelled ones in two folders, and the target's in one, with two tables."""
    monkeypatch.setenv("DALIB_CACHE", str(tmp_path / "cache"))
    generator = np.random.default_rng(0)
    lines = {"old": ["path,ant,bee"], "new": ["path,ant,bee"]}
    for number in range(64):
        label = number % 2
        pixels = np.full((96, 96, 3), generator.integers(60, 120), dtype=np.int64)
        if label:
            pixels[20:70, 20:70] = [200, 30, 30]
        else:
            pixels[::8] = [20, 200, 60]
        pixels = np.clip(pixels + generator.normal(0, 15, pixels.shape), 0, 255).astype(np.uint8)
        folder = tmp_path / ("target" if number < 40 else f"source/{['ant', 'bee'][label]}")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{number:02d}.png")
        for name, wrong in (("old", generator.random() < 0.2), ("new", False)):
            shares = [0.9, 0.1] if (label == 0) != wrong else [0.1, 0.9]
            if number < 40:
                lines[name].append(f"{number:02d}.png,{shares[0]},{shares[1]}")
    for name, written in lines.items():
        (tmp_path / f"{name}.csv").write_text("\n".join(written))
    return tmp_path


def test_the_built_in_network_sees_the_images(pictures, capsys):
    models = [str(pictures / "old.csv"), str(pictures / "new.csv")]
    command = ["judge", *models, "--images", str(pictures / "target"), "--reference", "old"]
    assert run([*command, "--source", str(pictures / "source")]) == 0
    assert "new seems to be better than old" in capsys.readouterr().out
    assert list((pictures / "cache" / "features").iterdir())
    (pictures / "target" / "00.png").unlink()
    assert run(command) == 2
    assert "1 of 40 images of the tables are not there, such as '00.png'" in capsys.readouterr().err


def test_features_are_computed_of_the_images_that_judge_alone(pictures, monkeypatch):
    names, computed = [f"{number:02d}.png" for number in range(40)][::-1], []
    plain = FeatureSpace.plain
    monkeypatch.setattr(
        FeatureSpace, "plain", lambda space, rows, *more: computed.append(len(rows)) or plain(space, rows, *more)
    )
    given = GivenFeatures(None, pictures / "target", pictures / "source")
    everything = given.representation(torch.arange(40), 40, names, ("ant", "bee"))
    rows = torch.tensor([7, 1, 30])
    some = given.representation(rows, 40, names, ("ant", "bee"))
    torch.testing.assert_close(some.target, everything.target[rows], rtol=0.01, atol=0.01)
    assert computed == [40, 24, 3, 24]


def test_importing_dalib_loads_no_torch():
    import subprocess

    code = "import sys, dalib; assert 'torch' not in sys.modules; assert 'judge_models' in dir(dalib)"
    subprocess.run([sys.executable, "-c", code], check=True)
