import shutil

import pytest
import torch
from torch import nn

from dalib.adaptation.self_ensemble import SelfEnsemble
from dalib.adaptation.source_only import SourceOnly
from dalib.core.types import Batch
from dalib.models.backbones import DigitsBackbone
from dalib.models.classifier import ImageClassifier
from dalib.models.compiled import compiled


def test_without_a_mode_nothing_is_wrapped():
    forward = nn.Linear(1, 1)
    assert compiled(forward, None) is forward


def three_steps(method_class, mode):
    """Losses of three steps, and the keys of what would be saved."""
    torch.manual_seed(0)
    student = ImageClassifier(DigitsBackbone(1, 16), 10, None, finetune=False)
    for module in student.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # a compiled dropout draws other masks
    settings = {"num_classes": 10} if method_class is SelfEnsemble else {}
    method = method_class(student, **settings, compile_mode=mode)
    optimizer = torch.optim.SGD(student.parameters(), 0.01)
    losses = []
    for step in range(3):
        source, *target = torch.randn(3, 8, 1, 16, 16)
        loss = method.loss(Batch(source, torch.arange(8), tuple(target[: method.target_views])), step).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        method.after_step(step)
        losses.append(loss.item())
    return losses, list(method.predictor().state_dict())


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")  # torch's own
@pytest.mark.parametrize("method_class", [SelfEnsemble, SourceOnly])
def test_compiled_forward_passes_train_as_plain_ones_do(method_class):
    plain, names = three_steps(method_class, None)
    losses, compiled_names = three_steps(method_class, "default")
    assert losses == pytest.approx(plain, rel=1e-4)
    assert compiled_names == names
