import pytest
import torch

from dalib.judge.neighbours import Votes, neighbour_votes


def one_by_one(features, first, second, neighbours):
    """The same, image by image, as the docstring puts it."""
    votes = [0, 0]
    for image in range(len(first)):
        sums = []
        for named in (first[image], second[image]):
            alike = [i for i in range(len(first)) if first[i] == second[i] == named]
            closest = [
                sorted((torch.cosine_similarity(each[image], each[i], dim=0).item() for i in alike), reverse=True)
                for each in features
            ]
            sums.append(sum(sum(each[:neighbours]) for each in closest) if len(alike) >= neighbours else None)
        if None not in sums and first[image] != second[image]:
            votes[0] += sums[0] > sums[1]
            votes[1] += sums[1] > sums[0]
    return tuple(votes)


@pytest.mark.parametrize("networks", [1, 2])
@pytest.mark.parametrize("neighbours", [1, 5, 12, 1000])
def test_votes_are_those_of_the_definition(neighbours, networks):
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(4, (120,), generator=generator)
    features = [
        torch.eye(4)[truth] * 2 + torch.randn(120, 4, generator=generator),
        torch.randn(120, 3, generator=generator),
    ][:networks]
    first, second = truth.clone(), truth.clone()
    first[:20], second[15:60] = (truth[:20] + 1) % 4, (truth[15:60] + 2) % 4
    votes = neighbour_votes(features, first, second, neighbours)
    assert (votes.first, votes.second) == one_by_one(features, first.tolist(), second.tolist(), neighbours)
    assert (votes.differ, votes.count) == (60, 120)
    longer = [each * (0.1 + torch.rand(120, 1, generator=generator)) for each in features]
    assert neighbour_votes(longer, first, second, neighbours) == votes


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
