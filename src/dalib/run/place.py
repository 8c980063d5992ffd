"""The place of a run: where its folder may lie, and how a run begins there or is resumed."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from dalib.core.console import say
from dalib.core.errors import Setting, UserError
from dalib.core.files import irreplaceable, locked, put_in_place, write_json
from dalib.core.places import same_place
from dalib.data.overlap import require_apart
from dalib.records.folder import RunFolder
from dalib.records.images import LeftOut
from dalib.records.several import DONE
from dalib.records.summary import Summary
from dalib.report.sheets import write_view_sheet
from dalib.run.recipe import image_network
from dalib.run.resume import check_unchanged, claimed
from dalib.run.settings.config import places_read
from dalib.run.settings.config_file import write_config
from dalib.run.summary import continued

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from contextlib import ExitStack

    from dalib.core.errors import Part
    from dalib.engine.distributed import World
    from dalib.run.setup import Data, Setup
    from dalib.run.start.domains import Domains


def check_place(
    run: RunFolder,
    sources: Sequence[str],
    target: str,
    world: World,
    *,
    init: str | None,
    overwrite: bool,
    reads: Sequence[Setting] = (),
) -> None:
    """Refuses a folder among the images or that cannot be made or is not free, and one domain given as both.

    It takes no time, so that nothing is fetched or measured for a run that has no place.

    Args:
        run: that is to be made.
        sources: where images of the source are.
        target: where those of the target are.
        world: the processes that train together.
        init: folder of the run to start from, if there is one.
        overwrite: whether a run that is there is replaced.
        reads: see :func:`dalib.run.settings.config.places_read`.

    Raises:
        UserError: the first of these.
    """
    require_outside(run.root, sources, [target])
    require_apart(sources, target)
    world.from_first(lambda: check_free(run, init=init, overwrite=overwrite, reads=reads))


def require_none_within(folder: Path, reads: Iterable[Setting]) -> None:
    """Refuses to replace a folder in which something lies that the run reads, such as labels for a run from it.

    Args:
        folder: that is to be replaced.
        reads: see :func:`dalib.run.settings.config.places_read`.

    Raises:
        UserError: it would be deleted.
    """
    for each in reads:
        place = Path(str(each.value))
        if place.exists() and place.resolve().is_relative_to(folder.resolve()):
            raise UserError(
                Setting("out", folder),
                ": this run reads ",
                each,
                f", which would be deleted with what is in {folder}; give another folder",
            )


def require_outside(folder: Path, sources: Iterable[str], targets: Iterable[str], whose: str = "a run's") -> None:
    """Refuses a folder among the images.

    Args:
        folder: that is to be made.
        sources: where images of the source are.
        targets: where those of each target are.
        whose: pictures would join the images.

    Raises:
        UserError: it lies in one of these.
    """
    for argument, where in (*(("source", each) for each in sources), *(("target", each) for each in targets)):
        if Path(where).is_dir() and folder.resolve().is_relative_to(Path(where).resolve()):
            raise UserError(
                Setting("out", folder),
                ": it lies in ",
                Setting(argument, where),
                f", where {whose} pictures would join the images; give a folder elsewhere",
            )


def occupied(folder: Path, *remedies: str | Part) -> UserError:
    """Returns the refusal of a folder that holds something; the remedies follow that of another folder."""
    return UserError(Setting("out", folder), ": there is something already; give another folder", *remedies)


def check_free(
    run: RunFolder, *, init: str | None = None, overwrite: bool = False, reads: Sequence[Setting] = ()
) -> None:
    """Refuses a folder that cannot be made, or that holds something already, unless it is a run to replace.

    Args:
        run: that is to be made.
        init: folder of the run to start from, if there is one.
        overwrite: whether a run that is there is replaced.
        reads: see :func:`dalib.run.settings.config.places_read`.

    Raises:
        UserError: the first of these, or another process trains in the run that is to be replaced.
    """
    if init is not None and same_place(run.root, init):
        raise UserError(Setting("out", run.root), ": it is the run to start from; give another folder")
    if run.root.exists():
        if not run.root.is_dir():
            raise UserError(Setting("out", run.root), ": expected a folder, this is a file")
        if any(run.root.iterdir()):
            if not overwrite:
                go_on = (" to replace a run, or go on with it: ", run.resume_call)
                raise occupied(run.root, ", add ", Setting("overwrite", True), *go_on)
            with claimed(RunFolder.existing(run.root)):  # only a run may be replaced, and none that goes on
                pass
            require_none_within(run.root, reads)
        _require_replaceable(run)
    _require_room(run)


def _require_replaceable(run: RunFolder) -> None:
    """Refuses a folder that no other can take the place of: a run appears whole, by a rename."""
    if what := irreplaceable(run.root):
        raise UserError(
            Setting("out", run.root),
            f": this is {what}, which a run's folder cannot replace; give a folder in it, such as {run.root / 'run'}",
        )


def _require_room(run: RunFolder) -> None:
    """Refuses a run's folder that cannot be made: by making one in the nearest folder above it that exists."""
    above = next(each for each in run.root.resolve().parents if each.exists())
    try:
        with tempfile.TemporaryDirectory(prefix=".dalib-", dir=above):
            pass
    except OSError as error:
        raise UserError(
            Setting("out", run.root),
            f": no folder can be made in {above} ({error.strerror or error}). Nothing was trained; give a place that "
            "may be written",
        ) from None


def begin_folder(run: RunFolder, setup: Setup, data: Data, summary: Summary, held: ExitStack) -> None:
    """Makes the folder of a new run, which ``held`` then claims until it closes.

    Raises:
        UserError: another process has begun a run there since it was checked.
    """
    with _only_one_that_makes(run):
        # again: another process may have begun while the images were read
        config = setup.config
        check_free(run, init=config.init, overwrite=config.overwrite, reads=places_read(config))
        _make_folder(run, setup, data.domains, summary)
        held.enter_context(claimed(run))


def _make_folder(run: RunFolder, setup: Setup, domains: Domains, summary: Summary) -> None:
    """Makes the folder with what is known before training, whole or not at all; it replaces an older run.

    Where the place is a link to a folder, that folder is made, and the link stays.
    """
    config, place = setup.config, run.root.resolve()
    new = RunFolder(Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent)))
    try:
        new.root.chmod(0o777 & ~_umask())  # which mkdtemp keeps to its owner
        write_config(setup.asked, new.config, run.root)
        _write_unused(new, domains)
        views = image_network.make_views(config, setup.preprocessing)
        write_view_sheet(new.views, domains.target.images, views.student, views.teacher, config.seed)
        summary.write(new.summary)
        if place.exists():
            shutil.rmtree(place)
        put_in_place(new.root, place)
    finally:
        shutil.rmtree(new.root, ignore_errors=True)


def _write_unused(run: RunFolder, domains: Domains) -> None:
    """Writes which files could not be read, and which are not used."""
    write_json(run.unreadable, [asdict(each) for each in (*domains.train.unreadable, *domains.target.unreadable)])
    LeftOut(domains.train.left_out, domains.target.left_out).write(run.left_out)


@contextmanager
def _only_one_that_makes(run: RunFolder) -> Iterator[None]:
    """Makes other processes wait that are about to make a folder of this name."""
    folder = run.root.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_name(f".{folder.name}.lock"), wait=True):
        yield


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def resume_folder(run: RunFolder, summary: Summary, domains: Domains, *, allow_changes: bool) -> Summary:
    """Compares a run that is resumed with its beginning; writes and returns its new summary.

    The files that cannot be read or are not used are written anew: where the data have changed, others may be.

    Raises:
        UserError: its settings or its data have changed, unless that is allowed.
    """
    check_unchanged(run, summary, allow_changes=allow_changes)
    before = Summary.read(run.summary)
    if before.status in DONE and before.run_settings.steps == summary.run_settings.steps:
        say(f"{run.root} has finished already: its models are judged, and its report is written, again")
    summary = continued(summary, before)
    _write_unused(run, domains)
    summary.write(run.summary)
    return summary
