"""Search spaces: the parameters of a family of networks, and how one of them is built.

A space is one file here (``nas/spaces/convnet.py`` is the space ``convnet``), or an object of your own, named
``package.module:object``; a class is instantiated without arguments. It has

    parameters                                  a sequence of Choice and Range
    build(choices, *, input_shape, outputs)     a torch.nn.Module; of the two keywords, only those it takes are passed
    canonical(choices)                          optional: equal networks get equal choices

Nothing here imports torch: a space does so inside ``build``.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from profiles import registry
from profiles.errors import InputError, TrialError, one_line
from profiles.records import digest_of

if TYPE_CHECKING:
    from torch import nn

Value = str | int | float | bool
Choices = dict[str, Value]


@dataclass(frozen=True, slots=True)
class Choice:
    """One of ``values``; ``ordered`` says that neighbours in the list resemble each other."""

    name: str
    values: tuple[Value, ...]
    ordered: bool = False

    @property
    def accepted(self) -> str:
        return "one of " + ", ".join(map(repr, self.values))

    def accepts(self, value: object) -> bool:
        return any(value == known and isinstance(value, bool) == isinstance(known, bool) for known in self.values)

    def normal(self, value: Value) -> Value:
        """The value as the list spells it, so that 3.0 and 3 are one."""
        return self.values[self.values.index(value)]


@dataclass(frozen=True, slots=True)
class Range:
    """A number from ``low`` to ``high``, both included; ``log`` says that ratios count, not differences."""

    name: str
    low: float
    high: float
    log: bool = False
    integer: bool = False

    @property
    def accepted(self) -> str:
        return f"{'a whole' if self.integer else 'a'} number from {self.low} to {self.high}"

    def accepts(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        return self.low <= value <= self.high and (not self.integer or float(value).is_integer())

    def normal(self, value: Value) -> Value:
        return int(value) if self.integer else float(value)


Parameter = Choice | Range


class SearchSpace(Protocol):
    """The extension point. ``canonical`` may be missing; see the functions of this module, which allow for that."""

    parameters: Sequence[Parameter]

    def build(self, choices: Choices, *, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        """The untrained network for inputs of ``input_shape`` (no batch axis) and ``outputs`` classes or targets."""
        ...


def find_space(name: str) -> SearchSpace:
    """The space of that name; "convnet@fp32,int8" is one with a precision, see ``nas.precision``.

    Raises InputError where there is none, or where it is not a usable space.
    """
    name, _, precisions = name.partition("@")
    if precisions:
        from nas.precision import WithPrecision

        return WithPrecision(find_space(name), precisions.split(","))
    space = registry.find("nas.spaces", name)
    if isinstance(space, type):
        try:
            space = space()
        except Exception as error:
            given = f"{type(error).__name__}: {error}"
            raise InputError(f"space {name}: {given}; accepted: a class without arguments") from error
    parameters = getattr(space, "parameters", None)
    if not callable(getattr(space, "build", None)) or not isinstance(parameters, Sequence) or not parameters:
        raise InputError(f"space {name}: needs `parameters`, a sequence of Choice and Range, and `build(choices)`")
    for parameter in parameters:
        try:
            _check_parameter(name, parameter)
        except TypeError as error:
            raise InputError(f"space {name}: {parameter!r}: {error}") from error
    names = [parameter.name for parameter in parameters]
    if len(set(names)) < len(names):
        raise InputError(f"space {name}: two parameters have one name: given {', '.join(names)}")
    return space


def check(space: SearchSpace, choices: Mapping[str, Any]) -> None:
    """Raises InputError, naming parameter, given and accepted, unless ``choices`` has one fit value for each."""
    known = {parameter.name: parameter for parameter in space.parameters}
    for name in choices:
        if name not in known:
            raise InputError(f"choices: {name}: no such parameter; there are: {', '.join(known)}")
    for name, parameter in known.items():
        if name not in choices:
            raise InputError(f"choices: {name}: missing; accepted: {parameter.accepted}")
        if not parameter.accepts(choices[name]):
            raise InputError.of("choices", name, choices[name], parameter.accepted)


def canonical(space: SearchSpace, choices: Mapping[str, Any]) -> Choices:
    """Checked choices in the order of ``parameters``, the same for all that give the same candidate.

    Raises InputError as ``check`` does, and where the space's own ``canonical`` fails.
    """
    check(space, choices)
    normal = {parameter.name: parameter.normal(choices[parameter.name]) for parameter in space.parameters}
    function = getattr(space, "canonical", None)
    if function is None:
        return normal
    try:
        normal = dict(function(dict(normal)))
    except InputError:  # of the space within one with a precision
        raise
    except Exception as error:  # the user's code: anything
        raise InputError(f"the space's canonical failed: {one_line(error)}") from error
    check(space, normal)
    return {parameter.name: normal[parameter.name] for parameter in space.parameters}


def digest(space_name: str, choices: Mapping[str, Any]) -> str:
    """The identity of a candidate: sha256 of the space's name and the canonical choices."""
    return digest_of({"space": space_name.partition("@")[0], "choices": canonical(find_space(space_name), choices)})


def build(space: SearchSpace, choices: Mapping[str, Any], input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """The untrained network. Raises InputError on unfit choices, TrialError where the space's own code fails or gives
    something else.
    """
    arguments: dict[str, Any] = {"input_shape": input_shape, "outputs": outputs}
    taken = inspect.signature(space.build).parameters.values()
    if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in taken):
        arguments = {name: arguments[name] for name in arguments.keys() & {parameter.name for parameter in taken}}
    chosen = canonical(space, choices)
    try:
        module = space.build(chosen, **arguments)
    except Exception as error:
        raise TrialError(f"the space's build failed: {one_line(error)}") from error
    _check_module(module)
    return module


def _check_module(module: object) -> None:
    from torch import nn
    from torch.nn.parameter import is_lazy

    if not isinstance(module, nn.Module):
        raise TrialError(f"the space's build: given {type(module).__name__}; accepted: a torch.nn.Module")
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if is_lazy(tensor):
            raise TrialError(f"the space's build: {name}: given a size left open; accepted: build it with fixed sizes")


def _check_parameter(space: str, parameter: object) -> None:
    if isinstance(parameter, Choice):
        if len(parameter.values) != len(set(parameter.values)) or not parameter.values:
            raise InputError.of(f"space {space}", parameter.name, parameter.values, "one or more different values")
        if not all(isinstance(value, (str, int, float, bool)) for value in parameter.values):
            raise InputError.of(f"space {space}", parameter.name, parameter.values, "texts, numbers, true and false")
    elif isinstance(parameter, Range):
        low, high = parameter.low, parameter.high
        if not (math.isfinite(low) and math.isfinite(high) and low < high and (low > 0 or not parameter.log)):
            accepted = "finite low < high" + (", low > 0 where log" if parameter.log else "")
            raise InputError.of(f"space {space}", parameter.name, (low, high), accepted)
        if parameter.integer and not (float(low).is_integer() and float(high).is_integer()):
            raise InputError.of(f"space {space}", parameter.name, (low, high), "whole numbers, since integer is set")
    else:
        raise InputError.of(f"space {space}", "parameters", parameter, "Choice and Range of nas.spaces")
