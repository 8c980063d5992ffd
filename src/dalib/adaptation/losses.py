"""The losses of self-ensembling, as pure distances and small modules around them.

Probabilities go in, never logits. Everything is computed in float32 (float64 stays float64), also under
autocast, because a squared difference of two nearly equal half-precision probabilities is mostly rounding error.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable

Reduction = Literal["none", "mean", "sum"]

# Below this probability the logarithm continues as its tangent: exact above, finite in value and gradient at 0.
LOG_FLOOR = 1e-6


def squared_distance(y: Tensor, y_teacher: Tensor) -> Tensor:
    r"""Computes the squared L2 norm per image, :math:`\sum_c (y_c - y'_c)^2`: the sum over classes.

    Args:
        y: (N, C) probabilities of the student.
        y_teacher: (N, C) probabilities of the teacher.

    Returns:
        (N,), each in [0, 2] for probabilities.

    Source: the per-sample distance of Transfer-Learning-Library's ``L2ConsistencyLoss``. It equals
    :func:`mean_squared_distance` times C.

    >>> squared_distance(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]))
    tensor([2.])
    """
    return (y - y_teacher).square().sum(dim=1)


def mean_squared_distance(y: Tensor, y_teacher: Tensor) -> Tensor:
    r"""Computes the mean squared difference over classes, :math:`\frac1C \sum_c (y_c - y'_c)^2`; (N, C) twice -> (N,).

    Source: the scaling of the paper's authors. A weight w here acts as w / C does on :func:`squared_distance`.

    >>> mean_squared_distance(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]))
    tensor([1.])
    """
    return (y - y_teacher).square().mean(dim=1)


def binary_cross_entropy_distance(y: Tensor, y_teacher: Tensor) -> Tensor:
    r"""Computes the binary cross-entropy per image, :math:`-\sum_c [y'_c \log y_c + (1 - y'_c) \log(1 - y_c)]`.

    (N, C), (N, C) -> (N,), at least the teacher's own binary entropy and at most about 15 C. Robust: probabilities of
    exactly 0 and 1 give finite values and, from float32 on, gradients, which float16 has no room for.
    Source: the alternative consistency loss in the code of the paper's authors; our floor is the tangent of
    the logarithm instead of an epsilon inside it, because it leaves ordinary values exact.

    >>> binary_cross_entropy_distance(torch.tensor([[0.5, 0.5]]), torch.tensor([[1.0, 0.0]]))
    tensor([1.3863])
    """
    return -(y_teacher * _floored_log(y) + (1 - y_teacher) * _floored_log(1 - y)).sum(dim=1)


def kl_divergence_distance(y: Tensor, y_teacher: Tensor) -> Tensor:
    r"""Computes the Kullback-Leibler divergence of student from teacher, :math:`\sum_c y'_c (\log y'_c - \log y_c)`.

    (N, C), (N, C) -> (N,), 0 where both agree. Finite for probabilities of exactly 0 and 1; so are its gradients
    from float32 on.
    Source: Mean Teacher (Tarvainen & Valpola 2017) compares it with the squared distance.

    >>> kl_divergence_distance(torch.tensor([[0.5, 0.5]]), torch.tensor([[1.0, 0.0]]))
    tensor([0.6931])
    """
    return (y_teacher * (_floored_log(y_teacher) - _floored_log(y))).sum(dim=1)


class ConsistencyLoss(nn.Module):
    r"""Distance of the student from the teacher on confident images: :math:`d(y, y') \cdot mask`, reduced over images.

    Args:
        distance_measure: (N, C), (N, C) -> (N,), such as :func:`squared_distance`,
            :func:`mean_squared_distance`, :func:`binary_cross_entropy_distance` or :func:`kl_divergence_distance`.
        reduction: ``'none'`` gives (N,); ``'mean'`` the sum divided by N, masked images included, so that few
            confident images weigh little; ``'sum'`` the sum.

    Call it with ``(y, y_teacher, mask=None)``:
        y: (N, C) probabilities of the student. The gradient flows here.
        y_teacher: (N, C) probabilities of the teacher, taken as a constant: no gradient flows into it.
        mask: (N,) of bool or of weights in [0, 1]; 1 counts, 0 does not. None counts every image.

    Raises:
        ValueError: an unknown reduction, no tensors, shapes other than these, an empty batch, or a distance that is not
            (N,).

    Source: equation of section 3 with the confidence threshold of section 3.2 of French et al., ICLR 2018.

    >>> loss = ConsistencyLoss(squared_distance, reduction="sum")
    >>> student = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    >>> teacher = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    >>> loss(student, teacher, torch.tensor([True, False]))
    tensor(2.)
    """

    def __init__(self, distance_measure: Callable[[Tensor, Tensor], Tensor], reduction: Reduction = "mean") -> None:
        super().__init__()
        if not callable(distance_measure):
            raise ValueError(f"distance_measure: expected a function of two tensors, got {distance_measure!r}")
        if reduction not in get_args(Reduction):
            raise ValueError(f"reduction: expected one of {get_args(Reduction)}, got {reduction!r}")
        self.distance_measure = distance_measure
        self.reduction = reduction

    def forward(self, y: Tensor, y_teacher: Tensor, mask: Tensor | None = None) -> Tensor:
        if not (isinstance(y, Tensor) and isinstance(y_teacher, Tensor)):
            raise ValueError(
                f"y, y_teacher: expected two tensors, got {type(y).__name__} and {type(y_teacher).__name__}"
            )
        if y.ndim != 2 or y.shape != y_teacher.shape or y.shape[0] == 0:
            raise ValueError(
                "y, y_teacher: expected two tensors of one shape (N, C) with N > 0, "
                f"got {tuple(y.shape)} and {tuple(y_teacher.shape)}"
            )
        if mask is not None and not isinstance(mask, Tensor):
            raise ValueError(f"mask: expected a tensor of shape ({y.shape[0]},), got {type(mask).__name__}")
        # a mask of (N, 1) would broadcast the (N,) distances to (N, N) without a word
        if mask is not None and mask.shape != y.shape[:1]:
            raise ValueError(f"mask: expected shape ({y.shape[0]},), one entry per image, got {tuple(mask.shape)}")
        with torch.autocast(y.device.type, enabled=False):
            distance = self.distance_measure(at_least_float32(y), at_least_float32(y_teacher.detach()))
            if distance.shape != y.shape[:1]:
                raise ValueError(
                    f"distance_measure: expected one distance per image, shape ({y.shape[0]},), "
                    f"got {tuple(distance.shape)}; reduce over classes inside it"
                )
            if mask is not None:
                distance = distance * mask.detach().to(distance.dtype)
            if self.reduction == "mean":
                return distance.mean()
            if self.reduction == "sum":
                return distance.sum()
            return distance

    def extra_repr(self) -> str:
        return f"{getattr(self.distance_measure, '__name__', self.distance_measure)}, reduction={self.reduction!r}"


class L2ConsistencyLoss(ConsistencyLoss):
    r""":class:`ConsistencyLoss` with the squared L2 norm per image: the SUM over classes of the squared difference.

    Shapes, reductions, gradient and errors are those of :class:`ConsistencyLoss`. With ``'mean'`` it is
    :math:`\frac1N \sum_i mask_i \Vert y^i - y'^i \Vert_2^2`. For the paper's scaling, the mean over classes, use
    ``ConsistencyLoss(mean_squared_distance)`` or divide the weight by C.

    >>> L2ConsistencyLoss()(torch.tensor([[1.0, 0.0], [0.5, 0.5]]), torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    tensor(1.2500)
    """

    def __init__(self, reduction: Reduction = "mean") -> None:
        super().__init__(squared_distance, reduction)


class ClassBalanceLoss(nn.Module):
    r"""Keeps the student from forgetting classes: binary cross-entropy of its batch mean against a class prior.

    .. math:: \bar y_c = \frac1N \sum_i y^i_c, \qquad
              loss = -\frac1C \sum_c [u_c \log \bar y_c + (1 - u_c) \log(1 - \bar y_c)]

    Args:
        num_classes: C, at least 2.
        prior: (C,) the classes' shares u in the target, non-negative with sum 1; None is uniform, 1 / C each. A
            uniform prior hurts where the target's classes are imbalanced: give the shares if you know them.

    Call it with ``(y)``, (N, C) probabilities; the gradient flows into them. Returns a scalar, finite in value and
    gradient even for probabilities of exactly 0 and 1, in bfloat16, and under autocast, where torch's own
    ``binary_cross_entropy`` raises on CUDA. A gradient may reach 10^6 / (N C), and float16 ends at 65504: it overflows
    where all N agree on a class and N C is below 16. It is not clipped, so that a loss scaler sees it.

    The mean over N is over this batch. Across several processes give it the mean of their probabilities, (1, C):
    the loss of a mean is not the mean of losses.

    Raises:
        ValueError: fewer than 2 classes, a prior of another shape or not a distribution, or y no tensor (N > 0, C).

    Source: section 3.4 of French et al., ICLR 2018. The authors sum over classes: their weight w is w C here.

    >>> loss = ClassBalanceLoss(num_classes=2)
    >>> balanced, collapsed = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    >>> round(loss(balanced).item(), 4), round(loss(collapsed).item(), 4)
    (0.6931, 7.4078)
    """

    prior: Tensor

    def __init__(self, num_classes: int, prior: Tensor | None = None) -> None:
        super().__init__()
        if num_classes < 2:
            raise ValueError(f"num_classes: expected at least 2, got {num_classes}")
        self.num_classes = num_classes
        # not persistent: a prior is a setting, and a loss with learnt-looking state would surprise a checkpoint
        self.register_buffer("prior", as_prior(prior, num_classes), persistent=False)

    def forward(self, y: Tensor) -> Tensor:
        _require_tensor(y)
        if y.ndim != 2 or y.shape[1] != self.num_classes or y.shape[0] == 0:
            raise ValueError(f"y: expected shape (N > 0, {self.num_classes}), got {tuple(y.shape)}")
        with torch.autocast(y.device.type, enabled=False):
            mean = at_least_float32(y).mean(dim=0)
            # the prior follows y's device, so that the loss works without a .to(device) of its own
            prior = self.prior.to(mean)
            return -(prior * _floored_log(mean) + (1 - prior) * _floored_log(1 - mean)).mean()

    def set_prior(self, prior: Tensor) -> None:
        """Takes these class shares (C,) from the next call on.

        Raises:
            ValueError: another shape, or not a distribution.
        """
        self.prior = as_prior(prior, self.num_classes).to(self.prior.device)

    def extra_repr(self) -> str:
        return f"num_classes={self.num_classes}"


def information_loss(y: Tensor, prior: Tensor | None = None, mean: Tensor | None = None) -> Tensor:
    r"""Computes minus the mutual information of image and predicted class, least for certain and diverse predictions.

    .. math:: loss = \frac1N \sum_i H(y^i) - H(\bar y) - \sum_c \bar y_c \log(C u_c), \qquad
              H(p) = -\sum_c p_c \log p_c

    With a uniform prior u the last term is 0. With another prior, classes are drawn to its shares: all but the first
    term is :math:`KL(\bar y \Vert u) - \log C`.

    Args:
        y: (N > 0, C) probabilities; the gradient flows into them.
        prior: (C,) the classes' shares u in the target, which sum to 1; None is uniform. The sum is not checked,
            because that would wait for a GPU at every step.
        mean: (C,) the mean prediction, if it is over more images than y, as with several processes; None is y's.

    Returns:
        A scalar of at least -log C, in nats. It is least where every prediction is certain and the classes have
        the shares of the prior.

    Raises:
        ValueError: no tensor, or another shape.

    Source: Bridle et al. 1991, Krause et al. 2010; for adaptation Shi & Sha 2012, and SHOT (Liang et al. 2020). The
    prior is the regularised form of Krause et al. Here it may take the place of the class-balance loss, which asks for
    frequent classes alone.

    >>> certain = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> round(information_loss(certain).item(), 4), round(information_loss(certain[:1]).item(), 4)
    (-0.6931, 0.0)
    """
    _require_tensor(y)
    if y.ndim != 2 or y.shape[0] == 0:
        raise ValueError(f"y: expected shape (N > 0, C), got {tuple(y.shape)}")
    if prior is not None and prior.shape != y.shape[1:]:
        raise ValueError(f"prior: expected shape ({y.shape[1]},), got {tuple(prior.shape)}")
    if mean is not None and mean.shape != y.shape[1:]:
        raise ValueError(f"mean: expected shape ({y.shape[1]},), got {tuple(mean.shape)}")
    with torch.autocast(y.device.type, enabled=False):
        y = at_least_float32(y)
        mean = y.mean(dim=0) if mean is None else at_least_float32(mean)
        drawn = _floored_log(mean)
        if prior is not None:
            drawn = drawn - _floored_log(prior.to(mean) * len(prior))
        return (mean * drawn).sum() - (y * _floored_log(y)).sum(dim=1).mean()


def as_prior(prior: Tensor | None, num_classes: int) -> Tensor:
    """Returns the classes' shares (C,) float32 without gradient; None is uniform.

    Raises:
        ValueError: another shape, or not a distribution.
    """
    if prior is None:
        return torch.full((num_classes,), 1 / num_classes)
    prior = torch.as_tensor(prior, dtype=torch.float32).detach().clone()
    if prior.shape != (num_classes,):
        raise ValueError(f"prior: expected shape ({num_classes},), got {tuple(prior.shape)}")
    if not (bool((prior >= 0).all()) and abs(prior.sum().item() - 1) < 1e-3):
        raise ValueError(
            f"prior: expected non-negative shares that sum to 1, got {prior.tolist()}; divide class counts by their sum"
        )
    return prior


def at_least_float32(values: Tensor) -> Tensor:
    """Converts half precision to float32; returns float32 and float64 as they are."""
    return values if values.dtype == torch.float64 else values.float()


def _require_tensor(y: object) -> None:
    if not isinstance(y, Tensor):
        raise ValueError(
            f"y: expected a tensor of probabilities (N, C), got {type(y).__name__}; of what an ImageClassifier returns "
            "in training mode, (predictions, features), give the softmax of the first"
        )


def _floored_log(probability: Tensor) -> Tensor:
    """Computes the logarithm, continued below LOG_FLOOR by its tangent there."""
    # one branch for each side: a tangent of slope 10^6 that cancels above the floor leaves its rounding in the gradient
    tangent = math.log(LOG_FLOOR) + (probability - LOG_FLOOR) / LOG_FLOOR
    return torch.where(probability <= LOG_FLOOR, tangent, probability.clamp_min(LOG_FLOOR).log())
