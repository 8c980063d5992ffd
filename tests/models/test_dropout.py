import pytest
import torch
from torch import nn

from dalib.models.dropout import Dropout

ONES = torch.ones(300, 401)


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        yield


@pytest.mark.parametrize("p", [0.5, 0.25, 0.3, 0.0, 0.9])
def test_this_share_is_left_out_and_the_rest_makes_up_for_it(p):
    found = Dropout(p)(ONES)
    deviation = (p * (1 - p) / ONES.numel()) ** 0.5
    assert float((found == 0).double().mean()) == pytest.approx(p, abs=4 * deviation + 1e-9)
    assert set(found.unique().tolist()) <= {0.0, float(torch.tensor(1.0) / (1 - p))}


@pytest.mark.parametrize("p", [0.5, 0.3])
def test_masks_are_independent_from_place_to_place_and_from_call_to_call(p):
    dropout = Dropout(p)
    first, second = (dropout(ONES).flatten() for _ in range(2))
    for one, other in ((first, second), (first[1:], first[:-1]), (first[8:], first[:-8])):
        assert abs(float(torch.corrcoef(torch.stack([one, other]))[0, 1])) < 4 / len(one) ** 0.5


def test_equal_seeds_give_equal_masks():
    masks = []
    for _ in range(2):
        torch.manual_seed(3)
        masks.append(Dropout(0.5)(ONES))
    assert torch.equal(*masks)


def test_nothing_is_left_out_of_a_prediction():
    assert Dropout(0.5).eval()(ONES) is ONES


def test_gradients_flow_through_what_was_kept():
    x = ONES.clone().requires_grad_()
    out = Dropout(0.5)(x)
    out.sum().backward()
    assert torch.equal(x.grad, out.detach())


@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (0, 4), (2, 3, 4, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_shape_and_dtype_stay(shape, dtype):
    found = Dropout(0.5)(torch.ones(shape, dtype=dtype))
    assert (found.shape, found.dtype) == (torch.Size(shape), dtype)


def test_it_is_one_of_torchs_dropouts():
    # a teacher without dropout finds them by this class
    assert isinstance(Dropout(0.5), nn.modules.dropout._DropoutNd)
    assert Dropout(0.5).state_dict() == {}
