"""Each package imports itself and those below it, nothing else, not even late; heavy libraries stay in their leaves.

Read from the syntax trees, so that an import inside a function or a name passed to importlib counts as well.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pytest

LAYERS = ["profiles", "devices", "nas", "benchmarks"]

# library: the files that may import it, early or late
LEAVES = {
    "onnxruntime": ["devices/engines/onnxruntime.py", "devices/engines/_ort_*.py", "devices/convert*.py"],
    "openvino": ["devices/engines/openvino.py"],
    "torch_tensorrt": ["devices/engines/torch_tensorrt.py"],
    "torch": ["devices/engines/torch*.py", "devices/engines/_torch*.py", "nas/*", "benchmarks/figures/_deep.py"],
    "torchx": [
        *("nas/launcher.py", "nas/schedulers.py", "nas/torchx_jobs.py", "nas/training/component.py"),
        "devices/transports/torchx.py",
    ],
    "fsspec": ["nas/training/storage.py"],
    "ax": ["nas/*"],
    "botorch": ["nas/*"],
}

# What `hwnas --help` must not wait for.
HEAVY = {"torch", "ax", "botorch", "torchx", "onnx", "onnxruntime", "openvino", "pandas", "scipy", "sklearn"}


@dataclass(frozen=True, slots=True)
class Import:
    module: str
    line: int
    late: bool  # inside a function, or only named in a string: not paid for at start
    typing: bool = False  # under `if TYPE_CHECKING`: never executed


def imports(source: str, package: str = "") -> list[Import]:
    """Everything that ``source`` imports or names as a first-party module in a string. ``package`` holds the file."""
    return list(_imports(ast.parse(source), package.split("."), late=False, typing=False))


def forbidden(found: Import, layer: str) -> bool:
    """Whether a file in ``layer`` must not name that module."""
    top = found.module.partition(".")[0]
    return top in LAYERS and LAYERS.index(top) > LAYERS.index(layer)


def test_a_package_imports_only_those_below_it(root: Path) -> None:
    wrong = [
        f"{path.relative_to(root)}:{found.line} names {found.module}"
        for layer, path in _files(root)
        for found in imports(path.read_text(), _package(path, root))
        if forbidden(found, layer)
    ]
    assert wrong == []


@pytest.mark.parametrize("library", LEAVES)
def test_a_heavy_library_is_imported_in_its_leaf_only(root: Path, library: str) -> None:
    others = [
        path
        for _, path in _files(root)
        if not any(fnmatch(path.relative_to(root).as_posix(), leaf) for leaf in LEAVES[library])
    ]
    wrong = [
        f"{path.relative_to(root)}:{found.line}"
        for path in others
        for found in imports(path.read_text(), _package(path, root))
        if found.module.partition(".")[0] == library and not found.typing
    ]
    assert wrong == []


def test_the_command_line_starts_without_heavy_imports(root: Path) -> None:
    wrong = []
    seen: set[Path] = set()
    todo = [root / "benchmarks" / "__init__.py", root / "benchmarks" / "cli.py"]
    while todo:
        path = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        for found in imports(path.read_text(), _package(path, root)):
            if found.late or found.typing:
                continue
            if found.module.partition(".")[0] in HEAVY:
                wrong.append(f"{path.relative_to(root)}:{found.line} imports {found.module}")
            todo += _modules(found.module, root)
    assert wrong == []
    assert root / "profiles" / "errors.py" in seen  # the walk went through all layers


@pytest.mark.parametrize(
    ("source", "module", "late"),
    [
        ("import nas.search", "nas.search", False),
        ("from nas import search", "nas.search", False),
        ("from nas.search import run", "nas.search.run", False),
        ("try:\n    import nas\nexcept ImportError:\n    pass", "nas", False),
        ("def f():\n    from nas import search", "nas.search", True),
        ("async def f():\n    import nas", "nas", True),
        ("f = lambda: __import__('nas')", "nas", True),
        ("import importlib\nimportlib.import_module('nas.search')", "nas.search", False),
        ("command = ['python', '-m', 'nas.training.train']", "nas.training.train", True),
        ("find('nas.spaces', name)", "nas.spaces", True),
        ("find('nas.spaces:convnet')", "nas.spaces", True),
    ],
)
def test_every_way_to_name_a_module_is_seen(source: str, module: str, late: bool) -> None:
    found = [each for each in imports(source) if each.module.startswith("nas")]
    assert [(each.module, each.late) for each in found][-1] == (module, late)
    assert all(forbidden(each, "devices") and not forbidden(each, "benchmarks") for each in found)


def test_what_names_no_module_of_ours_is_not_taken_for_one() -> None:
    source = '"""nas.search is above this."""\ndef f():\n    "nas.search"\n    return "nas", "a nas.search", "nas/x"'
    assert imports(source) == []
    assert [each.module for each in imports("from . import null\nfrom ..inputs import Input", "devices.engines")] == [
        "devices.engines.null",
        "devices.inputs.Input",
    ]
    assert imports("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch")[-1].typing


def _files(root: Path) -> Iterator[tuple[str, Path]]:
    for layer in LAYERS:
        for path in sorted((root / layer).rglob("*.py")):
            yield layer, path


def _package(path: Path, root: Path) -> str:
    return ".".join(path.relative_to(root).parent.parts)


def _modules(name: str, root: Path) -> list[Path]:
    """The files that ``import name`` executes, packages on the way included. The last part may be an object."""
    parts = name.split(".")
    if parts[0] not in LAYERS:
        return []
    paths = [root.joinpath(*parts[:end], "__init__.py") for end in range(1, len(parts) + 1)]
    paths += [root.joinpath(*parts[:end]).with_suffix(".py") for end in range(1, len(parts) + 1)]
    return [path for path in paths if path.is_file()]


_NAME = re.compile(rf"(?:{'|'.join(LAYERS)})(?:\.[A-Za-z_]\w*)+(?=:|$)")


def _imports(node: ast.AST, package: list[str], late: bool, typing: bool) -> Iterator[Import]:
    match node:
        case ast.Import():
            yield from (Import(alias.name, node.lineno, late, typing) for alias in node.names)
        case ast.ImportFrom():
            base = package[: len(package) - node.level + 1] if node.level else []
            for alias in node.names:
                parts = [*base, *([node.module] if node.module else []), alias.name]
                yield Import(".".join(parts), node.lineno, late, typing)
        case ast.Call(
            func=ast.Name("__import__") | ast.Attribute(attr="import_module"), args=[ast.Constant(str(name)), *_]
        ):
            yield Import(name, node.lineno, late, typing)
        case ast.Constant(value=str(text)) if match := _NAME.match(text):
            yield Import(match[0], node.lineno, True, typing)
        case ast.Expr(value=ast.Constant()):  # a docstring
            pass
        case ast.If(test=ast.Name("TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING")):
            for child in node.body:
                yield from _imports(child, package, late, True)
            for child in node.orelse:
                yield from _imports(child, package, late, typing)
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            for child in [*node.decorator_list, node.args]:
                yield from _imports(child, package, late, typing)
            for child in node.body:
                yield from _imports(child, package, True, typing)
        case ast.Lambda():
            yield from _imports(node.body, package, True, typing)
        case _:
            for child in ast.iter_child_nodes(node):
                yield from _imports(child, package, late, typing)
