import pytest
import torch
from two_domains import sure

from dalib.judge.witness import renamed_pairs, witness_of

LABELS = torch.arange(4).repeat(10)
TARGETS = {"before": sure(LABELS.flip(0)), "after": sure(LABELS)}


def test_classifiers_of_the_source_come_before_the_reference():
    heads = torch.stack([LABELS, LABELS, LABELS.flip(0)])
    found = witness_of(TARGETS, heads, "before")
    assert torch.equal(found.target.argmax(dim=1), LABELS)
    assert torch.allclose(found.target.sum(dim=1), torch.ones(40, dtype=torch.float64))
    assert (found.target > 0).all()
    assert (found.independent, found.why) == (True, "")


@pytest.mark.parametrize("heads", [None, torch.zeros(0, 40, dtype=torch.int64)])
def test_without_them_it_is_the_reference_unless_that_collapsed(heads):
    assert witness_of(TARGETS, heads, "before").target is TARGETS["before"]
    mean = (TARGETS["before"] + TARGETS["after"]) / 2
    for reference, collapsed, why in (
        ("before", True, "before predicts so few"),
        (None, False, "No reference was named"),
    ):
        found = witness_of(TARGETS, heads, reference, reference_collapsed=collapsed)
        assert torch.allclose(found.target, mean)
        assert not found.independent
        assert found.why.startswith(why)


def test_models_that_exchange_names_are_found_and_models_that_err_are_not():
    exchanged = sure(torch.tensor([1, 0, 2, 3])[LABELS])
    wrong = sure(torch.where(torch.rand(40, generator=torch.Generator().manual_seed(0)) < 0.5, LABELS, 0))
    (found,) = renamed_pairs({"a": sure(LABELS), "exchanged": exchanged, "wrong": wrong})[:1]
    assert (found.first, found.second, found.names) == ("a", "exchanged", (1, 0, 2, 3))
    assert (found.agreement, found.matched) == (0.5, 1.0)
    assert renamed_pairs({"a": sure(LABELS), "wrong": wrong}) == []
