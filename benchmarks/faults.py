"""What a run survives: each fault is done to real runs, which then have to end as the one that nothing was done to.

    python benchmarks/faults.py                  # the table of docs/reliability.md, some minutes
    python benchmarks/faults.py --tries 3        # of each fault

A run survives if `dalib train --resume` (or the same command again, where the run had not begun) ends with the same
model, metrics, predictions and judgement, bit for bit; or, where going on would be wrong, if it is refused with a
message and nothing is changed. Runs are forked from a process that has everything imported, to try many.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import gc
import importlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import dalib.data.cache
import dalib.engine.checkpoint
import dalib.models.saved
import dalib.report.page
import dalib.run.judge
import dalib.run.length
import dalib.run.train
from dalib.commands.main import run as dalib_run
from dalib.commands.parser import make_parser
from dalib.models.timm_import import import_timm

IMPORTED_ON_USE = (
    *("sklearn.linear_model", "sklearn.manifold", "sklearn.cluster", "torch._dynamo", "docstring_parser"),
    *("dalib.adaptation.self_ensemble", "dalib.adaptation.source_only"),
)
"""What a run imports when it comes to it, which takes longer than the run does."""

Prepare = Callable[[], None]
"""What is done in a run's process before it begins: where it is to be hit."""


@dataclasses.dataclass
class Ground:
    """Where the runs are."""

    root: Path
    seconds: float = 0.0
    """That a run takes when nothing happens."""

    def arguments(self, out: Path) -> list[str]:
        settings = "--steps 40 --baseline_steps 10 --batch 6 --data.size 16 --data.validation_share 0.25"
        often = "--every.log 4 --every.evaluate 6 --every.checkpoint 5 --prior estimate --views.student tfa"
        where = ["--source", f"{self.root}/source", "--target", f"{self.root}/target", "--out", str(out)]
        return ["train", *where, *settings.split(), *often.split()]

    def write_images(self) -> None:
        rng = np.random.default_rng(0)
        for number in range(24):
            for place, shade in (("source/dark", 60), ("source/light", 190), ("target", 70), ("target/more", 200)):
                path = self.root / place / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.clip(rng.normal(shade, 30, (20, 24, 3)), 0, 255).astype(np.uint8)).save(path)


def start(arguments: list[str], prepare: Prepare = lambda: None, log: Path | None = None) -> int:
    """The process of a command line."""
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        with Path(log or os.devnull).open("w") as out, contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            prepare()
            code = dalib_run(arguments)
    finally:
        os._exit(code)


def ended(child: int) -> int:
    """The exit code, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def complete(run: Path, ground: Ground) -> int:
    """Go on with a run, or begin it where it had not begun."""
    begun = (run / "summary.json").is_file()
    return ended(start(["train", "--resume", str(run)] if begun else ground.arguments(run)))


def result(run: Path) -> dict[str, object]:
    """All of a run that has to be the same."""
    lines = {
        name: [{**json.loads(line), "images_per_second": 0} for line in (run / name).read_text().splitlines()]
        for name in ("metrics.jsonl", "source-only/metrics.jsonl")
    }
    files = ("model/model.safetensors", "source-only/model/model.safetensors", "predictions.safetensors")
    whole = ("judgement.json", "images.json", "embedding.json")
    return {
        **lines,
        **{name: (run / name).read_bytes() for name in (*files, *whole)},
        "report": (run / "report.html").is_file(),
    }


def killed_by(module: object, name: str, call: int, *, after: bool) -> Prepare:
    """kill -9 before or after the so-manieth call of a function, which has to be there: else nothing would be tried."""
    whole = getattr(module, name)

    def prepare() -> None:
        calls = iter(range(1, 1_000_000))

        def dying(*args: object, **settings: object) -> object:
            last = next(calls) == call
            if last and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            given = whole(*args, **settings)
            if last:
                os.kill(os.getpid(), signal.SIGKILL)
            return given

        setattr(module, name, dying)

    return prepare


def killed_in_half_a_checkpoint(call: int) -> Prepare:
    """kill -9 when half of the checkpoint's bytes are written."""

    def prepare() -> None:
        calls, write = iter(range(1, 1000)), Path.write_bytes

        def half(path: Path, content: bytes | memoryview) -> int:
            if path.parent.name == "checkpoints" and next(calls) == call:
                write(path, memoryview(content)[: len(memoryview(content)) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return write(path, content)

        Path.write_bytes = half  # type: ignore[assignment, method-assign]

    return prepare


def small_disk(most: int) -> Prepare:
    """Files cannot grow beyond so many bytes: a write breaks off as on a full disk."""

    def prepare() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    return prepare


def hit_at_random(ground: Ground, number: int, rng: random.Random) -> Callable[[Path], bool]:
    def hit(run: Path) -> bool:
        child = start(ground.arguments(run))
        time.sleep(rng.uniform(0, ground.seconds))
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)
        code = ended(child)
        return code in (0, -number, 128 + number)

    return hit


def hit_by(ground: Ground, prepare: Prepare, codes: tuple[int, ...] = (-signal.SIGKILL,)) -> Callable[[Path], bool]:
    return lambda run: ended(start(ground.arguments(run), prepare)) in codes


def hit_cache(ground: Ground, call: int) -> Callable[[Path], bool]:
    def hit(run: Path) -> bool:
        dalib.data.cache.CHUNK = 8  # files between two times that the build is saved
        shutil.rmtree(os.environ["DALIB_CACHE"], ignore_errors=True)
        return hit_by(ground, killed_by(dalib.data.cache, "read_pixels", call, after=True))(run)

    return hit


def damage(ground: Ground, how: Callable[[bytes], bytes]) -> Callable[[Path], bool]:
    """A run that was killed, and whose newest checkpoint is not what was written."""

    def hit(run: Path) -> bool:
        if not hit_by(ground, killed_by(dalib.engine.checkpoint, "put_in_place", 6, after=True))(run):
            return False
        newest = max((run / "checkpoints").glob("step-*.pt"))
        newest.write_bytes(how(newest.read_bytes()))
        with (run / "metrics.jsonl").open("a") as file:
            file.write('{"step": 3')  # a line that was being written
        (run / "checkpoints" / "step-000000099.tmp").write_bytes(b"half")
        return True

    return hit


def flipped(content: bytes) -> bytes:
    place = len(content) // 2
    return content[:place] + bytes([content[place] ^ 64]) + content[place + 1 :]


def refused(ground: Ground, change: Callable[[Path], Callable[[], None]], text: str) -> Callable[[Path], bool]:
    """A run that was killed and then changed: going on is refused, and does as if nothing was once it is put back."""

    def hit(run: Path) -> bool:
        if not hit_by(ground, killed_by(dalib.engine.checkpoint, "put_in_place", 6, after=True))(run):
            return False
        put_back = change(run)
        before = contents(run)
        with tempfile.NamedTemporaryFile("r") as log:
            code = ended(start(["train", "--resume", str(run)], log=Path(log.name)))
            said = log.read()
        after = contents(run)
        put_back()
        return code == 2 and text in said and "Traceback" not in said and before == after

    return hit


def contents(run: Path) -> dict[Path, bytes]:
    """Of the files; the lock goes with its process, and the summary holds times."""
    files = [path for path in run.rglob("*") if path.is_file() and path.name not in ("lock", "summary.json")]
    return {path: path.read_bytes() for path in files}


def config_changed(run: Path) -> Callable[[], None]:
    before = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(before.replace("lr: 0.001", "lr: 0.5"))

    def put_back() -> None:
        (run / "config.yaml").write_text(before)

    return put_back


def image_added(ground: Ground) -> Callable[[], None]:
    added = ground.root / "target" / "zzz.png"
    shutil.copy(ground.root / "target" / "0.png", added)
    return added.unlink


def newer_format(run: Path) -> Callable[[], None]:
    path = run / "checkpoints" / "step-000000039.pt"
    torch.save({"format": 99}, path)
    return path.unlink


def two_at_once(ground: Ground) -> Callable[[Path], bool]:
    """Of two processes that go on with one run, one does and the other is told."""

    def hit(run: Path) -> bool:
        if not hit_by(ground, killed_by(dalib.engine.checkpoint, "put_in_place", 4, after=True))(run):
            return False
        both = [start(["train", "--resume", str(run)]) for _ in range(2)]
        return sorted(map(ended, both)) == [0, 2]

    return hit


def faults(ground: Ground, rng: random.Random) -> Iterator[tuple[str, Callable[[int], Callable[[Path], bool]], int]]:
    """What is done, how it is done the n-th time, and how often by default."""
    checkpoint, saved, outcome = dalib.engine.checkpoint, dalib.models.saved, dalib.run.judge
    yield "kill -9 at a random moment", lambda n: hit_at_random(ground, signal.SIGKILL, rng), 20
    yield "SIGTERM at a random moment", lambda n: hit_at_random(ground, signal.SIGTERM, rng), 10
    yield "SIGINT (Ctrl-C) at a random moment", lambda n: hit_at_random(ground, signal.SIGINT, rng), 10
    yield "kill -9 with half a checkpoint written", lambda n: hit_by(ground, killed_in_half_a_checkpoint(1 + n)), 10
    yield (
        "kill -9 before or after a checkpoint gets its name",
        lambda n: hit_by(ground, killed_by(checkpoint, "put_in_place", 1 + n // 2, after=bool(n % 2))),
        20,
    )
    yield (
        "kill -9 while a model is put in place",
        lambda n: hit_by(ground, killed_by(saved, "put_in_place", 1 + n // 2, after=bool(n % 2))),
        10,
    )
    yield "kill -9 while the cache is built", lambda n: hit_cache(ground, 1 + 9 * n), 10
    ends = [("write_predictions", dalib.run.train), ("judge", dalib.run.train), ("conclude", dalib.run.train)]
    ends += [("write_pictures", dalib.run.train), ("write_report", dalib.run.train), ("write_bytes", outcome)]
    kills = [killed_by(module, name, 1, after=after) for after in (False, True) for name, module in ends]
    yield (
        "kill -9 while the run is judged and reported",
        lambda n: hit_by(ground, kills[n % 12]),
        12,
    )
    yield (
        "disk full",
        lambda n: hit_by(
            ground, small_disk((500, 3_000, 20_000, 60_000, 100_000, 200_000, 400_000, 800_000)[n % 8]), (0, 2)
        ),
        8,
    )
    spoilt = [flipped, lambda content: content[:-100], lambda content: b"", lambda content: bytes(len(content))]
    yield (
        "newest checkpoint damaged (bit, cut, empty, zeros), last line torn",
        lambda n: damage(ground, spoilt[n % 4]),
        8,
    )
    yield "two processes go on with one run", lambda n: two_at_once(ground), 3
    yield (
        "config.yaml changed: refused",
        lambda n: refused(ground, config_changed, "--optimizer.lr was 0.001, is 0.5"),
        3,
    )
    yield (
        "an image added: refused",
        lambda n: refused(ground, lambda run: image_added(ground), "48 images then, 49 now"),
        3,
    )
    yield "checkpoint of a newer format: refused", lambda n: refused(ground, newer_format, "update dalib"), 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=None, help="of each fault; by default 3 to 20")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="faults with this in their name")
    given = parser.parse_args()
    torch.set_num_threads(1)  # a fork has no other threads
    import_timm()
    for module in IMPORTED_ON_USE:
        importlib.import_module(module)
    Image.init()
    make_parser(["train"])
    gc.freeze()  # what the forks share is not theirs to look through
    dalib.run.length.SHORT = 1000  # steps: to measure how long a run takes would take longer than these runs
    rows, survived_all = [], True
    with tempfile.TemporaryDirectory(prefix="dalib-faults-") as folder:
        os.environ["DALIB_CACHE"] = f"{folder}/cache"
        ground = Ground(Path(folder))
        ground.write_images()
        since = time.monotonic()
        reference = ground.root / "reference"
        assert ended(start(ground.arguments(reference))) == 0, "a run without faults"
        ground.seconds = time.monotonic() - since
        expected = result(reference)
        for name, make, tries in faults(ground, random.Random(given.seed)):
            if given.only not in name:
                continue
            count, survived = tries if given.tries is None else min(tries, given.tries), 0
            for number in range(count):
                run = ground.root / "run"
                hit = make(number)(run)
                code = complete(run, ground)
                same = code == 0 and result(run) == expected
                survived += hit and same
                if not (hit and same):
                    print(f"{name}, number {number}: hit {hit}, went on with code {code}, same {same}", file=sys.stderr)
                shutil.rmtree(run, ignore_errors=True)
            rows.append(f"| {name} | {count} | {survived} |")
            survived_all &= survived == count
            print(rows[-1], flush=True)
    print("\n| fault | tried | survived |\n| --- | ---: | ---: |")
    print("\n".join(rows))
    sys.exit(0 if survived_all else 1)


if __name__ == "__main__":
    main()
