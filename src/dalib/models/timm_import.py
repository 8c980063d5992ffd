"""Import of timm without torch's compiler, which takes as long again and which prediction has no use for."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_COMPILER = "torch._dynamo"
_UTILS = f"{_COMPILER}.utils"


def import_timm() -> Any:
    """Imports timm on use, because it takes seconds; much of it has no types."""
    if "timm" in sys.modules or _COMPILER in sys.modules:
        return importlib.import_module("timm")
    with _compiler_on_use():
        return importlib.import_module("timm")


@contextmanager
def _compiler_on_use() -> Iterator[None]:
    """Imports torch's compiler inside the block only if more of it is used than two functions.

    torchvision, which timm imports, takes one of them, and calls it later. timm has a method of one network passed by
    with the other. Whatever else is asked for comes from the real compiler, which is imported then.
    """
    compiler, utils = _OnUse(_COMPILER), _OnUse(_UTILS)
    compiler.__path__ = _place_of(_COMPILER)  # of what is imported below it meanwhile
    utils.is_compile_supported = lambda *args, **kwargs: _real(_UTILS).is_compile_supported(*args, **kwargs)
    compiler.disable = _passed_by
    sys.modules.update({_COMPILER: compiler, _UTILS: utils})
    try:
        yield
    finally:
        _withdraw()


class _OnUse(ModuleType):
    """Stands for a module that is imported when something is taken from it."""

    is_compile_supported: Callable[..., Any]
    disable: Callable[..., Any]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # of the import system, which asks what is not there
            raise AttributeError(name)
        return getattr(_real(self.__name__), name)


def _passed_by(function: Callable[..., Any] | None = None, recursive: bool = True, **options: Any) -> Any:
    """Does what the compiler's ``disable`` does for a function, when that is called."""
    if function is None:
        return functools.partial(_passed_by, recursive=recursive, **options)
    disabled: Callable[..., Any] | None = None

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal disabled
        if disabled is None:
            disabled = _real(_COMPILER).disable(function, recursive, **options)
        return disabled(*args, **kwargs)

    return call


def _place_of(package: str) -> list[str]:
    spec = importlib.util.find_spec(package)
    return [] if spec is None else list(spec.submodule_search_locations or ())


def _real(name: str) -> Any:
    _withdraw()
    return importlib.import_module(name)


def _withdraw() -> None:
    for name in (_COMPILER, _UTILS):
        if isinstance(sys.modules.get(name), _OnUse):
            del sys.modules[name]
