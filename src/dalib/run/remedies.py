"""Remedies for what ends a run early: errors that name the call to resume it."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dalib.core.errors import (
    ImageChangedError,
    Message,
    NotThereError,
    RanksLostError,
    RunStoppedError,
    Setting,
    StoppedError,
    UserError,
)
from dalib.engine.distributed import lost_contact

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dalib.engine.distributed import World
    from dalib.engine.signals import StopRequests
    from dalib.records.folder import RunFolder

_RESUMED_PLACES = (
    "A run is resumed with the places that it was started with: put the images back there, or, if the run was started "
    "in another folder, give the command in that one"
)
"""Ends errors about images that are not there; another place cannot be given to a run that is resumed."""


@contextmanager
def remedies(run: RunFolder, world: World, requests: StopRequests, *, resume: bool) -> Iterator[None]:
    """Turns what ends a run early into errors that name the call to resume it.

    A run that is to be replaced has a summary from the start; what begins is one with another summary.

    Args:
        run: that is made, or resumed.
        world: the processes that train together.
        requests: the signals that came.
        resume: whether the run is resumed.

    Raises:
        UserError: images that are not there or have changed, or a disk that cannot be read or written.
        RunStoppedError: a signal came.
        RanksLostError: another process ended.
    """
    replaced = None if resume else _content(run.summary)

    def begun() -> bool:
        return _content(run.summary) not in (None, replaced)

    try:
        yield
    except NotThereError as error:
        if not resume:
            raise
        raise UserError(*error.args[:2], f" in {Path.cwd()}. ", _RESUMED_PLACES) from error
    except (KeyboardInterrupt, StoppedError) as error:
        step = error.step if isinstance(error, StoppedError) else None
        how = _how_to_resume(run, step, begun=begun())
        raise RunStoppedError(how, requests.signal or signal.SIGINT) from None
    except ImageChangedError as error:
        if not begun():
            raise
        raise UserError(error, f". What is in {run.root} is kept: ", run.resume_call) from error
    except RuntimeError as error:
        if world.size == 1 or not lost_contact(error):
            raise
        raise RanksLostError(f"rank {world.rank} of {world.size} ", _how_to_rejoin(run, error, begun=begun())) from None
    except OSError as error:
        what = f"{error.filename or run.root}: cannot be read or written ({error.strerror or error})"
        if not begun():
            raise UserError(
                f"{what}. Nothing was trained; make room, or name another folder with ", Setting("out")
            ) from error
        raise UserError(
            f"{what}. What is in {run.root} is whole; make room, or let it be written, and go on: ",
            run.resume_call,
        ) from error


def _content(file: Path) -> bytes | None:
    """Returns the content of a file; None where it is not there or cannot be read."""
    try:
        return file.read_bytes()
    except OSError:
        return None


def _how_to_resume(run: RunFolder, step: int | None, *, begun: bool) -> Message:
    """Returns the remedy after a stop: the command to resume, or the same one where the run has no folder yet."""
    where = "" if step is None else f" after step {step}"
    if not begun:
        return Message(f"stopped{where} before the run began; decoded images are kept; give the same command again")
    return Message(f"stopped{where}; to resume: ", run.resume_call)


def _how_to_rejoin(run: RunFolder, error: Exception, *, begun: bool) -> Message:
    """Returns why the other processes are lost, and the command with which all of them resume or begin again."""
    what = str(error).split("] ", 1)[-1].split(". ")[0].strip()  # without the place in torch's source
    lost = f"lost the others, one of them ended or cannot be reached ({what}). The output of that one shows why. "
    if not begun:
        return Message(f"{lost}The run has not begun; give the same command again")
    return Message(f"{lost}To resume, use the same launcher and: ", run.resume_call)
