"""docs/extending.md as a reader follows it: its files, installed as a package, under the contract tests of hwnas."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

# The tests that run over every name, by file, and what of the page they are to find.
CONTRACTS = {
    "tests/test_spaces.py": ("tower", 4),
    "tests/test_data.py": ("waves", 1),
    "tests/test_generate.py": ("evolution", 3),
    "tests/test_models.py": ("lenet5", 1),
    "tests/test_engines.py": ("onnx_reference", 11),
    "tests/test_meters.py": ("power_file", 2),
    "tests/test_transports.py": ("pinned", 6),
    "tests/test_fleet.py": ("pinned", 1),
}


@pytest.fixture(scope="module")
def installed(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which the page's package is installed: its files and entry points, as pip would leave them."""
    folder = tmp_path_factory.mktemp("site")
    text = (root / "docs" / "extending.md").read_text()
    written = re.findall(r"`(my_lab/\w+\.py)`:\n\n```python\n(.*?)```", text, flags=re.DOTALL)
    (folder / "my_lab").mkdir()
    (folder / "my_lab" / "__init__.py").touch()
    for name, source in written:
        (folder / name).write_text(source)
    (project,) = re.findall(r"```toml\n(\[project\].*?)```", text, flags=re.DOTALL)
    declared = tomllib.loads(project)["project"]
    about = folder / "my_lab-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {declared['name']}\nVersion: {declared['version']}\n"
    )
    groups = declared["entry-points"]
    (about / "entry_points.txt").write_text(
        "".join(
            f"[{group}]\n" + "".join(f"{name} = {module}\n" for name, module in points.items())
            for group, points in groups.items()
        )
    )
    assert {module.replace(".", "/") + ".py" for points in groups.values() for module in points.values()} == {
        name for name, _ in written
    }
    return os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}".rstrip(os.pathsep)}


@pytest.mark.timeout(300)
def test_every_example_passes_the_contract_tests(root: Path, installed: dict[str, str]) -> None:
    words = " or ".join(dict.fromkeys(word for word, _ in CONTRACTS.values()))
    options = ["-p", "no:cacheprovider", "-p", "no:xdist", "-v", "-k", words]
    command = [sys.executable, "-m", "pytest", *options, *CONTRACTS]
    done = subprocess.run(command, cwd=root, env=installed, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    for path, (word, count) in CONTRACTS.items():
        found = re.findall(rf"^{path}::.*{word}.* PASSED", done.stdout, flags=re.MULTILINE)
        assert len(found) == count, (path, word, done.stdout)


def test_the_figure_can_be_taken(root: Path, installed: dict[str, str], tmp_path: Path) -> None:
    code = "from profiles.registry import find; print(*find('benchmarks.figures', 'towers').take(), sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=installed, capture_output=True, text=True, check=False
    )
    # 3 widths x 3 last kernels x (one layer, whose kernel does not count, + 2 depths x 3 kernels)
    assert done.stdout.splitlines() == ["# Towers", "", "`tower` has 63 networks."], done.stderr


def test_every_extension_point_is_on_the_page(root: Path) -> None:
    """Each package in which names are looked up."""
    text = (root / "docs" / "extending.md").read_text()
    source = "".join(path.read_text() for package in ("profiles", "devices", "nas", "benchmarks")
                     for path in (root / package).rglob("*.py"))  # fmt: skip
    packages = set(re.findall(r'(?:find|names)\("((?:devices|nas|benchmarks)\.\w+)"', source))
    assert packages >= {"devices.engines", "nas.spaces", "benchmarks.figures"}
    for package in packages:
        assert f"`{package.replace('.', '/')}/`" in text, package
        assert f"`hwnas.{package.partition('.')[2]}`" in text, package
