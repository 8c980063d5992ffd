import itertools
from dataclasses import asdict, replace

import pytest
import torch
from two_domains import two_domains

from dalib.judge.calibrated import (
    CALIBRATIONS,
    MAX_TRANSPORTED,
    Agreements,
    agreements_of,
    calibrated_estimate,
    calibration_for,
    confidence_transport,
    headroom,
)
from dalib.judge.signs import head_classes
from dalib.judge.structure import structure_of


def test_transport_is_the_best_of_all_assignments():
    p = torch.rand(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    p = p / p.sum(dim=1, keepdim=True)
    labels = [0, 0, 0, 1, 1, 2]
    best = max(
        sum(float(p[row, label]) for row, label in enumerate(order)) / 6
        for order in set(itertools.permutations(labels))
    )
    assert confidence_transport(p, torch.tensor([3.0, 2.0, 1.0])) == pytest.approx(best)


def test_a_sure_model_that_collapsed_is_seen_through():
    collapsed = torch.tensor([[0.99, 0.01]]).repeat(100, 1)
    assert confidence_transport(collapsed, torch.ones(2)) == pytest.approx(0.5)


def test_more_images_than_are_transported_are_drawn_and_again_with_the_same_seed():
    p = torch.rand(MAX_TRANSPORTED + 500, 2, generator=torch.Generator().manual_seed(0))
    p = p / p.sum(dim=1, keepdim=True)
    found = [confidence_transport(p, torch.ones(2), seed) for seed in (0, 0, 1)]
    assert found[0] == found[1]
    assert found[0] == pytest.approx(found[2], abs=0.02)


def test_shares_of_another_number_of_classes_are_refused():
    with pytest.raises(ValueError, match=r"shares: expected shape \(2,\), got \(3,\)"):
        confidence_transport(torch.tensor([[0.5, 0.5]]), torch.ones(3))


def agreeing(calibration, *values):
    """Agreements of these values, of which there are as many as the calibration was fitted with."""
    kept = (getattr(calibration, name) is not None for name in ("transport", "heads", "neighbours", "aligned"))
    return Agreements(*(value if keep else None for value, keep in zip(values, kept, strict=True)))


def named(calibration):
    lacking = [name for name in ("neighbours", "aligned") if getattr(calibration, name) is None]
    return "-".join([calibration.kind, *lacking])


each_calibration = pytest.mark.parametrize("calibration", CALIBRATIONS, ids=named)


@each_calibration
def test_the_estimate_never_falls_with_an_agreement_and_holds_itself(calibration):
    start = agreeing(calibration, 0.5, 0.6, 0.7, 0.4)
    for name in (name for name, value in asdict(start).items() if value is not None):
        found = [calibrated_estimate(replace(start, **{name: n / 10}), calibration) for n in range(11)]
        assert [each.value for each in found] == sorted(each.value for each in found)
        assert all(0 <= each.low <= each.value <= each.high <= 1 for each in found)


@each_calibration
def test_full_agreement_is_a_better_model_than_little(calibration):
    little, full = (calibrated_estimate(agreeing(calibration, *[each] * 4), calibration).value for each in (0.2, 1.0))
    assert little < 0.4
    assert full > 0.9


@each_calibration
def test_no_estimate_is_called_reliable_and_each_says_how_far_such_are_off(calibration):
    estimate = calibrated_estimate(agreeing(calibration, 1.0, 1.0, 1.0, 1.0), calibration)
    assert not estimate.reliable
    assert f"{100 * calibration.usual_error:.0f} points off on average" in estimate.reason


@each_calibration
def test_each_calibration_is_found_by_the_kind_of_model_and_what_it_agrees_with(calibration):
    assert calibration_for(calibration.kind, agreeing(calibration, 0.5, 0.5, 0.5, 0.5)) == calibration


def test_what_is_missing_narrows_no_interval_and_widens_it_where_much_is():
    full, less, least = (
        calibrated_estimate(each, calibration_for("adapted", each))
        for each in (Agreements(0.8, 0.8, 0.8, 0.8), Agreements(0.8, 0.8, 0.8), Agreements(0.8, 0.8))
    )
    # of the room that each estimate leaves: one nearer to 1 has less
    widths = [(each.high - each.low) / headroom(each.value) for each in (full, less, least)]
    assert widths[0] <= widths[1] + 1e-9 < widths[2]
    assert full.method == "transport, heads, neighbours, aligned"
    assert least.method == "transport, heads"


@pytest.mark.parametrize(("kind", "aligned"), [("best", None), ("aligned", 0.9)])
def test_what_was_not_calibrated_is_refused(kind, aligned):
    with pytest.raises(ValueError, match=f"kind: expected one that was calibrated with such agreements, got '{kind}'"):
        calibration_for(kind, Agreements(0.5, 0.5, 0.5, aligned))


@pytest.mark.parametrize(("value", "expected"), [(0.0, 0.1), (0.5, 1.0), (0.9, 0.6), (1.0, 0.1)])
def test_there_is_less_room_near_the_ends(value, expected):
    assert headroom(value) == pytest.approx(expected)


def test_from_probabilities_and_the_structure_of_the_target():
    representation, labels = two_domains()
    structure = structure_of(representation, 4)
    right = 0.94 * torch.eye(4)[labels] + 0.015
    heads = head_classes(structure)
    good, wrong = (
        agreements_of(right, labels, target, heads, structure, right) for target in (right, right.roll(1, dims=1))
    )
    assert min(good.transport, good.heads, good.neighbours) > 0.85
    assert wrong.heads < 0.1
    assert wrong.neighbours == pytest.approx(good.neighbours)
    assert (good.aligned, wrong.aligned) == (1.0, 0.0)


def test_without_untrained_features_and_an_aligned_model_there_is_nothing_to_agree_with():
    representation, labels = two_domains()
    right = 0.94 * torch.eye(4)[labels] + 0.015
    found = agreements_of(right, labels, right, head_classes(structure_of(representation, 4)))
    assert (found.neighbours, found.aligned) == (None, None)
