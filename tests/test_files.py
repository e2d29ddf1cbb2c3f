"""Files are whole or absent, also when the writer dies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from profiles import files


def test_json_comes_back(tmp_path: Path) -> None:
    files.write_json(tmp_path / "deep" / "a.json", {"x": [1, None, "ü"]})
    assert files.read_json(tmp_path / "deep" / "a.json") == {"x": [1, None, "ü"]}


def test_nan_is_refused_and_the_old_file_stays(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a.json", {"x": 1})
    with pytest.raises(ValueError):
        files.write_json(tmp_path / "a.json", {"x": float("nan")})
    assert files.read_json(tmp_path / "a.json") == {"x": 1}


def test_what_is_absent_or_half_written_reads_as_none(tmp_path: Path) -> None:
    (tmp_path / "half.json").write_text('{"x": ')
    assert files.read_json(tmp_path / "half.json") is None
    assert files.read_json(tmp_path / "absent.json") is None
    assert files.read_json(tmp_path / "half.json" / "below") is None


def test_a_link_stays_one_and_a_file_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "lab").mkdir()
    link, file = tmp_path / "fleet.toml", tmp_path / "lab" / "fleet.toml"
    link.symlink_to(file)
    files.write_text(link, "new")
    assert (link.is_symlink(), file.read_text(), file.stat().st_mode & 0o777) == (True, "new", 0o644)
    file.chmod(0o640)
    files.write_text(link, "newer")
    assert (link.is_symlink(), file.read_text(), file.stat().st_mode & 0o777) == (True, "newer", 0o640)
    assert [path.name for path in (tmp_path / "lab").iterdir()] == ["fleet.toml"]


def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    """A real write that fails: the process may write 4 kB to a file."""
    files.write_text(tmp_path / "a.txt", "old")
    code = """
import resource, signal, sys
from pathlib import Path
from profiles import files
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    files.write_bytes(Path(sys.argv[1]), b"x" * 100_000)
except OSError:
    sys.exit(9)
"""
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.txt")], cwd=Path(__file__).parent.parent, check=False
    )
    assert ran.returncode == 9
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"
