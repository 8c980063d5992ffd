import pytest
import torch
from torch import nn

from dalib.adaptation.masked_consistency import MaskedConsistency
from dalib.adaptation.self_ensemble import SelfEnsemble
from dalib.adaptation.source_only import SourceOnly
from dalib.core.errors import UserError
from dalib.judge.evidence import Evidence
from dalib.run.classes.prior import (
    check_prior,
    estimated,
    expected_shares,
    first_prior,
    later_prior,
    read_prior,
)

CLASSES = ("cat", "dog", "owl")


def evidence(target_classes):
    labels = torch.arange(90) % 3
    return Evidence(torch.eye(3)[labels] * 0.9 + 0.1 / 3, labels, torch.eye(3)[target_classes] * 0.9 + 0.1 / 3)


def test_the_kinds():
    labels = torch.tensor([0, 0, 1, 2])
    assert first_prior("uniform", labels, CLASSES) is None
    assert first_prior("estimate", labels, CLASSES) is None
    assert first_prior("source", labels, CLASSES).tolist() == [0.5, 0.25, 0.25]
    assert first_prior("source", labels[labels > 0], CLASSES)[0] > 0
    assert first_prior("halfway", labels, CLASSES).tolist() == pytest.approx([0.414214, 0.292893, 0.292893], abs=1e-6)


def test_an_estimate_is_made_in_the_second_half_and_halfway_to_uniform():
    said = evidence([0] * 60 + [1] * 20 + [2] * 20)
    assert estimated(said).tolist() == pytest.approx([0.6, 0.2, 0.2], abs=0.02)
    assert later_prior(said, 49, 100) is None
    expected = later_prior(said, 50, 100)
    assert expected.tolist() == pytest.approx([(0.6 + 1 / 3) / 2, (0.2 + 1 / 3) / 2, (0.2 + 1 / 3) / 2], abs=0.01)
    assert expected.sum().item() == pytest.approx(1)


def test_an_estimate_never_forgets_a_class():
    shares = estimated(evidence([0] * 100))
    assert shares.min().item() == pytest.approx(0.2 / 3)
    assert shares.sum().item() == pytest.approx(1)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '{"owl": 1, "cat": 2, "dog": 1}'),
        ("b.csv", "class,share\ncat,0.5\ndog,0.25\nowl,0.25\n"),
        ("c.csv", "\ufeffcat,100\nowl,50\ndog,50\n"),
        ("d.csv", "cat, 2 ,note\n\ndog,1\nowl,1\n"),
        ("f.csv", "\ufeffsep=;\r\nclass;share\r\ncat;0,5\r\ndog ;0,25\r\nowl;0,25\r\n"),
        ("g.csv", "cat\t2\ndog\t1\nowl\t1\n"),
        ("h.json", '{" owl": 1, "cat ": 2, "dog": 1}'),
        ("e.csv", "\ufeffclass;share\r\ncat;0,5\r\ndog;0,25\r\nowl;0,25\r\n"),
    ],
)
def test_a_file_gives_shares_or_counts_in_any_order(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert first_prior(str(tmp_path / name), torch.tensor([0]), CLASSES).tolist() == [0.5, 0.25, 0.25]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cat,1\ndog,1\n", "no share for owl"),
        ("cat,1\ndog,1\nowl,1\nbear,1\n", "unknown class bear"),
        ("cat,1\ndog,-1\nowl,1\n", "dog has the share '-1'"),
        ("cat,1\ndog,nan\nowl,1\n", "dog has the share 'nan'"),
        ("cat,1\ndog,many\nowl,1\n", "dog has the share 'many'"),
        ("cat,0\ndog,0\nowl,0\n", "all shares are 0"),
        ("", "no share for cat"),
        ("cat,1\ndog,1\nowl,1\ncat,2\n", "cat is there twice; expected each class once"),
    ],
)
def test_a_file_that_does_not_fit_is_told(tmp_path, text, expected):
    (tmp_path / "prior.csv").write_text(text)
    with pytest.raises(UserError, match=expected):
        read_prior(tmp_path / "prior.csv", CLASSES)


def test_a_class_that_json_has_twice_is_told(tmp_path):
    (tmp_path / "prior.json").write_text('{"cat": 1, "dog": 1, "owl": 1, "cat": 2}')
    with pytest.raises(UserError, match="cat is there twice"):
        read_prior(tmp_path / "prior.json", CLASSES)


@pytest.mark.parametrize("text", ["[1, 2]", '[["cat", 1], ["dog", 1], ["owl", 1]]', "{", "3", "\x00"])
def test_what_is_no_json_of_classes_is_told(tmp_path, text):
    (tmp_path / "prior.json").write_text(text)
    with pytest.raises(UserError, match="expected JSON or CSV"):
        read_prior(tmp_path / "prior.json", CLASSES)


def test_bytes_that_are_no_text_are_told(tmp_path):
    (tmp_path / "prior.csv").write_bytes(b"\xff\xfe\x00cat,1")
    with pytest.raises(UserError, match="expected JSON or CSV"):
        read_prior(tmp_path / "prior.csv", CLASSES)


def test_what_can_be_refused_early_is():
    check_prior("uniform", 0.0)
    with pytest.raises(UserError, match=r"prior='estimate': .*validation_share"):
        check_prior("estimate", 0.0)
    check_prior("estimate", None)  # a kit's validation images are its own
    with pytest.raises(UserError, match=r"prior='nowhere\.csv': expected uniform"):
        check_prior("nowhere.csv", 0.1)


def test_a_run_gives_the_shares_that_its_labels_tell(tmp_path):
    with pytest.raises(UserError, match=r"it has no shares\.csv, which .*labels='FILE'"):
        check_prior(str(tmp_path), 0.1)
    (tmp_path / "shares.csv").write_text("class,share,low,high\ncat,0.75,0.6,0.9\ndog,0.25,0.1,0.4\n")
    check_prior(str(tmp_path), 0.1)
    assert first_prior(str(tmp_path), torch.tensor([0, 1]), ["cat", "dog"]).tolist() == [0.75, 0.25]


def test_the_shares_reach_a_method_within_another():
    method = SelfEnsemble(nn.Linear(4, 2), 2)
    assert method.class_prior is method.class_balance_loss
    masked = MaskedConsistency(method)
    assert masked.class_prior is method.class_prior
    method.set_prior(torch.tensor([0.75, 0.25]))
    assert expected_shares(masked).tolist() == [0.75, 0.25]
    assert expected_shares(method).tolist() == [0.75, 0.25]
    masked.class_prior.set_prior(torch.tensor([0.5, 0.5]))
    assert expected_shares(method).tolist() == [0.5, 0.5]
    assert expected_shares(SourceOnly(nn.Linear(4, 2))) is None
    assert SourceOnly(nn.Linear(4, 2)).class_prior is None


def test_classes_are_found_in_whatever_spelling(tmp_path):
    (tmp_path / "prior.csv").write_text("cafe\u0301,3\nNone,1\n", encoding="utf-8")
    assert read_prior(tmp_path / "prior.csv", ("caf\u00e9", "None")).tolist() == [0.75, 0.25]
    (tmp_path / "prior.csv").write_text("cafe\u0301,3\ncaf\u00e9,1\nNone,1\n", encoding="utf-8")
    with pytest.raises(UserError, match="is there twice"):
        read_prior(tmp_path / "prior.csv", ("caf\u00e9", "None"))
