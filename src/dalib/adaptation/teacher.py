"""The teacher: the exponential moving average of a student's weights."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from operator import is_
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Buffers = Literal["own", "copy", "ema"]

# an average and the new value that goes into it
_Pairs = list[tuple[Tensor, Tensor]]
_Layout = tuple[torch.Size, torch.dtype, torch.device]


class EmaTeacher:
    r"""Exponential moving average of a student: :math:`\theta'_t = \alpha\,\theta'_{t-1} + (1 - \alpha)\,\theta_t`.

    The teacher starts as a copy of the student. Call ``teacher(x)`` for its output, without gradient, and
    ``teacher.update()`` after each optimiser step.

    Args:
        model: the student. May be plain, compiled, or wrapped in DistributedDataParallel or DataParallel; the
            teacher is always a bare copy of the module inside. Its mode (training or evaluation) is copied too.
        alpha: decay in [0, 1]. 0 copies the student at each update, 1 never changes the teacher.
        buffers: treatment of buffers, BatchNorm's running statistics and counters among them, by ``update``.
            ``'own'`` (the paper's): nothing; the teacher's forward in training mode keeps its own statistics, of
            what the teacher sees. ``'copy'``: takes the student's. ``'ema'``: averages floating-point buffers as
            it does parameters and copies integer ones.
            With ``'copy'`` and ``'ema'`` the student's statistics are of what
            the student saw last, which mixes source and target.
        warmup: start with a shorter memory, :math:`\min(\alpha, 1 - 1 / (t + 1))` after t updates, so that the
            student's first, random weights are soon forgotten. The first update then copies the student.

    Raises:
        ValueError: alpha outside [0, 1], or an unknown ``buffers``.
        TypeError: a student that is no module, or that ``copy.deepcopy`` cannot copy.
        RuntimeError: from ``update``, when student and teacher no longer have the same parameters by name.

    ``update`` works in place, with fused kernels and without a second copy of the weights, and pairs tensors by name.
    Tied parameters stay tied and are averaged once. Keep the weights in float32 and use autocast for speed: a
    bfloat16 weight is too coarse to take in 1% of a small difference.

    Source: French et al., ICLR 2018, after Tarvainen & Valpola 2017. The warm-up is the latter's.

    >>> student = nn.Linear(1, 1, bias=False)
    >>> teacher = EmaTeacher(student, alpha=0.9)
    >>> _ = student.weight.data.fill_(1.0), teacher.module.weight.data.fill_(0.0)
    >>> teacher.update()
    >>> teacher(torch.ones(1, 1))
    tensor([[0.1000]])
    """

    def __init__(self, model: nn.Module, alpha: float, *, buffers: Buffers = "own", warmup: bool = False) -> None:
        if buffers not in get_args(Buffers):
            raise ValueError(f"buffers: expected one of {get_args(Buffers)}, got {buffers!r}")
        if not isinstance(model, nn.Module):
            raise TypeError(f"model: expected a torch.nn.Module, the student, got {type(model).__name__}")
        self.set_alpha(alpha)
        self.buffers = buffers
        self.warmup = warmup
        #: How many updates there were. The warm-up depends on it, so a checkpoint must keep it beside state_dict().
        self.updates = 0
        self._student = model
        self._module = _copy_of(bare_module(model)).requires_grad_(False)
        self._pairing: _Pairing | None = None

    @property
    def module(self) -> nn.Module:
        """The bare teacher, never wrapped, in whatever wrapper the student came."""
        return self._module

    def set_alpha(self, alpha: float) -> None:
        """Changes the decay from the next update on; alpha in [0, 1]."""
        if not 0 <= alpha <= 1:  # NaN fails this too
            raise ValueError(f"alpha: expected a decay in [0, 1], got {alpha}")
        self.alpha = alpha

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Returns the teacher's output, whatever the student's forward returns in this mode; never with gradient."""
        with torch.no_grad():
            return self._module(*args, **kwargs)

    @torch.no_grad()
    def update(self) -> None:
        """Moves the teacher towards the student, in place. Call it after the optimiser's step."""
        alpha = min(self.alpha, 1 - 1 / (self.updates + 1)) if self.warmup else self.alpha
        student = bare_module(self._student)
        # everything is paired before anything is averaged: a refusal leaves the teacher as it was
        if self._pairing is None or not self._pairing.holds(self._module, student):
            self._pairing = _pairing_of(self._module, student)
        self._pairing.average_parameters(alpha)
        if self.buffers != "own":
            for average, new in self._pairing.buffers:
                if self.buffers == "copy" or not average.is_floating_point():
                    average.copy_(new)
                else:
                    # what is equal stays: the average of two infinities, as in an attention mask, would be NaN
                    average.copy_(torch.where(average == new, average, average.lerp(new.to(average), 1 - alpha)))
        self.updates += 1

    def train(self, mode: bool = True) -> EmaTeacher:
        """Sets training mode (the method's: dropout on, batch statistics), or evaluation mode with ``mode=False``."""
        self._module.train(mode)
        return self

    def eval(self) -> EmaTeacher:
        """Sets evaluation mode."""
        return self.train(False)

    def state_dict(self) -> dict[str, Any]:
        """Returns parameters and buffers under the bare student's keys, without ``alpha`` and ``updates``."""
        return self._module.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Loads what :meth:`state_dict` returned, or a bare student's; RuntimeError where keys or shapes differ."""
        self._module.load_state_dict(state_dict)

    def __repr__(self) -> str:
        return f"EmaTeacher(alpha={self.alpha}, buffers={self.buffers!r}, warmup={self.warmup}, updates={self.updates})"


def make_teacher(
    student: nn.Module, alpha: float, *, buffers: Buffers = "own", warmup: bool = False, dropout: bool = True
) -> EmaTeacher:
    """Returns an average of the student that teaches: in training mode, with or without dropout.

    Args:
        student, alpha, buffers, warmup: those of :class:`EmaTeacher`.
        dropout: whether dropout stays on in the teacher.
    """
    teacher = EmaTeacher(student, alpha, buffers=buffers, warmup=warmup).train()
    if not dropout:
        stop_dropout(teacher.module)
    return teacher


def state_of(student: nn.Module, average: EmaTeacher | None = None) -> dict[str, Any]:
    """Returns the state of a method's networks, with the average's number of updates, which its warm-up depends on."""
    state = {"student": student.state_dict()}
    if average is None:
        return state
    return {**state, "teacher": average.state_dict(), "teacher_updates": average.updates}


def load_state(student: nn.Module, average: EmaTeacher | None, state: dict[str, Any]) -> None:
    """Restores what :func:`state_of` returned."""
    student.load_state_dict(state["student"])
    if average is not None:
        average.load_state_dict(state["teacher"])
        average.updates = state["teacher_updates"]


def stop_dropout(model: nn.Module) -> None:
    """Puts the dropout of a network, also that of whole paths, in evaluation mode, and leaves the rest as it is."""
    of_paths = ("DropPath", "StochasticDepth")  # timm's and torchvision's, which share no class
    for module in model.modules():
        # what all of torch's dropouts derive from
        if isinstance(module, nn.modules.dropout._DropoutNd) or type(module).__name__ in of_paths:
            module.eval()


def bare_module(model: nn.Module) -> nn.Module:
    """Returns the module inside torch.compile's and the parallel wrappers, however nested; a plain module as it is.

    >>> linear = nn.Linear(1, 1)
    >>> bare_module(torch.compile(nn.DataParallel(linear))) is linear
    True
    """
    while True:
        if isinstance(model, (nn.parallel.DistributedDataParallel, nn.DataParallel)):
            model = model.module
        elif isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
            model = inner
        else:
            return model


def _copy_of(student: nn.Module) -> nn.Module:
    # The older weight_norm leaves its computed weight, part of a graph, as a plain attribute; deepcopy refuses such
    # tensors. They are recomputed in each forward, so a detached copy stands in for them.
    memo: dict[int, Any] = {
        id(value): value.detach().clone()
        for module in student.modules()
        for value in vars(module).values()
        if isinstance(value, Tensor) and not value.is_leaf
    }
    try:
        return copy.deepcopy(student, memo)
    except Exception as error:
        raise TypeError(
            f"model: the teacher starts as a copy of the student, but copy.deepcopy({type(student).__name__}) failed "
            f"with {type(error).__name__}: {error}. Keep handles, locks and closures out of the module, or give it a "
            "__deepcopy__"
        ) from error


@dataclass(frozen=True)
class _Pairing:
    """Pairs of the teacher's and the student's tensors of one name, in groups that one fused call averages.

    Pairing all names costs twice as much as averaging a small network, so a pairing is kept for as long as it
    :meth:`holds`: as long as every module holds the same objects under the same keys.
    """

    members: list[object]
    """:func:`_members` of both. They are kept alive here, so that nothing new can take the identity of what is gone."""
    tensors: list[Tensor]
    """The tensors among ``members``."""
    layouts: list[_Layout]
    """Layouts of ``tensors``, because ``.data`` and ``.to()`` change them without making a new parameter."""
    fused: tuple[tuple[list[Tensor], list[Tensor]], ...]
    """Averages and new values of one floating dtype and device."""
    converted: _Pairs
    """Parameters of different dtype or device, or not floating point."""
    buffers: _Pairs

    def holds(self, teacher: nn.Module, student: nn.Module) -> bool:
        """Returns whether :func:`_pairing_of` would still return the same."""
        members = _members(teacher) + _members(student)
        same = len(members) == len(self.members) and all(map(is_, members, self.members))  # == would compare values
        return same and [_layout(tensor) for tensor in self.tensors] == self.layouts

    def average_parameters(self, alpha: float) -> None:
        """Computes average <- alpha * average + (1 - alpha) * new in place; copies what is not floating point."""
        if alpha == 1:  # 0 times an infinite difference would be NaN
            return
        for average, new in self.converted:
            if average.is_floating_point() or average.is_complex():
                average.lerp_(new.to(average), 1 - alpha)
            else:
                average.copy_(new)
        for averages, news in self.fused:
            torch._foreach_lerp_(averages, news, 1 - alpha)


def _pairing_of(teacher: nn.Module, student: nn.Module) -> _Pairing:
    """Pairs parameters and buffers; RuntimeError where names or shapes differ."""
    parameters = _paired(teacher.named_parameters(), student.named_parameters(), "parameters")
    buffers = _paired(teacher.named_buffers(), student.named_buffers(), "buffers")
    fused: dict[tuple[torch.dtype, torch.device], tuple[list[Tensor], list[Tensor]]] = {}
    converted: _Pairs = []
    for average, new in parameters:
        alike = average.dtype == new.dtype and average.device == new.device
        if alike and (average.is_floating_point() or average.is_complex()):
            averages, news = fused.setdefault((average.dtype, average.device), ([], []))
            averages.append(average)
            news.append(new)
        else:
            converted.append((average, new))
    members = _members(teacher) + _members(student)
    tensors = [member for member in members if isinstance(member, Tensor)]
    layouts = [_layout(tensor) for tensor in tensors]
    return _Pairing(members, tensors, layouts, tuple(fused.values()), converted, buffers)


def _members(root: nn.Module) -> list[object]:
    """Returns the dictionaries of all modules below ``root``: each, which identifies owner and kind, its names, its
    values."""
    members: list[object] = []
    found, pending = {root}, [root]
    while pending:
        module = pending.pop()
        for held in (module._parameters, module._buffers, module._modules):
            if held:
                members.append(held)
                members += held
                members += held.values()
        for child in module._modules.values():
            if child is not None and child not in found:
                found.add(child)
                pending.append(child)
    return members


def _layout(tensor: Tensor) -> _Layout:
    return tensor.shape, tensor.dtype, tensor.device


def _paired(teacher: Iterable[tuple[str, Tensor]], student: Iterable[tuple[str, Tensor]], what: str) -> _Pairs:
    averages, news = dict(teacher), dict(student)
    if averages.keys() != news.keys():
        raise RuntimeError(
            f"the {what} of student and teacher differ: "
            f"only the student has {sorted(news.keys() - averages.keys())}, "
            f"only the teacher has {sorted(averages.keys() - news.keys())}. "
            "Make the teacher after the student has its final shape"
        )
    reshaped = [name for name, average in averages.items() if average.shape != news[name].shape]
    if reshaped:
        raise RuntimeError(
            f"the {what} of student and teacher differ in shape: {reshaped}. "
            "Make the teacher after the student has its final shape"
        )
    return [(average, news[name]) for name, average in averages.items()]
