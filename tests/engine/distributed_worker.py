"""Ranks that train with every method, for :mod:`test_distributed`. Not a test itself.

python distributed_worker.py OUT 1 2 4        worlds of so many ranks, one after another; they write to OUT/1 ...

Ranks are forked from this process, which has torch imported and has not computed yet: the import takes longer than
what they do. So does that of torch's compiler, which comes with the first optimizer.
"""

import copy
import json
import os
import socket
import sys
import traceback
from pathlib import Path

import torch
from torch import Tensor, nn

from dalib.adaptation.adamatch import AdaMatch
from dalib.adaptation.fixmatch import FixMatch
from dalib.adaptation.hints import TrustedHints, WithHints
from dalib.adaptation.inputs import MethodInputs
from dalib.adaptation.masked_consistency import MaskedConsistency
from dalib.adaptation.mcc import Mcc
from dalib.adaptation.mean_teacher import MeanTeacher
from dalib.adaptation.methods import METHODS as LIST
from dalib.adaptation.methods import method_class, settings_of_method
from dalib.adaptation.outside import UnknownApart
from dalib.adaptation.self_ensemble import SelfEnsemble
from dalib.adaptation.source_only import SourceOnly
from dalib.core.errors import UserError
from dalib.data.stream import DomainViews, Sampling, TwoDomainStream
from dalib.engine.distributed import World, average_buffers, joined
from dalib.engine.fit import Every, Training, fit
from dalib.engine.runlog import MetricsLog

CLASSES, BATCH, STEPS = 3, 8, 6
SOURCE, TARGET = torch.randn(2, 20, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
PRIOR = torch.tensor([0.5, 0.3, 0.2])
HINTS = torch.eye(CLASSES)[TARGET[:, :CLASSES].argmax(dim=1)][:, None]


class Student(nn.Module):
    """Logits and features; without batch normalisation, which sees the batch of its rank."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Linear(5, 7), nn.Tanh())
        self.head = nn.Linear(7, CLASSES)

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features(rows.flatten(1))
        return self.head(features), features


def student() -> nn.Module:
    torch.manual_seed(1)
    return Student().double()


METHODS = {
    "source-only": SourceOnly,
    "self-ensemble": lambda network: SelfEnsemble(
        network,
        CLASSES,
        alpha=0.7,
        threshold=0.4,  # some images pass, and not as many on each rank
        class_balance_weight=0.5,
        information_weight=0.5,
        prior=PRIOR,
    ),
    "self-ensemble, prototypes": lambda network: SelfEnsemble(
        network, CLASSES, alpha=0.7, threshold=0.4, prototypes=0.5
    ),
    "mean-teacher": lambda network: MeanTeacher(network, consistency_weight=5.0, alpha=0.7),
    "fixmatch": lambda network: FixMatch(network, threshold=0.4, alpha=0.7),
    "adamatch": lambda network: AdaMatch(network, CLASSES, steps=STEPS, threshold=0.4, alpha=0.7),
    "mcc": Mcc,
}


def listed(name: str):
    """Builds a method of the list with its default settings."""
    made = settings_of_method(name)
    settings = None if made is None else made()
    return lambda network: method_class(name).build(settings, MethodInputs(network, CLASSES, steps=STEPS))


METHODS |= {name: listed(name) for name in LIST if name not in METHODS}

BESIDE = {
    "masked images": lambda method: MaskedConsistency(method, ratio=0.0, threshold=0.4),  # a mask is of its rank
    "images apart": lambda method: UnknownApart(method, weight=0.5),
    "hints": lambda method: WithHints(method, TrustedHints(HINTS, HINTS[:, 0])),
}
"""What may stand beside a method: the student passes a second time, outside of what averages gradients."""


def with_addition(add):
    return lambda network: add(METHODS["self-ensemble"](network))


METHODS |= {f"self-ensemble, {name}": with_addition(add) for name, add in BESIDE.items()}


def plain(rows: Tensor, generator: torch.Generator) -> Tensor:
    """A view that draws nothing, so that an image looks the same on whichever rank it comes up."""
    return rows[:, None, None]


def stream(world: World, views: int, *, apart: bool = False) -> TwoDomainStream:
    return TwoDomainStream(
        SOURCE,
        torch.arange(20) % CLASSES,
        TARGET,
        views=DomainViews(plain, (plain, lambda rows, generator: plain(rows * 1.1, generator))[:views]),
        sampling=Sampling(BATCH // world.size, 3, world.rank, world.size),
        device=torch.device("cpu"),
        outside=TARGET * 2 if apart else None,
    )


def flat(tensors) -> list[float]:
    return torch.cat([tensor.detach().flatten() for tensor in tensors]).tolist()


def trained(make, world: World, out: Path) -> dict:
    method = make(student())
    batches = stream(world, method.target_views, apart=isinstance(method, UnknownApart))
    if isinstance(method, WithHints):
        batches = batches.with_hints(HINTS)
    method.loss(batches.batch_at(0), 0).total.backward()
    found = {"gradient": flat(parameter.grad for parameter in method.student.parameters())}
    optimizer = torch.optim.Adam([{"params": list(method.student.parameters()), "lr": 0.05, "initial_lr": 0.05}])
    metrics = out / "metrics.jsonl" if world.first else None
    training = Training(method, optimizer, batches, schedule=lambda step: 1.0, steps=STEPS)
    fit(training, MetricsLog(metrics), every=Every(log=2, evaluate=100, checkpoint=100))
    found |= {"student": flat(method.student.parameters()), "teacher": flat(method.predictor().parameters())}
    if metrics is not None:
        found["metrics"] = [json.loads(line) for line in metrics.read_text().splitlines()]
        metrics.unlink()
    return found


def statistics(module: nn.Module) -> list[float]:
    return flat(buffer for buffer in module.buffers() if buffer.is_floating_point())


def norms(world: World) -> dict:
    torch.manual_seed(1)
    network = nn.Sequential(nn.Flatten(), nn.Linear(5, 7), nn.BatchNorm1d(7), nn.Linear(7, CLASSES)).double()
    method = SelfEnsemble(network, CLASSES, threshold=0.0)
    method.loss(stream(world, 2).batch_at(0), 0)
    found = {}
    for name, module in (("student", method.student), ("teacher", method.predictor())):
        found[f"{name} before"] = statistics(module)
        average_buffers(module)
        found[f"{name} after"] = statistics(module)
    return found


def failing(world: World) -> str:
    def fail() -> None:
        raise UserError("no such thing")

    try:
        world.from_first(fail)
    except UserError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def forked(rank: int, size: int, port: int, out: Path) -> int:
    """Starts one rank with the variables that torchrun would set, and returns its process id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        place = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        os.environ.update({name: str(value) for name, value in place.items()})
        main(out)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)  # what the parent has registered for its end is the parent's


def worlds(out: Path, sizes: list[int]) -> bool:
    """Runs a world of each size; True if all ranks of all ended well."""
    well = True
    for size in sizes:
        (out / str(size)).mkdir()
        port = free_port()
        ranks = [forked(rank, size, port, out / str(size)) for rank in range(size)]
        ended = [os.waitpid(rank, 0)[1] for rank in ranks]
        well = well and not any(ended)
    return well


def main(out: Path) -> None:
    torch.set_num_threads(1)
    with joined() as world:
        found = {name: trained(make, world, out) for name, make in METHODS.items()}
        found["norms"] = norms(world)
        found["said"] = world.from_first(lambda: {"by": world.rank})
        found["failed"] = failing(world) if world.size > 1 else ""
        with world.in_turn():
            found["found"] = (out / "left").exists()
            (out / "left").touch()
        found["any"] = [world.any(world.rank == world.size - 1), world.any(False)]
        torch.manual_seed(world.rank)
        own = nn.Linear(2, 2)
        shared = copy.deepcopy(own)
        world.share(shared)
        assert (world.rank == 0) == torch.equal(own.weight, shared.weight)
        found["shared"] = flat(shared.parameters())
    (out / f"{world.rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    import torch._dynamo

    sys.exit(0 if worlds(Path(sys.argv[1]), [int(size) for size in sys.argv[2:]]) else 1)
