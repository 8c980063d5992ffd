"""The global random generators of a caller are left as they were."""

import random

import numpy as np
import pytest
import torch

from dalib.core.random_states import random_states_kept

DRAWS = {"python": random.random, "numpy": np.random.random, "torch": lambda: torch.rand(1).item()}


@pytest.fixture(autouse=True)
def seeded():
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_the_next_draw_is_as_without_those_inside(draw):
    with random_states_kept():
        inside = [draw(), draw()]
    assert [draw(), draw()] == inside


def test_draws_of_what_fails_are_undone_too():
    drawn = []

    @random_states_kept()
    def fail():
        drawn.append(torch.rand(1).item())
        raise ValueError("in vain")

    with pytest.raises(ValueError, match="in vain"):
        fail()
    assert torch.rand(1).item() == drawn[0]
