"""Tables of probabilities that other programs wrote."""

import numpy as np
import pytest

import dalib
from dalib.run.model_tables import read_table
from models_elsewhere import AFTER, BEFORE, CLASSES, FEATURES, LABELS, NAMES, write_csv


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


def test_folders_that_all_names_share_do_not_count(tmp_path):
    absolute = [f"/data/x/{name.removeprefix('street/')}" for name in NAMES]
    models = {
        "a": write_csv(tmp_path / "a.csv", BEFORE),
        "b": write_csv(tmp_path / "b.csv", AFTER[::-1], absolute[::-1]),
    }
    assert dalib.judge_models(models, features=FEATURES).best == "b"
