"""Whatever cannot be read, and whenever it becomes so: no image is trained on under another one's label."""

import csv
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from dalib.commands.config_file import read_config
from dalib.commands.flags import FlagSpelling
from dalib.commands.main import run
from dalib.core.errors import UserError
from dalib.records.folder import RunFolder
from dalib.run import train

POLICIES = ("disk", "ram", "off")


def arguments(images, out, *more: str) -> list[str]:
    where = ["--source", f"{images}/source", "--target", f"{images}/target", "--out", str(out)]
    quick = "--steps 6 --batch 4 --data.size 16 --data.validation_share 0.2 --baseline false --select last"
    often = "--every.log 2 --every.evaluate 3 --every.checkpoint 3"
    return ["train", *where, *quick.split(), *often.split(), *more]


def weights(root) -> dict[str, torch.Tensor]:
    return load_file(RunFolder(root).model / "model.safetensors")


def assert_same_weights(first, second) -> None:
    ours, theirs = weights(first), weights(second)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.fixture
def damaged(images, tmp_path):
    """A copy of the images, of which a quarter can be read as far as the header alone."""
    root = tmp_path / "images"
    for domain in ("source", "target"):
        shutil.copytree(images / domain, root / domain)
    for path in sorted(root.rglob("*.png"))[::4]:
        content = path.read_bytes()
        path.write_bytes(content[: len(content) * 2 // 3])
    return root


def test_all_caches_train_on_the_same_images_and_none_is_offered_that_cannot_be_read(damaged, tmp_path):
    cut = {str(path) for path in sorted(damaged.rglob("*.png"))[::4]}
    for policy in POLICIES:
        assert run(arguments(damaged, tmp_path / policy, "--cache", policy)) == 0
    first = tmp_path / "disk"
    listed = {each["path"] for each in json.loads((first / "unreadable.json").read_text())}
    assert listed == cut
    assert run(["query", str(tmp_path / "off"), "--n", "1000", "--out", str(tmp_path / "list.csv")]) == 0
    with (tmp_path / "list.csv").open(newline="") as file:
        offered = {row["path"] for row in csv.DictReader(file)}
    assert offered
    assert not offered & cut
    for policy in POLICIES[1:]:
        other = tmp_path / policy
        assert_same_weights(first, other)
        for name in ("images.json", "unreadable.json"):
            assert (first / name).read_text() == (other / name).read_text()
        fingerprints = [json.loads((each / "summary.json").read_text())["fingerprints"] for each in (first, other)]
        assert fingerprints[0] == fingerprints[1]


@pytest.mark.parametrize("how", ["gone", "changed"])
def test_a_file_that_is_lost_while_a_run_goes_on_stops_it_and_the_run_goes_on_once_it_is_back(
    images, tmp_path, capsys, how
):
    root = tmp_path / "images"
    shutil.copytree(images, root)
    assert run(arguments(root, tmp_path / "whole", "--cache", "off")) == 0
    lost = sorted((root / "source").rglob("*.png"))
    kept = {path: path.read_bytes() for path in lost}

    def lose(name: str, step: int, evidence: object) -> None:
        for number, path in enumerate(lost):
            if how == "gone":
                path.unlink(missing_ok=True)
            else:
                path.write_bytes(kept[lost[number - 1]])

    (tmp_path / "config.yaml").write_text((tmp_path / "whole" / "config.yaml").read_text())
    config = read_config(tmp_path / "config.yaml")
    out = tmp_path / "run"
    object.__setattr__(config, "out", str(out))
    what = "it can no longer be read" if how == "gone" else "its pixels are no longer those"
    with pytest.raises(UserError, match=rf"\.png: {what}.*dalib\.adapt\(resume='{out}'\)") as error:
        train.train(config, on_evidence=lose)
    assert error.value.text(FlagSpelling()).endswith(f"dalib train --resume {out}")
    assert (out / "checkpoints").is_dir()
    assert run(["train", "--resume", str(out)]) == 2
    assert f"{root}/source" in capsys.readouterr().err
    for path, content in kept.items():
        path.write_bytes(content)
    assert run(["train", "--resume", str(out)]) == 0
    assert_same_weights(tmp_path / "whole", out)


def test_eval_stops_where_an_image_is_lost_between_two_models(images, tmp_path, capsys, monkeypatch):
    root = tmp_path / "images"
    shutil.copytree(images, root)
    assert run(arguments(root, tmp_path / "run", "--baseline", "true")) == 0
    from dalib.run.finished import measure

    opened = measure.open_labelled

    def then_lose(*given, **options):
        labelled = opened(*given, **options)
        next((root / "source").rglob("*.png")).unlink()
        return labelled

    monkeypatch.setattr(measure, "open_labelled", then_lose)
    assert run(["eval", str(tmp_path / "run"), "--data", f"{root}/source", "--cache", "off"]) == 2
    assert "it can no longer be read" in capsys.readouterr().err
