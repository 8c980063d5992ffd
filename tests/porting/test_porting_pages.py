"""The pages for people who come from other libraries: code runs, commands are understood, names exist."""

import ast
import importlib
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

import dalib.judge.scores
from dalib.commands.parser import make_parser
from dalib.data.listing import list_images, list_labelled
from dalib.judge.scores import mean_entropy

FOLDER = Path(__file__).parents[2] / "docs" / "porting"
PAGES = sorted(FOLDER.glob("*.md"))
FENCE = re.compile(r"^```(\w*|\{\w+\})\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(page: str, language: str) -> list[str]:
    """Fenced code; ``python`` is ours and is run, ``py`` is how the other library is called."""
    text = (FOLDER / f"{page}.md").read_text(encoding="utf-8")
    return [code for found, code in FENCE.findall(text) if found == language]


def run(page: str) -> dict:
    """Run the page's code, all of it, in one namespace."""
    names: dict = {"__name__": page}
    code = "\n".join(blocks(page, "python"))
    assert code, f"{page}: no code"
    exec(compile(code, f"{page}.md", "exec"), names)
    return names


def rows(page: str) -> list[list[str]]:
    text = (FOLDER / f"{page}.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("|") and not set(line) <= set("|- ")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


@pytest.fixture
def images(tmp_path) -> Path:
    for name in ("amazon/images/mug", "amazon/images/pen", "clipart/axe"):
        (tmp_path / name).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name / "a picture.png")
    return tmp_path


def test_the_transfer_learning_page(images, monkeypatch):
    monkeypatch.chdir(images)
    torch.manual_seed(0)
    names = run("transfer-learning-library")
    saved = torch.load(images / "both.pt")
    assert saved["student"].keys() == saved["teacher"].keys()
    (images / "amazon.txt").write_text(
        "amazon/images/pen/a picture.png 1\namazon/images/mug/a picture.png 0\n", encoding="utf-8"
    )
    names["write_list"]("amazon.txt", ["mug", "pen"], "amazon.csv")
    found = list_labelled(images / "amazon.csv", argument="--source")
    assert found.classes == ("mug", "pen")
    assert [found.classes[label] for label in found.labels] == [path.parent.name for path in found.paths]
    assert all(path.exists() for path in found.paths)


def test_the_pytorch_adapt_page():
    torch.manual_seed(0)
    names = run("pytorch-adapt")
    p = torch.randn(50, 3).softmax(dim=1)
    assert names["LabelFree"](dalib.judge.scores.mutual_information)(
        target_train={"preds": p, "logits": p.log(), "features": p}
    ) == pytest.approx(dalib.judge.scores.mutual_information(p))
    assert names["LabelFree"](lambda preds: -mean_entropy(preds))(target_train={"preds": p}) == -mean_entropy(p)
    assert 0 <= names["score"] <= 1.61
    assert names["validator"].required_data == ("target_train",)

    before = names["C"].weight.detach().clone()
    for _ in range(3):
        batch = {
            "src_imgs": torch.randn(6, 8),
            "src_labels": torch.arange(6) % 3,
            "target_imgs": [5 * torch.randn(6, 8), 5 * torch.randn(6, 8)],
        }
        losses = names["step"](batch)
    assert losses.keys() == {"src_c_loss", "consistency_loss", "balance_loss"}
    assert losses["consistency_loss"] > 0
    weight, average = names["C"].weight.detach(), names["teacher"].module[1].weight
    assert (weight - before).abs().max() > 1e-3
    assert 0 < (average - before).abs().max() < (weight - before).abs().max()


def test_the_dassl_page(images, monkeypatch):
    monkeypatch.chdir(images)
    names = run("dassl")
    data = [
        SimpleNamespace(impath=str(images / f"amazon/images/{name}/a picture.png"), label=7, domain=0, classname=name)
        for name in ("pen", "mug")
    ]
    names["write_list"](data, "amazon.csv")
    found = list_labelled(images / "amazon.csv", argument="--source")
    assert [found.classes[label] for label in found.labels] == [path.parent.name for path in found.paths]
    assert set(found.classes) == {"mug", "pen"}

    (images / "splits").mkdir()
    (images / "splits" / "clipart_train.txt").write_text("clipart/axe/a picture.png 9\n", encoding="utf-8")
    names["write_split"](images / "splits" / "clipart_train.txt", images / "clipart_train.csv")
    found = list_labelled(images / "clipart_train.csv", argument="--source")
    assert found.classes == ("axe",)
    assert list_images(images / "clipart_train.csv", argument="--target").paths[0].exists()


def test_the_skada_page():
    names = run("skada")
    truth = names["y"][100:]
    assert (names["predicted"] == truth).mean() > 0.9
    assert (names["without"] == truth).mean() < 0.7
    assert names["classifier"].judgement_["headline"]


@pytest.mark.parametrize("page", ["transfer-learning-library", "dassl"])
def test_the_commands_are_understood(page):
    commands = [line for block in blocks(page, "") for line in block.splitlines() if line.startswith("dalib train --")]
    assert commands
    for command in commands:
        arguments = shlex.split(command)[1:]
        parsed = make_parser(arguments).parse_args(arguments)["train"]
        assert parsed["self_ensemble"]["over_classes"] == "sum"
        if page == "dassl":
            given = parsed["self_ensemble"]
            assert [given[name] for name in ("alpha", "alpha_warmup", "weight", "threshold", "class_balance")] == [
                *(0.999, True, 1.0, 0.95, 0.0),
            ]
        else:
            given, optimizer = parsed["self_ensemble"], parsed["optimizer"]
            assert [given[name] for name in ("alpha", "threshold", "weight", "class_balance")] == [0.99, 0.8, 3.0, 0.01]
            assert (optimizer["lr"], optimizer["schedule"], parsed["batch"]) == (1e-4, "inverse-decay", 36)


@pytest.mark.parametrize("page", [path.stem for path in PAGES])
def test_every_flag_of_the_right_hand_column_exists(page):
    known = set(make_parser([])._subparsers._group_actions[0].choices["train"]._option_string_actions)
    for _, here, *_ in rows(page):
        for flag in re.findall(r"(?<![\w-])--[a-z][\w.]*", here):
            assert flag in known, f"{page}: {flag}"


def test_there_are_flags_to_look_for():
    assert sum(len(re.findall(r"--[a-z]", here)) for page in PAGES for _, here, *_ in rows(page.stem)) > 30


def test_the_scores_that_the_pages_name_exist():
    here = " ".join(row[1] for page in ("pytorch-adapt", "skada") for row in rows(page))
    named = set(re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", here))
    wanted = {"mutual_information", "mean_entropy", "nuclear_norm", "class_ami", "dev_risk", "density_ratio"}
    assert wanted <= named
    for name in wanted | {"soft_neighbourhood_density", "class_vanishing"}:
        assert callable(getattr(dalib.judge.scores, name))
    assert callable(importlib.import_module("dalib.sklearn").judged_score)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_is_short_and_all_its_tables_are_whole(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 120
    text = path.read_text(encoding="utf-8")
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert tables
    for table in tables:
        columns = {line.count("|") for line in table.splitlines()}
        assert len(columns) == 1, table


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_the_other_librarys_code_is_python_and_its_links_lead_somewhere(path):
    for code in blocks(path.stem, "py"):
        ast.parse(code)
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target
