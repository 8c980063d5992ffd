from dataclasses import replace

import pytest
import torch
from two_domains import noisy, sure, two_domains

from dalib.judge.better import pairwise
from dalib.judge.evidence import Evidence
from dalib.judge.ranking import judge_predictions
from dalib.judge.structure import structure_of

CLASSES = ("ant", "bee", "cat", "dog")


@pytest.fixture(scope="module")
def world():
    representation, labels = two_domains()
    return structure_of(representation, 4), labels


def said(classes, validation=None, labels=None):
    none = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    return Evidence(*(none if validation is None else (sure(validation), labels)), sure(classes))


@pytest.fixture
def sourceless(world):
    structure, _ = world
    return replace(structure, source=structure.source[:0], labels=structure.labels[:0])


@pytest.fixture
def three(world):
    _, labels = world
    return {"rough": said(noisy(labels, 0.5, 1)), "right": said(labels), "fair": said(noisy(labels, 0.2, 2))}


def test_the_ranking_and_the_probabilities_are_those_of_a_run(sourceless, three):
    found = judge_predictions(three, CLASSES, sourceless, "rough")
    targets = [each.target for each in three.values()]
    chances = pairwise(targets, three["rough"].target, sourceless)
    order = chances.sum(dim=1).argsort(descending=True).tolist()
    assert found.ranking == tuple(list(three)[place] for place in order) == ("right", "fair", "rough")
    assert found.probability("right", "rough") == pytest.approx(float(chances[1, 0]))
    assert found.probability("rough", "right") == pytest.approx(1 - float(chances[1, 0]))
    assert found.probability("fair", "fair") is None


def test_a_better_model_helped_and_a_worse_one_hurt(world, three):
    structure, _ = world
    helped = judge_predictions({name: three[name] for name in ("rough", "right")}, CLASSES, structure, "rough")
    assert (helped.outcome, helped.best) == ("helped", "right")
    assert helped.headline.startswith("right seems to be better than rough, with a probability of over 99%")
    hurt = judge_predictions({name: three[name] for name in ("rough", "right")}, CLASSES, structure, "right")
    assert (hurt.outcome, hurt.best) == ("hurt", "right")
    assert hurt.headline.startswith("rough seems to be worse than right")


def test_equal_models_are_not_told_apart(world):
    structure, labels = world
    found = judge_predictions({"a": said(labels), "b": said(labels)}, CLASSES, structure, "a")
    assert found.outcome == "unclear"
    assert found.probability("a", "b") == 0.5
    assert found.headline == "Nothing to compare: all models predict the same"
    assert found.reasons == ("a and b give the same probabilities for every image, as one table given twice would",)
    assert judge_predictions({"a": said(labels), "b": said(labels)}, CLASSES, structure).outcome == "unclear"


def test_equal_models_beside_another_are_named(world, three):
    rough = said(three["rough"].target.argmax(dim=1))
    for structure in (world[0], None):
        found = judge_predictions({**three, "again": rough}, CLASSES, structure)
        assert "rough and again give the same probabilities" in found.reasons[0]
        assert found.headline != "Nothing to compare: all models predict the same"
    assert not any("same probabilities" in each for each in judge_predictions(three, CLASSES, world[0]).reasons)


def test_without_a_reference_the_best_is_named_and_the_lack_is_told(sourceless, three):
    found = judge_predictions(three, CLASSES, sourceless)
    assert (found.outcome, found.best) == ("best", "right")
    assert any("No reference was named" in each for each in found.missing)


def test_labelled_source_images_are_the_better_witness_of_names(world, three):
    structure, labels = world
    renamed = said((labels + 1) % 4)
    found = judge_predictions({"renamed": renamed, **three}, CLASSES, structure, "renamed")
    assert (found.outcome, found.best) == ("helped", "right")
    assert not any("reference" in each for each in found.missing)
    assert judge_predictions({"renamed": renamed, "right": three["right"]}, CLASSES, structure).best == "right"


def test_a_reference_that_collapsed_is_no_witness_of_names(sourceless, world, three):
    labels = world[1]
    flat = said(torch.where(noisy(labels, 0.5) > 0, 3, 0))
    found = judge_predictions({"flat": flat, **three}, CLASSES, sourceless, "flat")
    assert (found.outcome, found.best) == ("helped", "right")
    assert any(each.startswith("flat predicts so few of the classes") for each in found.missing)
    assert not found["right"].failed
    assert not found["flat"].failed
    again = judge_predictions({"flat": flat, **three, "also": said(flat.target.argmax(1))}, CLASSES, sourceless, "flat")
    assert "collapsed" in again["also"].failed


def test_columns_in_another_order_are_told(sourceless, world, three):
    labels = world[1]
    permuted = said(torch.tensor([2, 1, 3, 0])[labels])
    found = judge_predictions({"right": three["right"], "permuted": permuted}, CLASSES, sourceless)
    assert (found.outcome, found.probability("right", "permuted")) == ("unclear", 0.5)
    assert found.reasons[0] == (
        "right and permuted group the images alike and name the groups differently: they predict the same class for "
        "25% of the images, and for 100% once permuted's classes are renamed (ant for dog, cat for ant, dog for cat); "
        "look whether its columns are in another order than its classes; labelled source images, or a reference, would "
        "tell whose names are right"
    )
    told = judge_predictions({"right": three["right"], "permuted": permuted}, CLASSES, world[0])
    assert (told.outcome, told.best) == ("best", "right")
    assert told.reasons[0].endswith("in another order than its classes")


def test_without_features_nothing_is_claimed(three):
    found = judge_predictions(three, CLASSES, reference="rough")
    assert found.outcome == "unclear"
    assert found.pairs == ()
    assert found.probability("right", "rough") is None
    assert "no features" in found.headline
    assert any("Corr-C" in each for each in found.missing)


def test_few_images_accuse_no_model(world, three):
    few = {name: Evidence(each.validation, each.labels, each.target[:20]) for name, each in three.items()}
    found = judge_predictions(few, CLASSES, reference="rough")
    assert found.outcome == "unclear"
    assert "20 images are too few" in found.headline


@pytest.mark.parametrize("reference", ["rough", None])
def test_a_collapsed_model_stands_last(world, three, reference):
    structure, labels = world
    found = judge_predictions({**three, "flat": said(torch.zeros_like(labels))}, CLASSES, structure, reference)
    assert found.ranking[-1] == "flat"
    assert "collapsed" in found["flat"].failed
    alone = {"flat": said(torch.zeros_like(labels)), "right": three["right"]}
    assert judge_predictions(alone, CLASSES, structure, "right").outcome == "collapsed"


def test_a_model_at_chance_is_not_the_best(world):
    structure, labels = world
    lost = said(labels, torch.zeros(40, dtype=torch.int64), torch.arange(4).repeat(10))
    fair = said(noisy(labels, 0.5), torch.arange(4).repeat(10), torch.arange(4).repeat(10))
    found = judge_predictions({"lost": lost, "fair": fair}, CLASSES, structure, "fair")
    assert (found.best, found.outcome) == ("fair", "hurt")
    assert "not better than chance" in found.headline
    nothing = judge_predictions({"lost": lost, "same": lost}, CLASSES, structure)
    assert nothing.headline.startswith("Nothing was learnt")


@pytest.mark.parametrize("reference", [None, "lost"])
def test_where_every_model_failed_in_its_way_none_is_called_the_best(reference):
    labels = torch.arange(60) % 4
    shuffled = labels[torch.randperm(60, generator=torch.Generator().manual_seed(0))]
    models = {"lost": said(shuffled, shuffled, labels), "flat": said(torch.zeros_like(labels), labels, labels)}
    found = judge_predictions(models, CLASSES, reference=reference)
    assert "not better than chance" in found["lost"].failed
    assert "collapsed" in found["flat"].failed
    assert found.outcome == "unclear"
    assert "best" not in found.headline
    assert "better model" not in found.headline


def test_estimates_need_labels_and_source_features(world):
    structure, labels = world
    order = torch.arange(4).repeat(10)
    models = {"with": said(labels, order, order), "few": said(labels, order[:8], order[:8]), "without": said(labels)}
    found = judge_predictions(models, CLASSES, structure)
    estimate = found["with"].estimate
    assert estimate.low <= estimate.value <= estimate.high
    assert estimate.value > 0.8
    assert found["few"].estimate is None
    assert found["few"].no_estimate == "that takes 20 labelled source images, and there are 8"
    assert found["without"].no_estimate == "that takes the model's probabilities for labelled source images"
    featureless = judge_predictions(models, CLASSES)["with"].no_estimate
    assert featureless == "that takes features of the target and of labelled source images"
    assert [each for each in found.missing if each.startswith("No accuracy")] == [
        f"No accuracy is estimated for {name}: {found[name].no_estimate}."
        for name in found.ranking
        if found[name].no_estimate
    ]
