import torch

from dalib.core.deviations import to_divide_by


def test_features_that_vary_stay_and_nearly_constant_ones_get_a_tenth_of_the_median():
    deviation = torch.tensor([2.0, 1.0, 1.0, 0.5, 0.0, 1e-5])
    assert to_divide_by(deviation).tolist() == torch.tensor([2.0, 1.0, 1.0, 0.5, 0.05, 0.05]).tolist()


def test_nothing_is_divided_by_zero_where_all_are_constant():
    assert (to_divide_by(torch.zeros(3)) > 0).all()
