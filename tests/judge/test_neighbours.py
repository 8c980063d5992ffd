import pytest
import torch

from dalib.judge.neighbours import Votes, has_common_core, neighbour_votes


def one_by_one(features, first, second, neighbours, groups=None):
    """The same, image by image, as the docstring puts it."""
    votes = [0, 0]
    for image in range(len(first)):
        apart = [i for i in range(len(first)) if groups is None or groups[i] != groups[image]]
        of_class = [[i for i in apart if first[i] == second[i] == named] for named in (first[image], second[image])]
        rarer = min(map(len, of_class))
        if first[image] == second[image] or rarer < neighbours:
            continue
        means = []
        for alike in of_class:
            count = round(neighbours * (len(alike) / rarer) ** 0.5)
            closest = [
                sorted((torch.cosine_similarity(each[image], each[i], dim=0).item() for i in alike), reverse=True)
                for each in features
            ]
            means.append(sum(sum(each[:count]) / count for each in closest))
        votes[0] += means[0] > means[1]
        votes[1] += means[1] > means[0]
    return tuple(votes)


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("networks", [1, 2])
@pytest.mark.parametrize("neighbours", [1, 5, 12, 1000])
def test_votes_are_those_of_the_definition(neighbours, networks, grouped):
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(4, (120,), generator=generator)
    features = [
        torch.eye(4)[truth] * 2 + torch.randn(120, 4, generator=generator),
        torch.randn(120, 3, generator=generator),
    ][:networks]
    first, second = truth.clone(), truth.clone()
    first[:20], second[15:60] = (truth[:20] + 1) % 4, (truth[15:60] + 2) % 4
    groups = torch.arange(120) // 8 if grouped else None
    votes = neighbour_votes(features, first, second, neighbours, groups)
    assert (votes.first, votes.second) == one_by_one(features, first.tolist(), second.tolist(), neighbours, groups)
    assert (votes.differ, votes.count) == (60, 120)
    longer = [each * (0.1 + torch.rand(120, 1, generator=generator)) for each in features]
    assert neighbour_votes(longer, first, second, neighbours, groups) == votes


def test_an_image_as_close_to_either_class_speaks_for_neither():
    features = torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, -0.1]])
    votes = neighbour_votes([features], torch.tensor([0, 0, 1]), torch.tensor([1, 0, 1]), neighbours=1)
    assert votes == Votes(0, 0, 1, 3)


def test_a_class_that_one_model_gave_up_is_not_asked_about():
    truth = torch.arange(90) % 3
    features = torch.eye(3)[truth] + torch.randn(90, 3, generator=torch.Generator().manual_seed(0)) / 10
    collapsed = torch.zeros_like(truth)
    assert neighbour_votes([features], collapsed, truth) == Votes(0, 0, 60, 90)


def test_a_class_does_not_win_by_being_frequent():
    features = torch.tensor([[1.0, 0.0]] * 6 + [[0.0, 1.0]] * 100 + [[1.0, 0.9]])
    agreed = torch.tensor([0] * 6 + [1] * 100)
    first, second = torch.cat([agreed, torch.tensor([0])]), torch.cat([agreed, torch.tensor([1])])
    assert neighbour_votes([features], first, second, neighbours=6) == Votes(1, 0, 1, 107)


def test_a_class_that_is_everywhere_does_not_win_by_being_near_everything():
    angles = torch.cat([torch.linspace(-0.2, 0.2, 6), torch.linspace(-1.5, 1.5, 160), torch.tensor([0.05])])
    agreed = torch.tensor([0] * 6 + [1] * 160)
    first, second = torch.cat([agreed, torch.tensor([0])]), torch.cat([agreed, torch.tensor([1])])
    features = torch.stack([angles.cos(), angles.sin()], dim=1)
    assert neighbour_votes([features], first, second) == Votes(1, 0, 1, 167)


def test_a_class_that_the_models_give_to_different_images_is_not_asked_about():
    """As of steel defects, where 6 of the 82 and 90 images that two models called inclusions were the same ones."""
    generator = torch.Generator().manual_seed(0)
    first = torch.tensor([0] * 82 + [2] * 164 + [2] * 84)
    second = torch.tensor([0] * 6 + [1] * 76 + [2] * 164 + [0] * 84)
    features = torch.randn(330, 8, generator=generator)
    assert has_common_core(first, second).tolist() == [False, False, True]
    assert neighbour_votes([features], first, second) == Votes(0, 0, 160, 330)
    second[76:82] = 0  # and six more still are no core
    assert not has_common_core(first, second)[0]


@pytest.mark.parametrize("second", [[0, 1, 2], [1, 2, 0]])
def test_models_that_agree_everywhere_or_nowhere_have_no_votes(second):
    votes = neighbour_votes([torch.randn(3, 2)], torch.tensor([0, 1, 2]), torch.tensor(second))
    assert (votes.first, votes.second) == (0, 0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([torch.zeros(3)], torch.zeros(3), torch.zeros(3)), r"got \(3,\), \(3,\), \(3,\)"),
        (([torch.zeros(3, 2)], torch.zeros(3), torch.zeros(2)), r"got \(3, 2\), \(3,\), \(2,\)"),
        (([], torch.zeros(3), torch.zeros(3)), "features: expected those of one network or more"),
        (([torch.zeros(3, 2)], torch.zeros(3), torch.zeros(3), 0), "neighbours: expected at least 1, got 0"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        neighbour_votes(*arguments)
