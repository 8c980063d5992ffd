"""The backbone for rows of a table."""

import pytest
import torch
from torch import nn

from dalib.models.tables import TableBackbone


def test_without_hidden_layers_rows_stay_as_they_are():
    rows = torch.randn(3, 4)
    backbone = TableBackbone(4, ())
    assert torch.equal(backbone(rows), rows)
    assert not list(backbone.parameters())


def test_each_hidden_width_is_a_linear_layer_a_norm_and_relu():
    torch.manual_seed(0)
    backbone = TableBackbone(4, (6, 2))
    rows = torch.randn(8, 4)
    expected = rows
    for layer in backbone.layers:
        expected = layer(expected)
    assert [type(layer) for layer in backbone.layers] == 2 * [nn.Linear, nn.BatchNorm1d, nn.ReLU]
    torch.testing.assert_close(backbone.eval().train()(rows), expected)
    assert backbone(rows).shape == (8, backbone.out_features) == (8, 2)


@pytest.mark.parametrize("by_batch", [True, False])
def test_layer_normalisation_knows_one_row_alone(by_batch):
    torch.manual_seed(0)
    backbone, rows = TableBackbone(4, (6,), by_batch=by_batch), torch.randn(8, 4)
    alone = torch.cat([backbone(rows), backbone(torch.cat([rows[:4], 9 * rows[4:]]))[:4]])
    assert torch.allclose(alone[:4], alone[8:], atol=1e-6) is not by_batch


@pytest.mark.parametrize(("features", "hidden"), [(0, ()), (4, (0,)), (4, (3, -1))])
def test_a_width_below_1_is_refused(features, hidden):
    with pytest.raises(ValueError, match="features, hidden: expected widths of at least 1"):
        TableBackbone(features, hidden)
