"""The loss on pseudo-labels by hand-computed values."""

import numpy as np
import pytest
import torch

from dalib.adaptation.pseudo_labels import pseudo_label_loss, pseudo_label_losses


def test_pseudo_labels_count_by_their_weights_over_all_images():
    z = torch.tensor([[0.0, 0.0], [0.0, 0.0], [9.0, 0.0]])
    loss = pseudo_label_loss(z, torch.tensor([0, 1, 0]), torch.tensor([0.5, 1.0, 0.0]))
    assert loss.item() == pytest.approx(1.5 * np.log(2) / 3)
    with pytest.raises(ValueError, match="logits, labels, weights"):
        pseudo_label_loss(z, torch.tensor([0, 1, 0]), torch.ones(3, 1))


def test_the_losses_are_of_the_source_and_of_the_sure_target_images():
    source, strong = torch.zeros(2, 2), torch.tensor([[9.0, 0.0], [0.0, 0.0]], requires_grad=True)
    found = pseudo_label_losses(
        source,
        torch.tensor([0, 1]),
        strong,
        torch.tensor([1, 1]),
        torch.tensor([False, True]),
        weight=3.0,
        label_smoothing=0.0,
    )
    assert {name: part.item() for name, part in found.parts.items()} == pytest.approx(
        {"supervised": np.log(2), "consistency": 3 * np.log(2) / 2}
    )
    assert {name: value.item() for name, value in found.metrics.items()} == pytest.approx(
        {"mask_rate": 0.5, "agreement": 0.0, "source_accuracy": 0.5}
    )
    found.total.backward()
    assert strong.grad[0].abs().sum() == 0  # of an image that is not sure
    assert strong.grad[1, 1] < 0 < strong.grad[1, 0]
