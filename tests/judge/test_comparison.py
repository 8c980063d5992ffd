import math
from dataclasses import replace

import pytest
import torch

from dalib.judge import comparison
from dalib.judge.better import PRIOR_LOG_ODDS
from dalib.judge.comparison import Baseline, lost_classes
from dalib.judge.evidence import Evidence, Scored
from dalib.judge.hint_votes import HintVotes
from dalib.judge.structure import Representation, structure_of

NO_IMAGES = torch.zeros(0, 4), torch.zeros(0, dtype=torch.long)


def sure_of(classes, count=80, num_classes=4, confidence=0.97):
    """Predictions of these classes, in turn."""
    chosen = torch.eye(num_classes)[torch.tensor(classes)[torch.arange(count) % len(classes)]]
    return chosen * confidence + (1 - chosen) * (1 - confidence) / (num_classes - 1)


def compare(before, after, representation=None, reference=None, **more):
    scored = [None if each is None else Scored.of(each, threshold=0.9) for each in (before, after)]
    representation = representation or comparison.shared_representation([each for each in (before, after) if each])
    structure = None if representation is None else structure_of(representation, 4)
    baseline = None if before is None else Baseline("source-only", scored[0], (reference or before).target)
    return comparison.compare(baseline, scored[1], classes=("ant", "bee", "cat", "dog"), structure=structure, **more)


def seen(target, right=1.0, count=80):
    """Evidence with this share of the validation images right."""
    labels = torch.arange(count) % 4
    wrong = torch.arange(count) >= round(right * count)
    return Evidence(torch.eye(4)[torch.where(wrong, (labels + 1) % 4, labels)], labels, target)


def test_a_collapsed_model_does_not_predict():
    found = compare(seen(sure_of([0, 1, 2, 3], confidence=0.7)), seen(sure_of([2])))
    assert (found.better, found.outcome) == ("source-only", "collapsed")
    assert "1.0 classes" in found.reasons[0]


def test_a_training_that_was_stopped_collapsed_whatever_its_kept_weights_say():
    found = compare(seen(sure_of([0, 1, 2, 3])), seen(sure_of([0, 1, 2, 3])), stopped="the mask rate rose")
    assert (found.better, found.outcome, found.reasons) == ("source-only", "collapsed", ("The mask rate rose",))


def test_a_lost_source_is_told():
    good, worse = seen(sure_of([0, 1, 2, 3])), seen(sure_of([0, 1, 2, 3], confidence=0.6), right=0.5)
    assert "from 100.0% to 50.0%" in compare(good, worse).reasons[-1]


def test_a_source_that_suffers_is_no_harm_to_the_target():
    # fonts -> digits lost 11 points on the source while the target gained 8
    before, after = beside_clusters(5), beside_clusters(0)
    labels = torch.arange(80) % 4
    suffers = replace(after, validation=torch.eye(4)[torch.where(torch.arange(80) < 12, (labels + 1) % 4, labels)])
    found = compare(replace(before, validation=torch.eye(4)[labels], labels=labels), replace(suffers, labels=labels))
    assert (found.better, found.outcome) == ("adapted", "helped")


def test_what_is_the_same_is_unclear():
    same = seen(sure_of([0, 1, 2, 3]))
    assert compare(same, same).outcome == "unclear"


@pytest.mark.parametrize(
    ("count", "better"), [(1, "source-only"), (9, "source-only"), (10, "adapted"), (29, "adapted")]
)
def test_few_images_accuse_nobody(count, better):
    few = compare(*(Evidence(*NO_IMAGES, sure_of(classes, count=count)) for classes in ([0, 1, 2, 3], [0])))
    assert (few.better, few.outcome, few.probability) == (better, "unclear", None)
    assert few.headline.endswith(
        f"{count} target image{'' if count == 1 else 's'} {'is' if count == 1 else 'are'} too few"
    )
    enough = [Evidence(*NO_IMAGES, sure_of(classes, count=30)) for classes in ([0, 1, 2, 3], [0])]
    assert compare(*enough).better == "source-only"


@pytest.mark.parametrize("name", ["adapted", "source-only"])
def test_a_model_alone_is_compared_with_nothing(name):
    found = compare(None, seen(sure_of([0])), name=name)
    assert (found.better, found.outcome) == (name, "alone")


def test_a_loss_of_half_the_classes_is_a_collapse():
    found = compare(seen(sure_of([0, 1, 2, 3], confidence=0.7)), seen(sure_of([0, 1, 0, 1, 1, 0])))
    assert (found.better, found.outcome) == ("source-only", "collapsed")


def test_lost_classes_are_named():
    found = compare(seen(sure_of([0, 0, 0, 0, 1, 1, 2, 3], confidence=0.7)), seen(sure_of([0, 0, 1])))
    assert found.reasons[0] == "2 classes are hardly predicted any more by the adapted model: cat, dog; look at them"


def test_few_images_say_nothing_for_a_model_either():
    few = [Evidence(*NO_IMAGES, sure_of([0, 1, 2, 3], count=8, confidence=each)) for each in (0.7, 0.97)]
    assert compare(*few).reasons == ()


def test_one_lost_class_of_several_is_told_and_ships_all_the_same():
    found = compare(seen(sure_of([0, 1, 2, 3], confidence=0.7)), seen(sure_of([0, 1, 2])))
    assert (found.better, found.outcome) == ("adapted", "unclear")
    assert found.reasons == ("One class is hardly predicted any more by the adapted model: dog; look at it",)


def test_a_class_that_was_never_predicted_is_not_lost():
    before, after = seen(sure_of([0, 1, 2])), seen(sure_of([0, 1, 2]))
    assert lost_classes(before, after) == []
    assert lost_classes(seen(sure_of([0, 1, 2, 3])), after) == [3]


def beside_clusters(changed, confidence=0.97):
    """Evidence of 200 images in four clusters, of which so many in each are taken for the next one."""
    clusters = torch.arange(200) % 4
    features = 5 * torch.eye(4)[clusters] + torch.randn(200, 4, generator=torch.Generator().manual_seed(1)) / 3
    wrong = torch.arange(200) < 4 * changed
    target = sure_of([0, 1, 2, 3], count=200, confidence=confidence)[torch.where(wrong, (clusters + 1) % 4, clusters)]
    return Evidence(*NO_IMAGES, target, target_features=features)


@pytest.mark.parametrize(
    ("before", "after", "better", "outcome"),
    [
        (5, 0, "adapted", "helped"),
        (0, 5, "source-only", "hurt"),
        (1, 0, "adapted", "unclear"),  # four votes may be chance
        (0, 1, "source-only", "unclear"),
        (2, 2, "adapted", "unclear"),  # nothing changed
    ],
)
def test_images_that_look_alike_decide(before, after, better, outcome):
    found = compare(beside_clusters(before), beside_clusters(after))
    assert (found.better, found.outcome) == (better, outcome)
    assert found.votes.first == 4 * max(before - after, 0)
    assert found.votes.second == 4 * max(after - before, 0)
    assert found.signs["adapted"].neighbours == pytest.approx(1 - after * 4 / 200 * 4 / 3, abs=0.02)


def test_exchanging_the_models_gives_one_minus_the_probability():
    first, second = beside_clusters(0), beside_clusters(5)
    one, other = compare(second, first, reference=first), compare(first, second, reference=first)
    assert one.probability == pytest.approx(1 - other.probability, abs=1e-6)


def test_equal_models_have_even_chances():
    found = compare(beside_clusters(2, confidence=0.7), beside_clusters(2))
    assert found.probability == 0.5
    assert (found.outcome, found.better) == ("unclear", "adapted")
    assert found.headline == (
        "Can't tell the models apart: adapted and source-only predict the same class for every target image"
    )
    assert "The adapted model and source-only predict the same class for each of 200 target images" in found.reasons


def test_models_that_predict_one_class_alone_are_suspected():
    found = compare(seen(sure_of([2])), seen(sure_of([2], confidence=0.7)))
    assert found.reasons[0] == (
        "Nearly every target image is predicted as cat. Unless the target has no other class, nothing was learnt"
    )
    assert not any("predicted as" in reason for reason in compare(seen(sure_of([2, 3])), seen(sure_of([2, 3]))).reasons)


def test_groups_that_exchange_names_hurt_however_smooth_they_are():
    before = beside_clusters(8, confidence=0.6)  # right on most images, and noisy
    classes = torch.arange(200) % 4
    exchanged = sure_of([0, 1, 2, 3], count=200)[torch.tensor([1, 0, 2, 3])[classes]]
    found = compare(before, replace(before, target=exchanged))
    assert found.signs["adapted"].neighbours > found.signs["source-only"].neighbours
    assert (found.better, found.outcome) == ("source-only", "hurt")
    assert "got each other's names" in " ".join(found.reasons)


@pytest.mark.parametrize(("given", "votes"), [(True, (0, 20)), (False, (20, 0))])
def test_a_representation_that_is_given_counts_in_place_of_the_models_own(given, votes):
    source_only, adapted = beside_clusters(5), beside_clusters(0)
    features = source_only.target_features.clone()
    features[:20] = features[:20].roll(1, dims=1)  # there the 20 images lie in the cluster that source-only names
    representation = Representation(features, features[:0], NO_IMAGES[1]) if given else None
    found = compare(source_only, adapted, representation=representation)
    assert (found.votes.first, found.votes.second) == votes


def test_without_the_features_of_a_model_nothing_can_be_told():
    source_only, adapted = beside_clusters(5, confidence=0.7), replace(beside_clusters(0), target_features=None)
    found = compare(source_only, adapted)
    assert (found.votes, found.outcome, found.better) == (None, "unclear", "adapted")


def test_the_votes_are_told():
    reasons = compare(beside_clusters(5), beside_clusters(0)).reasons
    assert (
        "Adapted and source-only differ on 20 of 200 target images. The nearest "
        "neighbours support the adapted model on 20 of them, source-only on 0"
    ) in reasons


def test_the_baseline_is_the_one_that_follows_the_images():
    """Half of the cluster labels are exchanged in one labelling; both have the same witness."""
    good, bad = beside_clusters(0), beside_clusters(30)
    structure = structure_of(comparison.shared_representation([good]), 4)
    scored = {name: Scored.of(each, threshold=0.9) for name, each in (("source-only", bad), ("aligned", good))}
    found = Baseline.best_of(scored, structure)
    assert found.name == "aligned"
    assert found.others["source-only"] > 0.9
    assert torch.equal(found.witness, good.target)  # of the aligned model: the witness of names
    verdict = comparison.compare(found, scored["aligned"], classes=("ant", "bee", "cat", "dog"), structure=structure)
    assert "The baseline is the aligned model" in verdict.reasons[0]
    assert set(verdict.signs) == {"adapted", "aligned"}


@pytest.mark.parametrize(("of_source_only", "told"), [(30, True), (1, False)])
def test_a_gain_over_source_only_is_told_where_aligned_may_be_as_good(of_source_only, told):
    evidence = {"source-only": beside_clusters(of_source_only), "aligned": beside_clusters(1)}
    structure = structure_of(comparison.shared_representation(list(evidence.values())), 4)
    scored = {name: Scored.of(each, threshold=0.9) for name, each in evidence.items()}
    adapted = Scored.of(beside_clusters(0), threshold=0.9)
    baseline = Baseline.best_of(scored, structure)
    found = comparison.compare(baseline, adapted, classes=("ant", "bee", "cat", "dog"), structure=structure)
    assert (baseline.name, found.better, found.outcome) == ("aligned", "adapted", "unclear")
    assert ("better than source-only with a probability of over 99%" in found.headline) is told
    assert "an't tell" in found.headline
    assert f"{found.probability:.0%}" in found.headline


@pytest.mark.parametrize(
    ("name", "others", "prior"),
    [
        ("source-only", {"aligned": 0.6}, PRIOR_LOG_ODDS["adapted"]),
        ("source-only", {}, 0.0),
        ("aligned", {"source-only": 0.9}, 0.0),
    ],
)
def test_adapted_begins_with_its_prior_where_source_only_is_judged_better_than_aligned(name, others, prior):
    evidence = beside_clusters(0)
    structure, same = structure_of(comparison.shared_representation([evidence]), 4), Scored.of(evidence, threshold=0.9)
    baseline = Baseline(name, same, evidence.target, others)
    found = comparison.compare(baseline, same, classes=("ant", "bee", "cat", "dog"), structure=structure)
    assert found.probability == pytest.approx(1 / (1 + math.exp(-prior)))


def test_source_only_is_the_baseline_where_nothing_tells():
    scored = {name: Scored.of(seen(sure_of([0, 1])), threshold=0.9) for name in ("source-only", "aligned")}
    assert Baseline.best_of(scored, None).name == "source-only"


def test_hints_that_no_training_saw_are_one_more_piece_of_evidence():
    before, after = seen(sure_of([0, 1, 2, 3])), seen(sure_of([0, 1, 3, 2]))
    without = compare(before, after).probability
    speaking = HintVotes(12, 1, (12.0, 1.0), count=20)
    found = compare(before, after, hints=speaking)
    odds = found.probability / (1 - found.probability) / (without / (1 - without))
    assert math.log(odds) == pytest.approx(speaking.log_odds)
    assert any("Of 20 hints that were held back from training, 12 name" in each for each in found.reasons)
    ignored = compare(before, after, hints=HintVotes(5, 9, (0.0, 0.0), count=20))
    assert ignored.probability == without


def test_hints_judge_alone_where_there_are_no_features():
    before, after = seen(sure_of([0, 1, 2, 3])), seen(sure_of([0, 1, 3, 2]))
    assert compare(before, after, hints=HintVotes(0, 9, (0.0, 9.0), count=9)).better == "source-only"
    assert compare(before, after, hints=HintVotes(9, 0, (9.0, 0.0), count=9)).probability == pytest.approx(0.9)
