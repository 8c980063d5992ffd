"""dalib predict on a run of folders."""

import csv
import os

import numpy as np
from small_run import write_image

from dalib.commands.main import run


def test_predict_writes_a_row_for_each_readable_image(trained, folders, tmp_path, capsys):
    out = tmp_path / "predictions.csv"
    assert run(["predict", str(trained), "--images", f"{folders}/target", "--out", str(out)]) == 0
    assert "broken.png" in capsys.readouterr().out
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert list(rows[0]) == ["path", "class", "confidence", "runner_up", "runner_up_confidence"]
    assert len(rows) == 24
    for row in rows:
        assert {row["class"], row["runner_up"]} == {"dark", "light"}
        assert float(row["confidence"]) >= float(row["runner_up_confidence"])


def test_one_image_is_predicted_as_in_its_folder(trained, folders, tmp_path, capsys):
    whole, one = tmp_path / "whole.csv", tmp_path / "one.csv"
    assert run(["predict", str(trained), "--images", f"{folders}/target", "--out", str(whole)]) == 0
    header, row = whole.read_text().splitlines()[:2]
    capsys.readouterr()
    for cache in ("off", "disk"):
        given = ["--images", row.split(",")[0], "--out", str(one), "--cache", cache]
        assert run(["predict", str(trained), *given]) == 0
        assert f"1 prediction in {one}\n" in capsys.readouterr().out
        assert one.read_text().splitlines() == [header, row]


def test_one_image_that_cannot_be_read_is_told(trained, tmp_path, capsys):
    (tmp_path / "no.jpg").write_bytes(b"no image")
    given = ["--images", f"{tmp_path}/no.jpg", "--out", f"{tmp_path}/one.csv"]
    assert run(["predict", str(trained), *given]) != 0
    assert "no.jpg" in capsys.readouterr().err
    assert not (tmp_path / "one.csv").exists()


def test_a_file_name_that_is_not_text_stops_nothing(trained, tmp_path, capsys):
    images, out = tmp_path / "images", tmp_path / "predictions.csv"
    write_image(images / "x.png", 100, np.random.default_rng(0))
    os.rename(images / "x.png", os.fsencode(images) + b"/\xff.png")  # noqa: PTH104 - a name of bytes
    (images / os.fsdecode(b"\xfe.png")).touch()
    assert run(["predict", str(trained), "--images", str(images), "--out", str(out)]) == 0
    assert "\\udcff.png" in out.read_text()
    assert "\\udcfe.png" in capsys.readouterr().out
