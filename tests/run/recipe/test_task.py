"""One training: what it starts from, what it learns from, and what comes of it."""

from dataclasses import replace

import torch

from dalib.engine.results import InMemory
from dalib.judge.evidence import Confidence
from dalib.judge.scores import mask_rate
from dalib.run.recipe import recipe
from dalib.run.recipe.task import Task, statistics_for, train_task
from dalib.run.settings.config import TrainConfig

CPU = torch.device("cpu")
WEIGHTS = "head.weight"


def trained(inputs, name, done, **more):
    config = replace(dict(recipe.trainings(TrainConfig(steps=1, batch=16)))[name], **more.pop("settings", {}))
    task = Task(name, config, inputs.domains, inputs.of(name)[0], InMemory(), **more)
    return train_task(task, CPU, before=done.source_only).trained.model.state_dict()


def test_an_adaptation_starts_from_source_only_if_it_is_to(made):
    done, inputs = made
    source_only = done.trained["source-only"].model.state_dict()
    rate = {"optimizer": replace(TrainConfig().optimizer, lr=1e-12)}  # a step that moves nothing
    for warm in (True, False):
        ours = trained(inputs, "adapted", done, settings={"warm_start": warm, **rate})
        assert torch.allclose(ours[WEIGHTS], source_only[WEIGHTS], atol=1e-6) == warm


def test_given_weights_come_before_those_of_source_only(made):
    done, inputs = made
    given = {
        name: torch.full_like(tensor, 0.01) for name, tensor in done.trained["source-only"].model.state_dict().items()
    }
    settings = {"warm_start": True, "optimizer": replace(TrainConfig().optimizer, lr=1e-12)}
    ours = trained(inputs, "adapted", done, settings=settings, weights=given)
    torch.testing.assert_close(ours[WEIGHTS], given[WEIGHTS], atol=1e-6, rtol=0)


def test_a_finished_model_predicts_all_images(made):
    done, inputs = made
    everything = done.everything["source-only"]
    assert len(everything.target) == len(inputs.domains.to_predict)
    assert len(everything.validation) == len(inputs.domains.validation.labels)


def test_a_baseline_is_measured_with_the_confidence_that_it_is_given(made):
    inputs, name = made[1], "source-only"
    config = dict(recipe.trainings(TrainConfig(steps=1, batch=16)))[name]
    for confidence, threshold in ((Confidence(0.05), 0.05), (None, 0.9)):
        results = InMemory()
        task = Task(name, config, inputs.domains, inputs.of(name)[0], results, confidence=confidence)
        target = train_task(task, CPU).evaluated.target
        assert results.lines[-1]["target_mask_rate"] == mask_rate(target, threshold)
    assert mask_rate(target, 0.05) != mask_rate(target, 0.9)


def test_statistics_are_recomputed_where_that_is_asked_for(made):
    inputs, plain = made[1], made[1].of("adapted")[0].plain
    assert statistics_for(inputs, plain, recomputed=False) is None
    found = statistics_for(inputs, plain, recomputed=True)
    assert found.rows is inputs.domains.target.images


def test_a_single_image_has_no_statistics_and_those_of_training_stay(made):
    inputs, plain = made[1], made[1].of("adapted")[0].plain
    target = inputs.domains.target
    alone = replace(inputs, domains=replace(inputs.domains, target=replace(target, images=target.images[:1])))
    assert statistics_for(alone, plain, recomputed=True) is None
