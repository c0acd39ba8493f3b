"""Whoever calls a public function can import what it takes."""

import inspect
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, get_args, get_origin

import pytest

import uncollapse

FUNCTIONS = [name for name in uncollapse.__all__ if inspect.isfunction(getattr(uncollapse, name))]


def classes_in(annotation: Any) -> Iterator[type]:
    """The classes of this package in an annotation, however deep."""
    if isinstance(annotation, list | tuple):  # arguments of a Callable
        for one in annotation:
            yield from classes_in(one)
    elif get_args(annotation):
        yield from classes_in((get_origin(annotation), *get_args(annotation)))
    elif inspect.isclass(annotation) and annotation.__module__.partition(".")[0] == "uncollapse":
        yield annotation


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_a_public_function_takes_is_public(name: str) -> None:
    public = {id(getattr(uncollapse, other)) for other in uncollapse.__all__}
    for argument in inspect.signature(getattr(uncollapse, name)).parameters.values():
        assert argument.annotation is not argument.empty, argument
        assert not isinstance(argument.annotation, str), f"{name}: {argument} cannot be looked into"
        for found in classes_in(argument.annotation):
            assert id(found) in public, f"{name}({argument}) takes {found.__module__}.{found.__qualname__}"


def test_the_walk_finds_what_is_deep_and_there_is_much_to_find() -> None:
    given = [
        one.annotation
        for name in FUNCTIONS
        for one in inspect.signature(getattr(uncollapse, name)).parameters.values()
    ]
    assert len(set(classes_in(given))) > 20
    deep = dict[str, list[uncollapse.Plan | None]]
    assert list(classes_in(deep)) == [uncollapse.Plan]
    assert uncollapse.Plan is not uncollapse.StorePlan
    assert uncollapse.Settings is not uncollapse.ExplainSettings


def test_names_are_imported_when_they_are_used() -> None:
    code = "import sys, uncollapse; print(*(name for name in sys.modules if name.startswith('uncollapse')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["uncollapse"]
