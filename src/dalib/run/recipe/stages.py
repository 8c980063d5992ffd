"""Training of a backbone's last stages, on what its frozen trunk gives: maps that are computed once and kept on disk.

A step then costs what the last stages cost. The head starts from the one that was trained on the features of the whole
frozen backbone, so that the first step changes a model that is good already.
"""

from __future__ import annotations

import copy
import math
import shutil
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, cast

import torch
from rich.filesize import decimal

from dalib.core.console import say, say_detail
from dalib.core.devices import global_generators_restored, seconds_of
from dalib.core.errors import Setting, UserError
from dalib.core.words import time_in_words
from dalib.data.domain_images import LabelledImages, UnlabelledImages
from dalib.data.rows import Marked
from dalib.engine.fit import train_step
from dalib.models.stages import MarkedTail, split_at
from dalib.run.classes.fewer import ExpectedClasses, resampled
from dalib.run.classes.unknown import ExpectedKnown
from dalib.run.features.domain_features import to_features
from dalib.run.features.inputs import feature_inputs

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

    from dalib.augment.stored import Standardized
    from dalib.data.rows import Rows
    from dalib.engine.fit import Training
    from dalib.models.classifier import ImageClassifier
    from dalib.models.pretrained import PretrainedBackbone
    from dalib.models.stages import Tail
    from dalib.run.classes.expected_target import ExpectedTarget
    from dalib.run.features.feature_space import FeatureSpace
    from dalib.run.features.inputs import Inputs, StandardizedViews
    from dalib.run.start.domains import DataRequest, Domains

SPARE = 2**28
"""Bytes that the maps leave free on a disk: the run's own files need some."""

SOURCE, TARGET, PLAIN = range(3)
"""Marks of maps: views of the source, random views of the target, and the target without augmentation."""


def split_network(network: ImageClassifier, count: int) -> tuple[nn.Module, Tail]:
    """Returns the trunk of a network's backbone, and the tail of its last stages.

    Raises:
        UserError: another number of stages than the backbone has, or a backbone that cannot be split.
    """
    try:
        return split_at(cast("PretrainedBackbone", network.backbone), count)
    except ValueError as error:
        text = str(error).removeprefix("trained: ")
        raise UserError(Setting("model.trained_stages", count), f": {text}") from None


@dataclass(frozen=True)
class LastStages:
    """The last stages of a backbone, and the images whose maps they are trained on.

    Attributes:
        count: how many there are.
        space: the features of the whole frozen backbone.
        maps: what its trunk gives, which the stages take.
        tail: the stages as they are before training.
        domains: images.
        inputs: how images reach the network.
        request: the domains' names, and how many views.
    """

    count: int
    space: FeatureSpace
    maps: FeatureSpace
    tail: Tail
    domains: Domains
    inputs: Inputs
    request: DataRequest

    @classmethod
    def of(cls, count: int, space: FeatureSpace, domains: Domains, inputs: Inputs, request: DataRequest) -> LastStages:
        """Returns the last ``count`` stages; raises as :func:`split_network`."""
        trunk, tail = split_network(space.network, count)
        return cls(count, space, space.of_trunk(trunk), tail, domains, inputs, request)

    def announce(self, training: Training | None) -> None:
        """Prints how much disk and time the stages take, before anything is computed.

        Args:
            training: trains them on :meth:`random_maps`; one of its steps is measured. None measures no time.

        Raises:
            UserError: the disk has not the room.
        """
        domains, backbone, where = self.domains, cast("PretrainedBackbone", self.space.network.backbone), self.folder
        random = len(self._source) + len(domains.target.names)
        plain = len(domains.validation.labels) + len(domains.target.names)
        views = self.request.features * random + len(self.maps.plain_views) * plain
        time = ""
        if training is not None:
            with global_generators_restored(self.maps.device):
                step = seconds_of(partial(train_step, training, 0), self.maps.device, most=0.5)
            maps = self._seconds_of_a_view() * views
            whole = time_in_words(maps + step * training.steps)
            time = f". With {training.steps} steps that adds {whole}, as measured on this machine"
        say(
            f"the last {self.count} of {len(backbone.stages())} stages of {backbone.name} are trained after the head; "
            f"what the others give, maps of {' x '.join(map(str, self.maps.shape))}, takes "
            f"{decimal(2 * views * math.prod(self.maps.shape))} in {where}{time}"
        )
        if training is not None:
            say_detail(f"maps {maps:.1f} s; {step:.2f} s a step")
        self._require_room()

    @property
    def folder(self) -> Path:
        """The folder of the maps."""
        return self.maps.store.folder

    @property
    def _source(self) -> Rows:
        assert self.domains.whole is not None  # of a run with features
        return self.domains.whole.images

    def _require_room(self) -> None:
        """Refuses maps for which the disk has no room, before an hour is spent on what comes before them."""
        domains, views, count = self.domains, self.inputs.views, self.request.features
        needed = self.maps.lacking(self._source, views.source, count) + self.maps.lacking(domains.target.images)
        needed += self.maps.lacking(domains.target.images, views.student, count)
        if len(domains.validation.labels):
            needed += self.maps.lacking(domains.validation.images)
        free = shutil.disk_usage(next(each for each in (self.folder, *self.folder.parents) if each.is_dir())).free
        if needed and needed + SPARE > free:
            raise UserError(
                Setting("model.trained_stages", self.count),
                f": its maps take {decimal(needed)} of the disk of {self.folder}, and {decimal(free)} are free. Set "
                "DALIB_CACHE to a folder on another disk, make room, or take fewer stages, whose maps are smaller, or "
                "fewer ",
                Setting("features"),
            )

    def _seconds_of_a_view(self) -> float:
        """Returns the seconds that the trunk takes for a view of an image."""
        batch, preprocessing = self.maps.batch, self.space.preprocessing
        size = preprocessing.input_size
        images = torch.zeros(batch, preprocessing.channels, size, size, device=self.maps.device)
        with torch.inference_mode():
            return seconds_of(partial(self.maps.compute, images), self.maps.device, most=0.5) / batch

    def random_maps(self, count: int) -> tuple[LabelledImages, UnlabelledImages]:
        """Returns so many rows of random maps of either domain, to measure a step on."""
        maps = torch.rand(count, self.request.features, *self.maps.shape).half()
        classes, names = self.domains.train.classes, tuple(map(str, range(count)))
        source = LabelledImages(_marked(maps, SOURCE), torch.arange(count) % len(classes), classes, names)
        return source, UnlabelledImages(_marked(maps, TARGET), names)

    def stored(self) -> Inputs:
        """Returns how maps reach the network of :meth:`student`: some of their views at random, or all of the plain."""
        return feature_inputs(replace(self.inputs.architecture, standardize=False), self.space.width)

    def student(self, classifier: ImageClassifier, standardized: StandardizedViews | None) -> ImageClassifier:
        """Returns a classifier of stored features as one of marked maps, with the stages in front of it."""
        statistics: tuple[Tensor, Tensor] | tuple[None, None] = (None, None)
        if standardized is not None:
            of_domain = standardized.source, standardized.target, standardized.plain  # in the order of the marks
            statistics = (torch.stack([each.mean for each in of_domain]), torch.stack([each.std for each in of_domain]))
        classifier.finetune = False  # a tenth of the head's rate moves the stages too little: benchmarks/RESULTS.md
        classifier.backbone = MarkedTail(copy.deepcopy(self.tail), *statistics)
        return classifier

    def whole(self, student: nn.Module, of_target: Standardized | None) -> ImageClassifier:
        """Returns a network that takes images, with the stages and the head of a trained :meth:`student`."""
        network = copy.deepcopy(self.space.network)
        network.load_state_dict(student.state_dict(), strict=False)
        if of_target is not None:
            network.set_feature_statistics(of_target.mean, of_target.std)
        return network

    def to_maps(self, expected: ExpectedTarget | None, seed: int) -> Domains:
        """Returns the domains with marked maps in place of images; those that are not kept are computed.

        Args:
            expected: of the target, where it seems to lack classes of the source or to have images of others.
            seed: of the choice of source images, where the target lacks classes.
        """
        # labelled images of the target keep their mark, so that nothing has to be scaled for the source's statistics
        request = replace(self.request, standardize=False)
        domains = to_features(self.maps, self.domains, self.inputs, request, what="maps")
        joined = None
        if domains.joined is not None:
            count = len(domains.train.labels)
            marks = torch.full((len(domains.joined.labels),), TARGET)
            marks[:count] = SOURCE
            joined = replace(domains.joined, images=Marked(domains.joined.images, marks))
        domains = replace(
            domains,
            train=replace(domains.train, images=_marked(domains.train.images, SOURCE)),
            validation=replace(domains.validation, images=_marked(domains.validation.images, SOURCE)),
            target=replace(domains.target, images=_marked(domains.target.images, TARGET)),
            to_predict=_marked(domains.to_predict, PLAIN),
            joined=joined,
        )
        if isinstance(expected, ExpectedClasses):
            return replace(domains, joined=resampled(domains.train_adapted, expected.shares, seed))
        if isinstance(expected, ExpectedKnown):
            return replace(domains, target=expected.apart(domains.target))
        return domains


def _marked(rows: Rows, mark: int) -> Marked:
    return Marked(rows, torch.full((len(rows),), mark))
