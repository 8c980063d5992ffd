"""Learning-rate schedules: start, peak, end."""

import pytest
import torch

from dalib.engine.schedule import constant, cosine, inverse_decay, one_cycle

LENGTHS = [1, 2, 3, 5, 17, 1000]


@pytest.mark.parametrize("steps", LENGTHS)
def test_constant_is_1_throughout(steps):
    assert {constant(step, steps) for step in range(steps)} == {1.0}


@pytest.mark.parametrize("steps", LENGTHS[2:])
def test_cosine_falls_from_1_to_0(steps):
    rates = [cosine(step, steps) for step in range(steps)]
    assert rates[0] == 1
    assert rates[-1] == pytest.approx(0, abs=1e-12)
    assert rates == sorted(rates, reverse=True)
    assert sum(rates) / steps == pytest.approx(0.5)


@pytest.mark.parametrize("warmup_share", [0.1, 0.25, 0.5])
def test_one_cycle_rises_from_a_25th_to_1_and_falls_to_a_ten_thousandth(warmup_share):
    steps = 1001
    rates = [one_cycle(step, steps, warmup_share) for step in range(steps)]
    peak = round(warmup_share * (steps - 1))
    assert rates[0] == pytest.approx(1 / 25)
    assert rates[peak] == max(rates) == 1
    assert rates[-1] == pytest.approx(1e-4)
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[peak // 2] == pytest.approx((1 + 1 / 25) / 2, abs=0.01)


@pytest.mark.parametrize("steps", LENGTHS)
@pytest.mark.parametrize("schedule", [constant, cosine, one_cycle])
def test_every_length_of_training_gets_shares_of_the_rate(schedule, steps):
    rates = [schedule(step, steps) for step in range(steps)]
    assert all(0 <= rate <= 1 for rate in rates)
    assert rates[0] > 0


def test_one_cycle_agrees_with_torchs():
    steps = 200
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=steps, pct_start=0.25, final_div_factor=1e4 / 25, cycle_momentum=False
    )
    theirs = []
    for _ in range(steps):
        theirs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(theirs) < steps:
            reference.step()
    # theirs peaks one step earlier
    assert [one_cycle(step, steps) for step in range(steps)] == pytest.approx(theirs, abs=0.02)


def test_inverse_decay_falls_as_it_is_written():
    assert [inverse_decay(step, 10) for step in (0, 15_000)] == [1.0, pytest.approx(16**-0.75)]
    rates = [inverse_decay(step, 10) for step in range(100)]
    assert rates == sorted(rates, reverse=True)
