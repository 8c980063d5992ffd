"""Several processes are one training: on gloo, with 2 and 4 of them, held against one that has all the images."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from distributed_worker import BESIDE, METHODS, flat, free_port, student

from dalib.core.console import say_warning
from dalib.core.errors import UserError
from dalib.engine.distributed import World, first_host, joined, world_of

WORKER = Path(__file__).parent / "distributed_worker.py"
#: Methods whose step is that of one process that has the whole batch, to rounding.
LIKE_ONE_PROCESS = ["source-only", "self-ensemble", "self-ensemble, prototypes", "mean-teacher", "fixmatch"]
LIKE_ONE_PROCESS += [f"self-ensemble, {name}" for name in BESIDE]


def started(size: int, *program: str | Path) -> list[subprocess.Popen]:
    """``size`` processes that run a Python program and find each other."""
    port = free_port()
    ranks = []
    for rank in range(size):
        place = {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank)}
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
        ranks.append(subprocess.Popen([sys.executable, *program], env={**os.environ, **place, **meeting}))
    return ranks


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    """What :mod:`distributed_worker` finds in each process of worlds of 1, 2 and 4."""
    out, sizes = tmp_path_factory.mktemp("worlds"), (1, 2, 4)
    program = [sys.executable, WORKER, out, *map(str, sizes)]
    subprocess.run(program, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True, timeout=240)
    return {size: [json.loads((out / f"{size}/{rank}.json").read_text()) for rank in range(size)] for size in sizes}


@pytest.fixture(scope="module", params=[2, 4])
def ranks(request, worlds):
    return worlds[request.param]


@pytest.fixture(scope="module")
def alone(worlds):
    return worlds[1][0]


LEAVES_AT_ONCE = """
import sys, torch
from dalib.engine.distributed import joined, mean_over_ranks, parallel

def main():
    with joined():
        model = parallel(torch.nn.Linear(1, 1))  # holds the group, and so its threads, to the end of the process
        mean_over_ranks(torch.zeros(1))

sys.setswitchinterval(100)  # Python's lock is not given up while there is something to do
main()
"""


@pytest.mark.slow
def test_a_rank_that_ends_right_after_the_last_mean_does_not_abort(tmp_path):
    """A quarter of such pairs did: 16 of them tell with 99 %."""
    program = tmp_path / "leaves_at_once.py"
    program.write_text(LEAVES_AT_ONCE)
    for _ in range(16):
        assert [process.wait(120) for process in started(2, program)] == [0, 0]


def close(one, other) -> bool:
    return torch.allclose(
        torch.tensor(one, dtype=torch.float64), torch.tensor(other, dtype=torch.float64), 1e-10, 1e-12
    )


@pytest.mark.parametrize("method", LIKE_ONE_PROCESS)
def test_the_gradient_is_that_of_one_process_with_the_whole_batch(ranks, alone, method):
    """Class balance and information are of the mean prediction of all, which the mean of losses would get wrong."""
    for rank in ranks:
        assert close(rank[method]["gradient"], alone[method]["gradient"])
    assert max(map(abs, alone[method]["gradient"])) > 1e-3


@pytest.mark.parametrize("method", LIKE_ONE_PROCESS)
def test_training_ends_at_the_weights_of_one_process(ranks, alone, method):
    for rank in ranks:
        assert close(rank[method]["student"], alone[method]["student"])
        assert rank[method]["teacher"] == ranks[0][method]["teacher"]
        assert close(rank[method]["teacher"], alone[method]["teacher"])


@pytest.mark.parametrize("method", METHODS)
def test_every_rank_ends_at_the_same_weights_and_has_left_where_it_began(ranks, method):
    for rank in ranks:
        assert rank[method]["student"] == ranks[0][method]["student"]
        assert rank[method]["teacher"] == ranks[0][method]["teacher"]
        assert rank[method]["student"] != flat(student().parameters())


def test_the_first_rank_logs_the_mean_over_all(ranks, alone):
    logged, expected = ranks[0]["self-ensemble"]["metrics"], alone["self-ensemble"]["metrics"]
    assert [line.keys() for line in logged] == [line.keys() for line in expected]
    for one, other in zip(logged, expected, strict=True):
        for name in one.keys() - {"images_per_second"}:
            assert one[name] == pytest.approx(other[name], rel=1e-5), name
    assert all("metrics" not in rank["self-ensemble"] for rank in ranks[1:])


def test_running_statistics_are_averaged_and_the_same_everywhere(ranks):
    for domain in ("student", "teacher"):
        before = torch.tensor([rank["norms"][f"{domain} before"] for rank in ranks])
        assert before.std(dim=0).min() > 0  # each rank had its own
        for rank in ranks:
            assert torch.allclose(torch.tensor(rank["norms"][f"{domain} after"]), before.mean(dim=0), atol=1e-6)


def test_what_the_first_rank_says_reaches_all(ranks):
    assert all(rank["said"] == {"by": 0} for rank in ranks)
    assert [rank["failed"] for rank in ranks] == ["UserError: no such thing"] + [
        "ReportedByRankZeroError: UserError: no such thing"
    ] * (len(ranks) - 1)


def test_the_first_rank_goes_first_and_the_others_find_what_it_left(ranks):
    assert [rank["found"] for rank in ranks] == [False] + [True] * (len(ranks) - 1)


def test_what_is_so_on_any_rank_is_known_on_all(ranks):
    assert all(rank["any"] == [True, False] for rank in ranks)


def test_the_first_rank_prints_and_the_others_are_silent(capsys):
    for rank in range(3):
        with World(rank, size=3).first_prints():
            print("from", rank)
            say_warning(f"of {rank}")
    print("after")
    assert capsys.readouterr() == ("from 0\nafter\n", "warning: of 0\n")


def test_the_first_ranks_model_is_shared(ranks):
    assert all(rank["shared"] == ranks[0]["shared"] for rank in ranks)


@pytest.mark.parametrize(
    "environment",
    [{"RANK": "2", "WORLD_SIZE": "2"}, {"RANK": "x", "WORLD_SIZE": "2"}, {"RANK": "-1", "WORLD_SIZE": "2"}],
)
def test_an_environment_that_names_no_world_is_refused(environment):
    with pytest.raises(UserError, match="RANK"):
        world_of(environment)


def test_a_step_of_slurm_without_a_number_of_tasks_is_refused():
    with pytest.raises(UserError, match=r"SLURM_STEP_NUM_TASKS.*: expected whole numbers"):
        world_of({"SLURM_STEP_NUM_TASKS": "two", "SLURM_PROCID": "0"})


def test_a_batch_script_of_slurm_is_one_process():
    assert world_of({"SLURM_NTASKS": "8", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}) == World()


def test_without_a_launcher_there_is_one_process_and_nothing_is_set_up():
    with joined({}) as world:
        assert world == World()
        assert not torch.distributed.is_initialized()
        assert world.from_first(lambda: 5) == 5
        assert not world.any(False)


def test_a_list_of_hosts_that_is_none_is_refused():
    with pytest.raises(UserError, match="MASTER_ADDR"):
        first_host("[1]")
