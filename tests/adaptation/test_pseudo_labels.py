"""The loss on pseudo-labels by hand-computed values."""

import numpy as np
import pytest
import torch

from dalib.adaptation.pseudo_labels import pseudo_label_loss


def test_pseudo_labels_count_by_their_weights_over_all_images():
    z = torch.tensor([[0.0, 0.0], [0.0, 0.0], [9.0, 0.0]])
    loss = pseudo_label_loss(z, torch.tensor([0, 1, 0]), torch.tensor([0.5, 1.0, 0.0]))
    assert loss.item() == pytest.approx(1.5 * np.log(2) / 3)
    with pytest.raises(ValueError, match="logits, labels, weights"):
        pseudo_label_loss(z, torch.tensor([0, 1, 0]), torch.ones(3, 1))
