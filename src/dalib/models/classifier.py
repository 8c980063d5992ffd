"""An image classifier around any backbone: pool, bottleneck, head."""

from __future__ import annotations

from typing import Any, TypedDict, cast

import torch
from torch import Tensor, nn

from dalib.models.dropout import Dropout


class ParameterGroup(TypedDict):
    """A group of parameters as torch's optimisers take it."""

    params: list[nn.Parameter]
    lr: float


class ImageClassifier(nn.Module):
    """backbone -> pool -> bottleneck (Linear, BatchNorm1d, ReLU) -> linear head.

    Args:
        backbone: images (N, C, H, W) -> feature maps (N, D, h, w) or features (N, D); has ``.out_features``, D.
        num_classes: K, the width of the head.
        bottleneck_dim: width of the bottleneck; None leaves it out, and the head works on the pooled features.
        pool_layer: what brings the backbone's output to (N, D); by default the mean over h and w of feature maps, and
            features of shape (N, D) as they are.
        finetune: the backbone is pretrained and learns at a tenth of the rate (:meth:`get_parameters`).
        head: replaces the linear head; takes (N, features_dim).
        dropout: the share that is dropped, in training, of the pooled features and of what the bottleneck gives.
        standardize: the pooled features are brought to (features - feature_mean) / feature_std, buffers (D,) that are
            0 and 1 until :meth:`set_feature_statistics` fills them, and are saved with the weights.
        bottleneck_norm: False leaves out the bottleneck's BatchNorm1d.

    Call it with images (N, C, H, W). In training mode it returns ``(predictions, features)``, in evaluation mode
    ``predictions`` alone: logits (N, K), and the features (N, features_dim) that the head saw.
    :func:`~dalib.models.classifier.logits_of` gives the logits in either mode.

    Raises:
        ValueError: a backbone without ``out_features``, sizes below 1, or dropout outside of [0, 1); from a call, a
            backbone whose pooled output is not (N, out_features).

    Source: the classifier of Transfer-Learning-Library, whose contract (tuple in training, tensor in evaluation)
    scripts written for it rely on.

    >>> import torch
    >>> backbone = nn.Conv2d(3, 16, 3)
    >>> backbone.out_features = 16
    >>> classifier = ImageClassifier(backbone, num_classes=31, bottleneck_dim=8)
    >>> predictions, features = classifier(torch.zeros(2, 3, 8, 8))
    >>> predictions.shape, features.shape, classifier.features_dim
    (torch.Size([2, 31]), torch.Size([2, 8]), 8)
    >>> classifier.eval()(torch.zeros(2, 3, 8, 8)).shape
    torch.Size([2, 31])
    """

    feature_mean: Tensor
    feature_std: Tensor
    takes_head_features: bool = False
    """Whether rows (N, features_dim) in place of images enter at the head, as features that it saw would."""

    # each part that may be left out is an argument of its own in the reference
    def __init__(
        self,
        backbone: nn.Module,
        num_classes: int,
        bottleneck_dim: int | None = 256,
        *,
        pool_layer: nn.Module | None = None,
        finetune: bool = True,
        head: nn.Module | None = None,
        dropout: float = 0.0,
        standardize: bool = False,
        bottleneck_norm: bool = True,
    ) -> None:
        super().__init__()
        width = getattr(backbone, "out_features", None)
        if not isinstance(width, int) or width < 1:
            raise ValueError(
                f"backbone: expected an attribute out_features, the number of its output channels, got {width!r} on "
                f"{type(backbone).__name__}; set backbone.out_features"
            )
        if num_classes < 1 or (bottleneck_dim is not None and bottleneck_dim < 1):
            raise ValueError(
                f"num_classes, bottleneck_dim: expected at least 1, got {num_classes} and {bottleneck_dim}"
            )
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout: expected at least 0 and below 1, got {dropout}")
        self.num_classes = num_classes
        self.features_dim: int = width if bottleneck_dim is None else bottleneck_dim
        self.finetune = finetune
        self.backbone = backbone
        self.pool_layer = GlobalMeanPool() if pool_layer is None else pool_layer
        self.standardize = standardize
        if standardize:
            self.register_buffer("feature_mean", torch.zeros(width))
            self.register_buffer("feature_std", torch.ones(width))
        self.dropout = Dropout(dropout)
        self.bottleneck: nn.Module = nn.Identity()
        if bottleneck_dim is not None:
            norm = [nn.BatchNorm1d(bottleneck_dim)] if bottleneck_norm else []
            self.bottleneck = nn.Sequential(nn.Linear(width, bottleneck_dim), *norm, nn.ReLU())
        self.head: nn.Module = nn.Linear(self.features_dim, num_classes) if head is None else head

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        if self.takes_head_features and images.ndim == 2:
            predictions: Tensor = self.head(images)
            return (predictions, images) if self.training else predictions
        features: Tensor = self.pool_layer(self.backbone(images))
        width = self.backbone.out_features
        if features.ndim != 2 or features.shape[1] != width:
            # a linear head would take tokens (N, L, D), too, and predict each of them
            raise ValueError(
                f"backbone: expected (N, {width}) behind the pooling, as its out_features says, got "
                f"{tuple(features.shape)} from {type(self.backbone).__name__}; set out_features to the number of "
                "channels that it gives, and for outputs other than (N, D) and (N, D, h, w) give a pool_layer"
            )
        return self.classify(features)

    def classify(self, features: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Applies everything after backbone and pooling: pooled features (N, D) -> the result of a call.

        With a backbone that does not learn, this is all that has to run again and again.
        """
        features = self.before_head(features)
        predictions: Tensor = self.head(features)
        return (predictions, features) if self.training else predictions

    def before_head(self, features: Tensor) -> Tensor:
        """Returns the input of the head (N, features_dim): pooled features (N, D), standardised, and the bottleneck."""
        if self.standardize:
            features = (features - self.feature_mean) / self.feature_std
        features = self.dropout(features)
        if not isinstance(self.bottleneck, nn.Identity):
            features = self.dropout(self.bottleneck(features))
        return features

    @torch.no_grad()
    def set_feature_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Sets mean and deviation (D,) to standardise by; features with a standard deviation of 0 are only centred.

        Set them before a teacher is made of the network: it takes its buffers along then.

        Raises:
            ValueError: a classifier made without ``standardize``, other shapes, a negative standard deviation, or NaN.
        """
        if not self.standardize:
            raise ValueError("set_feature_statistics: expected a classifier made with standardize=True")
        expected = self.feature_mean.shape
        if mean.shape != expected or std.shape != expected:
            raise ValueError(
                f"mean, std: expected shape {tuple(expected)}, got {tuple(mean.shape)} and {tuple(std.shape)}"
            )
        if not bool(mean.isfinite().all() and std.isfinite().all() and (std >= 0).all()):
            raise ValueError("mean, std: expected finite numbers, and no negative standard deviation")
        self.feature_mean.copy_(mean)
        self.feature_std.copy_(torch.where(std > 0, std, torch.ones_like(std)))

    def get_parameters(self, base_lr: float = 1.0) -> list[ParameterGroup]:
        """Returns optimiser groups: a fine-tuned backbone at ``base_lr`` / 10, everything else at ``base_lr``.

        Frozen parameters (``requires_grad`` False) are in none of them, and a group without any is left out.

        >>> backbone = nn.Conv2d(3, 16, 3)
        >>> backbone.out_features = 16
        >>> [group["lr"] for group in ImageClassifier(backbone, 31).get_parameters(0.01)]
        [0.001, 0.01]
        """
        pretrained = {id(parameter) for parameter in self.backbone.parameters()}
        learning = [parameter for parameter in self.parameters() if parameter.requires_grad]
        old = [parameter for parameter in learning if id(parameter) in pretrained]
        new = [parameter for parameter in learning if id(parameter) not in pretrained]
        groups: list[ParameterGroup] = [
            {"params": old, "lr": base_lr * (0.1 if self.finetune else 1.0)},
            {"params": new, "lr": base_lr},
        ]
        return [group for group in groups if group["params"]]


class GlobalMeanPool(nn.Module):
    """Mean over the pixels of feature maps, (N, D, h, w) -> (N, D); features (N, D) pass unchanged."""

    def forward(self, features: Tensor) -> Tensor:
        return features.mean(dim=(2, 3)) if features.ndim == 4 else features


def logits_of(model: nn.Module, images: Tensor) -> Tensor:
    """Returns the logits (N, K) of a classifier in either mode: from ``(logits, features, ...)`` or from ``logits``.

    Unpacking ``logits, _ = model(images)`` in evaluation mode would, for a batch of two, give row 0 without a word.

    Raises:
        TypeError: an output that is neither a tensor of two dimensions nor a tuple that starts with one.
    """
    return _logits_in(cast("Any", model(images)), model)


def logits_and_features_of(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Returns a classifier's logits (N, K) and its head's input (N, D), from ``(logits, features, ...)``.

    Raises:
        TypeError: an output that is anything else, as of an :class:`ImageClassifier` in evaluation mode.
    """
    output = cast("Any", model(images))
    logits = _logits_in(output, model)
    features = output[1] if isinstance(output, (tuple, list)) and len(output) > 1 else None
    if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != len(logits):
        got = tuple(features.shape) if isinstance(features, Tensor) else "none"
        raise TypeError(
            f"model: expected a tuple (logits, features), features of shape ({len(logits)}, D), as ImageClassifier "
            f"returns in training mode; got {got} from {type(model).__name__}"
        )
    return logits, features


def _logits_in(output: Any, model: nn.Module) -> Tensor:
    logits = output[0] if isinstance(output, (tuple, list)) and output else output
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise TypeError(
            f"model: expected logits (N, K) or a tuple that starts with them, got {got} from {type(model).__name__}"
        )
    return logits
