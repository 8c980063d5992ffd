"""Seeds that derive from their use."""

import subprocess
import sys

import torch

from dalib.core.seeds import derive_seed, generator_for, seed_global


def test_a_seed_depends_on_every_part_and_on_their_order_and_kind():
    parts = [(0,), (1,), (0, 1), (1, 0), (0, "1"), ("0", 1), (0, "dropout", 1), (0, "dropout", 2), (0, "drop", "out1")]
    assert len({derive_seed(*each) for each in parts}) == len(parts)


def test_a_seed_fits_into_63_bits():
    seeds = [derive_seed(0, step) for step in range(1000)]
    assert min(seeds) >= 0
    assert max(seeds) < 2**63
    assert len(set(seeds)) == len(seeds)
    torch.Generator().manual_seed(max(seeds))


def test_another_process_comes_to_the_same_seed():
    # the hash of a string differs from process to process, so that it must not be a part of it
    program = "from dalib.core.seeds import derive_seed; print(derive_seed(7, 'dropout', 3))"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert int(told) == derive_seed(7, "dropout", 3) == 3400374145539792746


def test_a_generator_is_a_new_one_with_the_seed_of_its_parts():
    first, second = (generator_for("cpu", 1, "views", 5) for _ in range(2))
    assert first is not second
    assert first.initial_seed() == derive_seed(1, "views", 5)
    assert torch.equal(torch.rand(4, generator=first), torch.rand(4, generator=second))


def test_the_global_generator_is_seeded_as_torch_does_it():
    with torch.random.fork_rng(devices=()):
        seed_global(7, "cpu")
        here = torch.rand(3)
        torch.manual_seed(7)
        assert torch.equal(here, torch.rand(3))
