"""The settings of a method: a class of plain values in the method's file, read without torch.

The command line offers every setting of every method, and prints its help in a tenth of a second; to import a method
imports torch, which takes seconds. So :func:`settings_in` parses a method's file and runs a single statement of it, the
class that is decorated with :func:`settings`. When the file is imported later, :func:`settings` returns the class that
is there already: there is one class, however it was come by.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.abc import InspectLoader
from importlib.util import find_spec
from typing import Any, Literal, TypeVar, dataclass_transform, get_type_hints

from dalib.core.checked_settings import check_kinds

Made = TypeVar("Made")

_NAMES: dict[str, Any] = {"Literal": Literal}
"""Names that a class of settings may use beside the built-in ones."""

_made: dict[tuple[str, str], Any] = {}


@dataclass_transform(frozen_default=True)
def settings(made: type[Made]) -> type[Made]:
    """Makes a class of annotated defaults the settings of the method in whose file it stands.

    The class becomes a frozen dataclass that refuses values of another kind
    (:func:`dalib.core.checked_settings.check_kinds`). Its docstring, with an ``Attributes:`` entry for each setting, is
    the help of the command line and the reference page. Annotations and defaults may use built-in names and
    ``Literal``.

    Raises:
        TypeError: an annotation or a default with another name, or a setting without a default.
    """
    key = made.__module__, made.__qualname__
    if key not in _made:
        try:
            made.__annotations__ = get_type_hints(made, _NAMES)
        except NameError as error:
            raise TypeError(f"{made.__qualname__}: {error}; settings may use built-in names and Literal") from None
        if without := [name for name in made.__annotations__ if name not in vars(made)]:
            raise TypeError(f"{made.__qualname__}.{without[0]}: expected a default, as every setting has")
        made.__post_init__ = check_kinds  # type: ignore[attr-defined]
        # a home without torch: the parser imports the module of a class to look at it
        made.__module__ = __name__
        globals()[made.__name__] = _made[key] = dataclass(frozen=True)(made)
    return _made[key]  # type: ignore[no-any-return]


@cache
def settings_in(module: str) -> type | None:
    """Returns the class of settings in a method's file, and None if it has none; does not import the file.

    Args:
        module: name of the file's module, such as ``dalib.adaptation.fixmatch``.

    Raises:
        ModuleNotFoundError: there is no such module.
        TypeError: the class uses a name that settings may not use.

    >>> settings_in("dalib.adaptation.fixmatch")().weight
    1.0
    """
    spec = find_spec(module)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)
    text = spec.loader.get_source(module) if isinstance(spec.loader, InspectLoader) else None
    if text is None:  # a program that is frozen without its source
        own = [each for each in vars(import_module(module)).values() if any(each is made for made in _made.values())]
        return own[0] if own else None
    for statement in ast.parse(text).body:
        if isinstance(statement, ast.ClassDef) and any(_is_ours(each) for each in statement.decorator_list):
            names = {"__name__": module, "settings": settings, **_NAMES}
            flags = annotations.compiler_flag
            code = compile(ast.Module([statement], []), str(spec.origin), "exec", flags, dont_inherit=True)
            try:
                exec(code, names)  # noqa: S102 - a class of this package, which importing the file would run too
            except NameError as error:
                raise TypeError(f"{module}: {error}; settings may use built-in names and Literal") from None
            return names[statement.name]  # type: ignore[no-any-return]
    return None


def _is_ours(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Name) and decorator.id == settings.__name__
