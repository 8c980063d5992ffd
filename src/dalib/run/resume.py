"""Resuming a run: what it began with, compared with what is there now."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dalib.core.console import say, some_classes
from dalib.core.errors import Setting, UserError
from dalib.core.files import locked
from dalib.data.fingerprint import fingerprint
from dalib.models.weights import locate_weights
from dalib.records.folder import RunFolder, models_of
from dalib.records.summary import Summary
from dalib.run.classes.prior import KINDS, file_of
from dalib.run.settings.older_files import as_written_today
from dalib.run.start.model_alone import files_of
from dalib.run.timing.time_limit import OF_THE_LENGTH

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from dalib.run.settings.backbones import NamedBackbone
    from dalib.run.start.domains import Domains


@contextmanager
def claimed(run: RunFolder) -> Iterator[None]:
    """Claims the run's folder for this process alone, as long as it lives.

    Raises:
        UserError: another process has it.
    """
    with locked(run.lock, wait=False) as state:
        if state == "busy":
            raise UserError(
                Setting("run", run.root),
                ": another process is training in this folder; wait until it ends, or stop it first",
            )
        yield


def fingerprints_of(domains: Domains) -> dict[str, str]:
    """Returns digests of source, target and the target's labels; see :func:`dalib.data.fingerprint.fingerprint`."""
    train, target = domains.train, domains.target
    found = {
        "source": fingerprint(train.images, train.names, train.labels),
        "target": fingerprint(target.images, target.names),
    }
    for name, labelled in (("target_labelled", domains.labels), ("target_held_out", domains.held_out)):
        if labelled is not None:
            names = [target.names[row] for row in labelled.rows.tolist()]
            found[name] = fingerprint(labelled.rows, names, labelled.labels)
    return found


def contents_of(
    backbones: Sequence[NamedBackbone], *, init: str | None, kit: str | None, hints: str | None, prior: str
) -> dict[str, str]:
    """Returns digests of the files that a run takes besides images, each under the setting that names it.

    Args:
        backbones: the network's, with their weights.
        init: folder of a run to start from, if there is one.
        kit: file or folder that stands in for the source, if there is one.
        hints: file of an annotator's or another model's answers on the target's images, if there is one.
        prior: kind of the class prior, or its file.
    """
    files: dict[str, list[Path]] = {}
    if any(each.weights is not None for each in backbones):
        files["weights"] = [locate_weights(each.weights or "", each.name) for each in backbones]
    if init is not None:
        models = models_of(RunFolder.existing(init, "init"))
        files["init"] = [
            models[name] / file for name in sorted(models) for file in ("config.json", "model.safetensors")
        ]
    if kit is not None:
        files["kit"] = files_of(kit)
    if hints is not None:
        files["hints"] = [Path(hints)]
    if prior not in KINDS:
        files["prior"] = [file_of(prior)]
    return {setting: _digest_of(paths) for setting, paths in files.items()}


def _digest_of(paths: Iterable[Path]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "blake2b").digest())
    return digest.hexdigest()


def check_unchanged(run: RunFolder, now: Summary, *, allow_changes: bool) -> None:
    """Compares the summary that is about to be written with that of the run's beginning.

    Raises:
        UserError: other settings or other data, unless that is allowed; other classes than those that models have begun
            to learn.
    """
    before = Summary.read(run.summary)
    _check_classes(run, before.classes, now.classes)
    same_weights = before.hub is not None and before.hub == now.hub
    of_hub = ("backbone", "weights") if same_weights else ()  # another name of the same
    free = [*_of_open_length(run, before), *of_hub]
    changes = [
        f"{Setting(name)} was {_shown(old)}, is {_shown(now.settings.get(name))}"
        for name, old in as_written_today(before.settings).items()
        if now.settings.get(name) != old and name not in free
    ]
    changes += _changes_on_hub(run, before, now)
    for domain, old in before.fingerprints.items():
        if now.fingerprints.get(domain) != old:
            then, here = before.counts.get(domain, 0), now.counts.get(domain, 0)
            counted = f"{then} images then, {here} now" if then != here else f"still {here} images, not the same ones"
            if domain in ("target_labelled", "target_held_out"):
                where = f"what {Setting('target_labels', now.settings.get('target_labels'))} labels"
            else:
                where = f"the {domain} {now.source if domain == 'source' else now.target}"
            changes.append(f"{where} has changed ({counted})")
    changes += [
        f"what {Setting(setting, now.settings[setting])} holds has changed"
        for setting, old in before.contents.items()
        if setting in now.contents and now.contents[setting] != old  # else another file is named, which is told
        if setting != "weights" or before.hub is None or now.hub is None  # else it is told what on the hub has changed
    ]
    if changes and not allow_changes:
        raise UserError(
            Setting("resume", run.root),
            f": {'; '.join(changes)}. Put it back as it was, or add ",
            Setting("allow_changes", True),
            " to go on all the same",
        )
    for change in changes:
        say(f"note: {change}")
    for what, began, goes_on in (("dalib", before.dalib, now.dalib), ("torch", before.torch, now.torch)):
        if began != goes_on:
            say(
                f"note: the run began with {what} {began}, this is {goes_on}: it goes on, but not bit for "
                "bit as it would have"
            )


def _of_open_length(run: RunFolder, before: Summary) -> Sequence[str]:
    """Returns the settings that a time limit may have chosen anew since the summary was written.

    Configuration and summary are two files: a kill between them, before the first training, left the chosen numbers in
    the configuration alone.
    """
    return () if before.settings.get("time_limit") is None or _trains(run) else OF_THE_LENGTH


def _trains(run: RunFolder) -> bool:
    """Returns whether a training of the run has begun."""
    return any(each.metrics.exists() or each.checkpoints.exists() for each in (run, run.source_only, run.frozen))


def _check_classes(run: RunFolder, before: Sequence[str], now: Sequence[str]) -> None:
    """Refuses classes that the outputs of the run's models are not of; one may have another name in its place.

    Raises:
        UserError: more or fewer classes, or one in the place of another.
    """
    moved = any(name in now and now.index(name) != place for place, name in enumerate(before))
    if before and _trains(run) and (len(now) != len(before) or moved):
        raise UserError(
            Setting("resume", run.root),
            f": its classes were {some_classes(before)}, those of the source are {some_classes(now)}, and its models "
            "have an output for each of them in this order; put the source back as it was, or begin a new run",
        )


def _changes_on_hub(run: RunFolder, before: Summary, now: Summary) -> list[str]:
    """Returns a sentence if the weights of the hub are not those that the run began with, and how to get them back."""
    then, here = before.hub, now.hub
    if then is None or here is None or then == here:
        return []
    if then.repository != here.repository:
        what = f"were of the repository {then.repository}, are of {here.repository}"
    elif then.revision != here.revision:
        content = "their content is the same" if then.sha256 == here.sha256 else "their content is another"
        what = f"of {then.repository} were revision {then.revision}, are {here.revision}, and {content}"
    else:
        return [
            f"{here.file} of {then.repository}, revision {then.revision}, had the sha256 {then.sha256} and has "
            f"{here.sha256}: the copy in the cache is damaged or a mirror's own; delete it to fetch it anew"
        ]
    pinned = f"hf_hub:{then.repository}@{then.revision}"
    return [f"the weights {what} (write weights: {pinned} into {run.config} to go on with those that it began with)"]


def _shown(value: object) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
