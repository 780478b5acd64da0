"""The page of the module has every public name, and what it says of each is whole."""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any, Protocol

import pytest
from sphinx.pycode import ModuleAnalyzer

import chapters
import normtutorial

PAGE = (chapters.ROOT / "book" / "reference" / "api.md").read_text("utf-8")
OURS = {"checks", "cli", "commands", "__main__"}  # for the other modules; the command line
MODULES = [m.name for m in pkgutil.iter_modules(normtutorial.__path__)]
PUBLIC = [f"normtutorial.{name}" for name in sorted({*MODULES, "models.original"} - OURS)]


def names(module: str) -> list[str]:
    """What is public in a module, but for modules in it."""
    found = importlib.import_module(module)
    return [n for n in found.__all__ if not isinstance(getattr(found, n), ModuleType)]


def on_the_page() -> Iterator[str]:
    """The whole names that the directives of the page show. Sphinx leaves out a name of ``__all__``
    that says nothing of itself."""
    for kind, name, rest in re.findall(
        r"^\.\. (automodule|autodata|py:data):: (\S+)\n((?: +.*\n)*)", PAGE, re.MULTILINE
    ):
        if kind != "automodule":
            yield name
            continue
        asked = re.search(r":members:((?:.*\n(?!   :))*.*)", rest)
        listed = re.findall(r"\w+", asked[1]) if asked else []
        says = {of for _, of in ModuleAnalyzer.for_module(name).find_attr_docs()}
        module = importlib.import_module(name)
        for member in listed or names(name):
            value = getattr(module, member)
            if member in says or (callable(value) and value.__doc__):
                yield f"{name}.{member}"


def documented() -> dict[str, Any]:
    """The functions and classes on the page, by the names of where they are written."""
    found = {}
    for name in on_the_page():
        module, _, member = name.rpartition(".")
        value = getattr(importlib.import_module(module), member)
        if inspect.isfunction(value) or inspect.isclass(value):
            found[f"{value.__module__}.{value.__qualname__}"] = value
    return found


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_is_on_the_page(module):
    shown = [name.rpartition(".") for name in on_the_page()]
    for name in names(module):
        same = [getattr(importlib.import_module(where), n) for where, _, n in shown if n == name]
        value = getattr(importlib.import_module(module), name)
        assert any(one is value for one in same), f"{module}.{name} is not in api.md"


def test_the_first_names_are_on_the_page():
    assert {*normtutorial.__all__} <= {name.rpartition(".")[2] for name in on_the_page()}


def is_told(argument: str, said: str) -> bool:
    """Whether a docstring has an entry for the argument, of itself or of several."""
    return bool(re.search(rf"^ *(?:\w+, )*{argument}(?:, \w+)*: ", said, re.MULTILINE))


def arguments(public: Any) -> list[str]:
    """What it takes; nothing where it is made as its base is, torch's, or not at all."""
    own = {"__init__", "__new__"} & {*getattr(public, "__dict__", {})}
    if inspect.isclass(public) and (not own or Protocol in public.__bases__):
        return []
    return [*inspect.signature(public).parameters]


def test_what_is_public_says_what_each_argument_is():
    untold = [
        f"{name}({argument})"
        for name, public in documented().items()
        for argument in arguments(public)
        if not is_told(argument, inspect.getdoc(public))
    ]
    assert not untold


def test_what_is_public_has_an_example_unless_it_is_only_handed_out():
    without = [
        name
        for name, public in documented().items()
        if ">>> " not in inspect.getdoc(public)
        and not (inspect.isclass(public) and issubclass(public, (Exception, tuple)))
    ]
    assert not without


def methods(public: Any) -> Iterator[Any]:
    """The function itself, or what a class has of its own for its users."""
    if not inspect.isclass(public):
        yield public
        return
    for name, member in vars(public).items():
        member = member.fget if isinstance(member, property) else member
        member = getattr(member, "__func__", member)
        if inspect.isfunction(member) and not name.startswith("_"):
            yield inspect.unwrap(member)


def test_what_raises_an_error_says_so():
    silent = [
        f"{name}: {method.__name__}"
        for name, public in documented().items()
        for method in methods(public)
        if re.search(r"^ +raise \w", inspect.getsource(method), re.MULTILINE)
        and "Raises:" not in (inspect.getdoc(method) or "") + inspect.getdoc(public)
    ]
    assert not silent


def test_what_takes_or_gives_a_tensor_says_of_which_shape():
    untold = [
        name
        for name, public in documented().items()
        if inspect.isfunction(public) and "Tensor" in str(inspect.signature(public))
        if not re.search(r"[Ss]hape|\(N|\([A-Z],|\(T,\)", inspect.getdoc(public))
    ]
    assert not untold
