"""Training by several processes: rank and world size, means over all ranks, and results of the first rank for all.

Knows torch and the console alone. Every function is called by all ranks at once, or by none; with one process each
does nothing.
"""

from __future__ import annotations

import inspect
import os
import platform
import re
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from dalib.core.console import silence
from dalib.core.errors import ReportedByRankZeroError, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Result = TypeVar("Result")

TIMEOUT = timedelta(minutes=60)
"""Time that a rank waits for the others: the first one may decode images or judge for long. A dead rank is noticed
at once on gloo, and by torchrun within seconds."""

EXIT_PAUSE = 0.1
"""Seconds that a rank gives up Python's lock for when it leaves. A thread of gloo's needs it to drop the last tensors
that it sent; one that comes for it when the interpreter has begun to end aborts the process, and torchrun then kills
the other ranks. The thread lives as long as a model that :func:`parallel` wrapped, so destroying the group does not
wait for it."""


@dataclass(frozen=True)
class World:
    """The processes of one training.

    Attributes:
        rank: 0 to size - 1; the first one writes, prints and judges.
        size: number of processes.
        local_rank: the process's number on its machine, and that of its GPU.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        return self.rank == 0

    @contextmanager
    def first_prints(self) -> Iterator[None]:
        """Discards what ranks other than the first print in the block, except errors: they would print the same."""
        if self.first:
            yield
            return
        with silence():
            yield

    def from_first(self, compute: Callable[[], Result]) -> Result:
        """Calls ``compute()`` on the first rank and returns its result on all; an error there is raised everywhere.

        The result is pickled between processes of one training; nothing of it comes from a file.
        """
        if self.size == 1:
            return compute()
        message: list[Any] = [None, None]  # the result, or the error in words
        failed: Exception | None = None
        if self.first:
            try:
                message[0] = compute()
            except Exception as error:  # the others wait for an answer: it is what went wrong
                failed, message[1] = error, f"{type(error).__name__}: {error}"
        dist.broadcast_object_list(message, src=0, device=torch.device("cpu"))
        if failed is not None:
            raise failed
        if message[1] is not None:
            raise ReportedByRankZeroError(message[1])
        result: Result = message[0]
        return result

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Runs the block on the first rank, then on one rank of each other machine, then on the rest.

        For what is kept on disk and found there by those who come later, whether machines share the disk or not.
        """
        turn = 0 if self.first else 1 if self.local_rank == 0 else 2
        for number in range(3 if self.size > 1 else 1):
            if number == turn:
                yield
            self._barrier()

    def from_all(self, here: Result) -> list[Result]:
        """Returns the objects of all ranks, in the order of the ranks, on each of them."""
        if self.size == 1:
            return [here]
        results: list[Result] = []
        for rank in range(self.size):  # dist.all_gather_object would take a GPU
            message = [here]
            dist.broadcast_object_list(message, src=rank, device=torch.device("cpu"))
            results.append(message[0])
        return results

    def place_on_machine(self) -> tuple[int, int]:
        """Returns the number of this process among those of its machine, and how many these are."""
        machines = self.from_all(platform.node())
        return machines[: self.rank].count(machines[self.rank]), machines.count(machines[self.rank])

    def any(self, here: bool) -> bool:
        """Returns whether the condition holds on any rank."""
        if self.size == 1:
            return here
        found = torch.tensor(float(here))
        dist.all_reduce(found, op=dist.ReduceOp.MAX)
        return bool(found)

    def share(self, model: nn.Module) -> None:
        """Copies parameters and buffers of the first rank's model to the others, in place."""
        if self.size > 1:
            for tensor in model.state_dict().values():
                dist.broadcast(tensor, src=0)

    def _barrier(self) -> None:
        if self.size > 1:
            dist.all_reduce(torch.zeros(()))  # on the host: dist.barrier would take a GPU


ALONE = World()
"""One process."""


@contextmanager
def joined(environment: Mapping[str, str] = os.environ, timeout: timedelta = TIMEOUT) -> Iterator[World]:
    """Joins the process group that torchrun or SLURM set up; yields a world of one if neither did.

    Args:
        environment: variables that name the world.
        timeout: time that a rank waits for the others.

    Raises:
        UserError: an environment that names no world.
    """
    world = world_of(environment)
    if world.size == 1 or dist.is_initialized():
        yield world
        return
    if "MASTER_ADDR" not in environment or "MASTER_PORT" not in environment:
        os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = _slurm_meeting_place(environment)
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(world.local_rank % torch.cuda.device_count())
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, rank=world.rank, world_size=world.size, timeout=timeout)
    try:
        yield world
    finally:
        dist.destroy_process_group()
        time.sleep(EXIT_PAUSE)


def world_of(environment: Mapping[str, str]) -> World:
    """Reads rank and size from torchrun's variables, else from those of a SLURM step.

    A SLURM job names its tasks in the batch script too, which is one process: only those of a step, as srun starts it,
    count.

    Raises:
        UserError: a variable that is no number, or a rank beyond the size.

    >>> world_of({"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1"})
    World(rank=3, size=8, local_rank=1)
    >>> world_of({"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1", "SLURM_LOCALID": "0"})
    World(rank=1, size=2, local_rank=0)
    >>> world_of({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"})
    World(rank=0, size=1, local_rank=0)
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    if "WORLD_SIZE" not in environment and environment.get("SLURM_STEP_NUM_TASKS", "") not in ("", "0", "1"):
        names = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID")
    try:
        rank, size, local_rank = (
            int(environment.get(name, default)) for name, default in zip(names, (0, 1, 0), strict=True)
        )
    except ValueError as error:
        raise UserError(f"{', '.join(names)}: expected whole numbers in the environment ({error})") from None
    if not 0 <= rank < size:
        raise UserError(f"{names[0]} {rank}: expected less than {names[1]} {size}; start with torchrun or srun")
    return World(rank, size, local_rank)


def _slurm_meeting_place(environment: Mapping[str, str]) -> tuple[str, str]:
    """Returns address and port that every task of a SLURM step derives by itself."""
    nodes = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST")
    if not nodes:
        raise UserError("MASTER_ADDR, MASTER_PORT: not in the environment; start with torchrun or srun")
    return first_host(nodes), str(15000 + int(environment.get("SLURM_JOB_ID", 0)) % 20000)


def first_host(nodes: str) -> str:
    """Returns the first of SLURM's list of hosts.

    >>> first_host("gpu[07-09,12],cpu1"), first_host("node3"), first_host("a1,a2")
    ('gpu07', 'node3', 'a1')
    """
    found = re.match(r"([^\[,]+)(?:\[(\w+))?", nodes)
    if found is None:
        raise UserError(f"SLURM_STEP_NODELIST {nodes}: expected a list of hosts; give MASTER_ADDR and MASTER_PORT")
    return found[1] + (found[2] or "")


def lost_contact(error: RuntimeError) -> bool:
    """Returns whether an error means that another process does not answer; gloo has no type of its own for that."""
    return isinstance(error, dist.DistError) or re.search(r"gloo/|Connection (closed|reset)", str(error)) is not None


def mean_over_ranks(values: Tensor) -> Tensor:
    """Computes the mean of all ranks' values, of one shape; the gradient flows into this rank's.

    Where each rank then computes the same loss of it, and gradients are averaged over ranks, as DistributedDataParallel
    does, the gradient is that of one process that had all the images.
    """
    if not _several():
        return values
    mean: Tensor = _MeanOverRanks.apply(values)
    return mean


class _MeanOverRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:  # noqa: ARG004
        return _mean(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ARG004
        # of the sum of all ranks' losses, which depend on this rank's values by 1 / size
        return _mean(gradients[0])


@torch.no_grad()
def average_buffers(model: nn.Module) -> None:
    """Sets floating-point buffers, such as running statistics of batch normalisation, to their mean over all ranks.

    These are moving averages, linear in what each batch had: averaged now and then they are what they would be if
    averaged at each step. The variance is the mean of the ranks' own, without that between them.
    """
    if _several():
        for buffer in model.buffers():
            if buffer.is_floating_point():
                buffer.copy_(_mean(buffer))


def parallel(model: nn.Module) -> nn.Module:
    """Wraps a module so that gradients are averaged over ranks; its weights become those of the first rank.

    Its buffers stay each rank's own, see :func:`average_buffers`.
    """
    if not _several() or not any(parameter.requires_grad for parameter in model.parameters()):
        return model
    ddp = nn.parallel.DistributedDataParallel
    known = inspect.signature(ddp).parameters
    setting = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"  # the name until 2.12
    wrapped: nn.Module = ddp(model, **{setting: False})  # type: ignore[arg-type]
    return wrapped


def _mean(values: Tensor) -> Tensor:
    total = values.detach().clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
