"""``dalib checks``: describes the installation and the data, and estimates how long training will take."""

from __future__ import annotations

import platform
import statistics
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from dalib._version import __version__
from dalib.core.console import (
    CountedProgress,
    clock,
    one_line,
    say,
    say_result,
    say_unreadable,
    say_warning,
    some_classes,
)
from dalib.core.devices import choose_device, describe_device
from dalib.core.errors import Message, Setting, UserError
from dalib.core.import_conflicts import import_conflicts
from dalib.core.words import images_in_words
from dalib.data.damaged import without_damaged
from dalib.data.decoding import decode
from dalib.data.file_rows import with_whole_numbers
from dalib.data.groups import AUTO, ImagesToGroup, find_groups
from dalib.data.listing import Listing, join_listings
from dalib.data.overlap import require_apart, require_targets_apart
from dalib.data.sources import listing_of, open_source, open_target, require_two_classes
from dalib.data.spelling import key_of, united
from dalib.data.survey import survey, with_readable_copies
from dalib.data.survey_in_words import say_both, say_files
from dalib.data.unreadable import refuse_unreadable
from dalib.engine.distributed import ALONE
from dalib.run.features.own_statistics import checked_share, choice_for_files
from dalib.run.foreseen_kind import say_foreseen_kind
from dalib.run.length import counts_of_kit
from dalib.run.others.hints import read_hints
from dalib.run.recipe import image_network, recipe
from dalib.run.settings_check import check_counts
from dalib.run.setup import Setup, check_settings, say_fitted, starting_point
from dalib.run.start.data_check import check_beside
from dalib.run.start.domains import Listings, decide_ranges, split
from dalib.run.start.initial_weights import fetched
from dalib.run.targets import OF_ONE, check_targets
from dalib.run.timing.pace import Counts, Pace, measure_pace, seconds_of_run, views_of
from dalib.run.timing.time_limit import Recipe, fitted_to_time, is_open, planned_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dalib.data.groups import Groups
    from dalib.data.preprocessing import Preprocessing
    from dalib.data.reading_options import ReadingOptions
    from dalib.data.survey import DomainSurvey, Survey
    from dalib.run.settings.config import TrainConfig
    from dalib.run.start.kit import Kit

MOST_COMPARED = 5000
"""Files of a domain that are compared with each other where no groups are given."""

MIN_COMPARED = 3
"""Images of a domain that are compared; fewer have no others to be unlike."""

MOST_COUNTED = 50
"""Classes whose numbers of images are printed one by one."""

_COMPARED = 32  # pixels of the images that are compared


def checks(config: TrainConfig, *, source: bool, target: bool) -> None:
    """Prints what matters of this installation and, where they are given, of source and target, without a run.

    Raises:
        UserError: data or settings that ``train`` would refuse.
    """
    say(f"dalib {__version__}, torch {torch.__version__}, Python {platform.python_version()}")
    say(f"device auto is {describe_device(choose_device('auto'))}")
    for warning in import_conflicts():
        say_warning(warning)
    if not source and not target:
        say(
            Message(
                "give ", Setting("source"), " and ", Setting("target"), ", with the settings of train, to look at data"
            )
        )
        return
    check_counts(config)
    backbones, _ = fetched(config.backbones, init=config.init is not None)
    config = config.with_backbones(backbones)
    if not target or not isinstance(config.target, dict):
        _check_one(config, None, {}, source=source, target=target)
        return
    each = _of_targets(config)
    # all are listed first: a target that is not there is told before others are looked at
    listed = {own.one_target: _listing_of_target(own) for own in each}
    before: _Checked | None = None
    seconds: list[float] = []
    for own in each:
        checked = _check_one(own, before, listed, source=source, target=target)
        before = before or checked
        seconds += [] if checked.estimate is None else [checked.estimate.seconds]
    if seconds:
        say_result(f"{len(each)} targets: all in all about {clock(sum(seconds))}, beside reading the images")


def _check_one(
    config: TrainConfig,
    before: _Checked | None,
    listed: Mapping[str, Listing | None],
    *,
    source: bool,
    target: bool,
) -> _Checked:
    """Prints what matters of source and target, where they are given.

    Args:
        config: of one target.
        before: what another target and the source came to, which is not described again.
        listed: files of targets that are listed already, None for what is no files.

    Raises:
        UserError: data or settings that ``train`` would refuse.
    """
    kit, preprocessing = None, image_network.make_preprocessing(config)
    asked, point = config, None
    if config.kit is not None:
        config, point = starting_point(config, choose_device(config.device), None if before is None else before.kit)
        preprocessing, kit = point.preprocessing, point.kit
    refused: UserError | None = None
    try:
        require_apart(config.sources if source else [], config.one_target if target else None)
        device = choose_device(config.device)
        if point is None:
            config, point = starting_point(config, device)
        check_settings(config, point, device, ALONE)
        if before is None:
            say_fitted(asked, config, point)
    except UserError as error:
        refused = error  # what is in the folders does not depend on it
    else:
        for doubt in image_network.doubts(config, preprocessing) if before is None else ():
            say_warning(doubt)
    if kit is not None and before is None:
        _describe_kit(kit)
    found = _describe_data(
        config, preprocessing, None if before is None else before.found, listed, source=source, target=target
    )
    if refused is not None:
        raise refused
    if not target or not (source or kit is not None):
        return _Checked(found, kit)
    _check_beside(config, found.files, kit)
    estimate = _foresee(config, preprocessing, found, kit, None if before is None else before.estimate)
    return _Checked(found, kit, estimate)


def _check_beside(config: TrainConfig, files: Listings, kit: Kit | None) -> None:
    """Refuses what stands beside source and target, such as labels and hints, and is not there or does not fit them.

    Raises:
        UserError: the first thing that is wrong.
    """
    request = replace(recipe.make_data_request(config), kit=kit)
    check_beside(request, files, recipe.make_labelled_set(config), prior=config.prior)
    listed = [each.classes or () for each in files.sources if each is not None]
    classes = united(listed)[0] if kit is None else kit.description.classes
    if config.hints is not None and files.target is not None and classes:
        read_hints(config.hints, [str(path) for path in files.target.paths], config.one_target, classes)


def _of_targets(config: TrainConfig) -> list[TrainConfig]:
    """Returns the configurations of the runs of several targets.

    Raises:
        UserError: targets, or settings, that a training of several would refuse.
    """
    targets = check_targets(config.target, config.evaluate, {name: getattr(config, name) for name in OF_ONE})
    require_targets_apart(list(targets.values()))
    evaluate = config.evaluate if isinstance(config.evaluate, dict) else {}
    return [replace(config, target=place, evaluate=evaluate.get(name)) for name, place in targets.items()]


def _foresee(
    config: TrainConfig, preprocessing: Preprocessing, found: _Found, kit: Kit | None, before: _Estimate | None
) -> _Estimate:
    """Prints how long a training takes, and what the target seems to be.

    Args:
        before: of a run on another target, whose source-only model and features of the source this one takes over.
    """
    request, device = replace(recipe.make_data_request(config), kit=kit), choose_device(config.device)
    setup = Setup(config, request, preprocessing, device, start=None, world=ALONE, listings=found.files)
    if kit is None:
        setup, counts = _with_share(setup, found), _counts_of(config, found)
    else:
        counts = counts_of_kit(kit, found.targets)
    estimate = _estimate(setup, counts, before)
    say_foreseen_kind(replace(setup, config=estimate.config), counts, estimate.pace)
    return estimate


@dataclass(frozen=True)
class _Estimate:
    """How long a training takes: its configuration with the number of steps, what was measured, and the seconds."""

    config: TrainConfig
    pace: Pace
    seconds: float


@dataclass(frozen=True)
class _Checked:
    """What one target and the source, or the kit in its place, came to; no estimate where a domain is missing."""

    found: _Found
    kit: Kit | None
    estimate: _Estimate | None = None


@dataclass(frozen=True)
class _Found:
    """What the data came to: numbers of images and classes, 0 for a domain not asked for; and the files, if any."""

    images: int
    classes: int
    targets: int
    files: Listings
    source: DomainSurvey | None


def _describe_kit(kit: Kit) -> None:
    """Prints the classes of what stands in for the source, and the images that each of them had."""
    classes, counts = kit.description.classes, kit.header.counts
    if kit.model_alone:
        say(f"kit {kit.path}: a model alone, {len(classes)} classes: {some_classes(classes)}")
        return
    say(f"kit {kit.path}: statistics of {sum(counts)} images, {len(kit.labels)} to validate, {len(classes)} classes")
    _say_counts(dict(zip(classes, counts, strict=True)), none="too few")


def _say_counts(counts: Mapping[str, int], *, none: str = "0") -> None:
    """Prints how many images each class has, in the order given; of many classes, which have the fewest and the most.

    Args:
        counts: by name.
        none: what stands for a class without any.
    """
    lines = [f"{one_line(name)}: {count or none}" for name, count in counts.items()]
    if len(lines) > MOST_COUNTED:
        order = sorted(range(len(lines)), key=[*counts.values()].__getitem__)  # of equal ones, the first
        fewest, most = (", ".join(lines[each] for each in chosen) for chosen in (order[:5], order[:-4:-1]))
        lines = [f"fewest {fewest}", f"median {statistics.median(counts.values()):.0f}", f"most {most}"]
    for line in lines:
        say(f"  {line}")


def _describe_data(
    config: TrainConfig,
    preprocessing: Preprocessing,
    before: _Found | None,
    listed: Mapping[str, Listing | None],
    *,
    source: bool,
    target: bool,
) -> _Found:
    """Prints the data, and returns what they came to.

    Args:
        before: what they came to with another target of the same source, which is not described again.
        listed: files of targets that are listed already.
    """
    request = recipe.make_data_request(config)
    where: ReadingOptions = {**request.reading(), "cache": "ram"}  # of what is no files; files are not decoded here
    files = Listings(_listings_of_sources(config) if source else (), None) if before is None else before.files
    of_files = [each for each in files.sources if each is not None]
    of_source, of_target = join_listings(of_files) if of_files else None, None
    if target:
        name = config.one_target
        of_target = _with_values(listed[name] if name in listed else _listing_of_target(config))
    found = _surveyed(of_source, of_target, preprocessing, config.strict, None if before is None else before.source)
    images, classes, targets = (0, 0, 0) if before is None else (before.images, before.classes, 0)
    if source and before is None:
        others = [name for name, each in zip(config.sources, files.sources, strict=True) if each is None]
        counts = _class_counts(config, preprocessing, found.source, others, where)
        images, classes = sum(counts.values()), len(counts)
        _describe_source(request.source_name, counts, found.source)
        if counts:  # of none, the files say why
            require_two_classes([*counts], request.source)
    if target:
        if found.target is None:
            unlabelled = open_target(config.one_target, preprocessing, partner=config.source, **where)
            targets = len(unlabelled.names)
            say_unreadable(unlabelled.unreadable)
        else:
            targets = found.target.images
            _require_readable({"": targets}, "target", found.target)
        say(f"target {config.one_target}: {images_in_words(targets)}, whose labels, if any, are not used")
        say_files(found.target)
    _describe_groups(config, preprocessing, of_source if before is None else None, of_target)
    say_both(found if before is None else replace(found, source=None))  # the room of the source is told already
    if config.strict:
        _require_all_readable(found)
    decide_ranges(request, [] if of_source is None else [of_source], of_target)
    return _Found(images, classes, targets, replace(files, target=of_target), found.source)


def _describe_source(name: str, counts: Mapping[str, int], found: DomainSurvey | None) -> None:
    """Prints the source's classes and files."""
    say(f"source {name}: {sum(counts.values())} images, {len(counts)} classes")
    _say_counts(dict(sorted(counts.items())))
    say_files(found)


def _surveyed(
    of_source: Listing | None,
    of_target: Listing | None,
    preprocessing: Preprocessing,
    whole: bool,
    known: DomainSurvey | None,
) -> Survey:
    """Returns the survey of the files, the damaged ones that decoding finds among the unreadable.

    Args:
        known: what the source came to before.
    """
    with CountedProgress("looked at files") as progress:
        found = survey(of_source, of_target, preprocessing, known=known, on_progress=progress)
    with CountedProgress("decoded files") as progress:
        found = replace(
            found,
            source=known
            or without_damaged(of_source, found.source, preprocessing, whole, on_note=say, on_progress=progress),
            target=without_damaged(of_target, found.target, preprocessing, whole, on_note=say, on_progress=progress),
        )
    return with_readable_copies(found)


def _class_counts(
    config: TrainConfig,
    preprocessing: Preprocessing,
    files: DomainSurvey | None,
    others: Sequence[str],
    reading: ReadingOptions,
) -> dict[str, int]:
    """Returns how many source images each class has; ``others`` are the sources that are not files."""
    counts: dict[str, int] = {}
    if files is not None:
        counts = dict(files.class_counts or {})
        _require_readable(counts, "source", files)
    for other in others:
        labelled = open_source(other, preprocessing, seed=config.seed, partner=config.one_target, **reading)
        every = torch.bincount(labelled.labels, minlength=len(labelled.classes)).tolist()
        shown = {key_of(name): name for name in counts}
        for name, count in zip(labelled.classes, every, strict=True):
            name = shown.get(key_of(name), name)
            counts[name] = counts.get(name, 0) + count
        say_unreadable(labelled.unreadable)
    return counts


def _listings_of_sources(config: TrainConfig) -> tuple[Listing | None, ...]:
    """Returns the files of each source; None for what is no files."""
    found = [listing_of(each, argument="source", labelled=True, root=config.root) for each in config.sources]
    return tuple(map(_with_values, found))


def _listing_of_target(config: TrainConfig) -> Listing | None:
    """Returns the files of the target; None for what is no files."""
    return listing_of(config.one_target, argument="target", labelled=False, root=config.root)


def _with_values(found: Listing | None) -> Listing | None:
    """Returns a listing with its values beyond 8 bits, which are not kept: nothing is written here."""
    if found is None:
        return None
    with CountedProgress("looked at values beyond 8 bits") as progress:
        return with_whole_numbers(found, "ram", on_progress=progress)


def _require_readable(counts: Mapping[str, int], argument: str, domain: DomainSurvey) -> None:
    """Refuses what training would refuse: a class, or a target, without an image that can be read."""
    for name, count in counts.items():
        if not count:
            of_class = f" of the class {name!r}" if name else ""
            example = f" (for instance {domain.unreadable[0].path}: {domain.unreadable[0].reason})"
            raise UserError(
                Setting(argument, domain.where),
                f": no image{of_class} can be read{(example if domain.unreadable else '')}",
            )


def _require_all_readable(found: Survey) -> None:
    for argument, domain in (("source", found.source), ("target", found.target)):
        if domain is not None:
            refuse_unreadable(domain.unreadable, argument, domain.where, strict=True)


def _describe_groups(
    config: TrainConfig, preprocessing: Preprocessing, of_source: Listing | None, of_target: Listing | None
) -> None:
    """Prints how many groups of images there are; without a setting, warns of those that a split would cut through.

    What has no files is left out, and of more than MOST_COMPARED files nothing is compared without a setting.
    """
    domains: list[ImagesToGroup] = []
    of_domains = (("source", tuple(config.sources), of_source), ("target", (config.one_target,), of_target))
    for what, places, listing in of_domains:
        compared = config.groups in (None, AUTO)
        if listing is None or (config.groups is None and len(listing.paths) > MOST_COMPARED):
            continue
        names, images = [str(path) for path in listing.paths], None
        if compared:
            images, kept, _ = decode(list(listing.paths), replace(preprocessing, size=_COMPARED, crop=None))
            names = [names[row] for row in kept.tolist()]
        if len(names) < MIN_COMPARED:
            continue
        domains.append(ImagesToGroup(f"{what} {listing.where}", places, names, images))
    if not domains:
        return
    for domain, found in zip(domains, find_groups(config.groups or AUTO, domains), strict=True):
        if config.groups is not None:
            say(found.in_words(domain.what))
        elif found.how:
            cut = _cut(found, config) if domain.what.startswith("source") else 0
            apart = f"; {cut} of them would have images on both sides of the validation split" if cut else ""
            say_warning(
                f"{found.in_words(domain.what)}{apart}. Such images are no independent evidence: "
                f"{Setting('groups', AUTO)}, a column or a regular expression keeps them together"
            )


def _cut(found: Groups, config: TrainConfig) -> int:
    """Returns how many groups have images on both sides of the validation split that a run without groups makes."""
    alike = torch.zeros(len(found.numbers), dtype=torch.int64)  # a run moves single images of rare classes besides
    training, validation = split(alike, config.data.validation_share, config.seed)
    sides = [set(found.numbers[rows].tolist()) for rows in (training, validation)]
    return len(sides[0] & sides[1])


def _with_share(setup: Setup, found: _Found) -> Setup:
    """Returns the setup with the share of the domains' statistics that the images choose, and prints it."""
    config = setup.config
    if config.model.domain_statistics != "auto" or not config.features or config.init is not None:
        return setup
    own = replace(config, feature_precision="float32")  # that statistics are computed in
    with tempfile.TemporaryDirectory() as folder:  # nothing is kept here
        network = image_network.make_network(own, setup.preprocessing, max(2, found.classes))
        space = image_network.make_feature_space(own, network, setup.preprocessing, setup.device, Path(folder))
        share = checked_share(
            "auto", space.network.backbone, features=config.features, trained_stages=config.model.trained_stages
        )
        choice = choice_for_files(space, found.files) if share == "auto" else None
    if choice is not None:
        say(f"{Setting('model.domain_statistics', choice.share)}: {choice.why}")
    return replace(setup, config=image_network.with_share(config, 0.0 if choice is None else choice.share))


def _counts_of(config: TrainConfig, found: _Found) -> Counts:
    return Counts(found.images, round(found.images * config.data.validation_share), found.targets, found.classes)


def _estimate(setup: Setup, counts: Counts, before: _Estimate | None) -> _Estimate:
    """Measures some steps on random pixels, and prints how long the training would take.

    Args:
        before: of a run on another target, whose source-only model and features of the source this one takes over.
    """
    config = setup.config
    # where its images choose other statistics, the source's features and source-only are this run's own
    shared = before is not None and before.config.model == config.model
    if before is not None and shared:
        pace = before.pace
    else:
        pace = measure_pace(config, setup.preprocessing, counts.classes, setup.device, keep=False)
    if is_open(config):
        config = fitted_to_time(config, counts, pace, planned_seconds(config), usual=Recipe.of(config, counts))
    of_target = config.epochs is not None and not config.baseline_steps  # the number of source-only's steps
    config = replace(config, steps=recipe.steps_for(config, counts.training, counts.target), epochs=None)
    computed = replace(counts, drawn=counts.drawn or shared)  # of images, by a frozen backbone
    parts = seconds_of_run(config, computed, pace)
    taken_over = shared and len(recipe.trainings(config)) > 1 and not of_target
    if config.features:
        views = views_of(config, computed)
        say(
            f"features: {1 / pace.view:.0f} views/s, {views} to compute unless they are kept from before: "
            f"{clock(parts['features'])}"
        )
    for name, own in recipe.trainings(config):
        if name == "source-only" and taken_over:
            say("source-only: that of the first target")
            del parts[name]
            continue
        say(f"{name}: {1 / pace.steps[name]:.2f} steps/s, {own.steps} steps: {clock(parts[name])}")
    say(f"judgement: {clock(parts['judgement'])}")
    total = clock(sum(parts.values()))
    say_result(f"all in all about {total}, beside reading the images; measured on random pixels")
    return _Estimate(config, pace, sum(parts.values()))
