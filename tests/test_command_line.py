"""The command as a process: what its exit code says of a bug, and of a reader of stdout that has gone."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from benchmarks import cli, devices_add

NIGHT = """
import sys
from pathlib import Path
from benchmarks.nightly import command as nightly_command
from test_nightly import example

one = example()
nightly_command.watch = lambda *_, **__: (one, [one])
how = {"fleet": None, "python": None, "max_undecided": "20%", "junit": None, "html": None, "json": True, "store": None}
sys.exit(nightly_command.run(Path("suite.toml"), {}, markdown=Path("n.md"), **how))
"""

LATE = """
import sys
import typer
from benchmarks import cli, front

def show(*_, **__):
    print("a table")
    raise typer.Exit(1)

front.show = show
sys.argv = ["hwnas", "pareto", "run"]
cli.main()
"""

has_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")


def unread(*command: str | Path, folder: Path, **environment: str) -> tuple[int, str]:
    """Exit code and stderr of a process whose stdout nobody reads any more."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        process = [sys.executable, *map(str, command)]
        env = os.environ | environment
        done = subprocess.run(
            process, cwd=folder, env=env, stdout=writer, stderr=subprocess.PIPE, text=True, check=False
        )
    finally:
        os.close(writer)
    return done.returncode, done.stderr


def unwritten(code: str, folder: Path, root: Path) -> tuple[int, str]:
    """Exit code and stderr of a process whose stdout is a file on a full disk."""
    env = os.environ | {"PYTHONPATH": f"{root / 'tests'}{os.pathsep}{root}"}
    env.pop("PYTHONUNBUFFERED", None)  # with which there is no late line
    with open("/dev/full", "w") as full:
        process = [sys.executable, "-c", code]
        done = subprocess.run(process, cwd=folder, env=env, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize("length", [1, 100_000])  # it is noticed at the end; in the middle
def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path, length: int) -> None:
    fleet = tmp_path / "fleet.toml"
    fleet.write_text(f'[devices.d]\ntransport = "ssh"\nhost = "{length * "h"}"\n')
    listed = ("-m", "benchmarks.cli", "devices", "list", "--fleet", fleet)
    assert unread(*listed, folder=tmp_path) == (0, "")


def test_a_night_does_not_need_a_reader(tmp_path: Path, root: Path) -> None:
    (tmp_path / "suite.toml").write_text('name = "s"\nmodels = ["gone.onnx"]\n')
    code, err = unread("-c", NIGHT, folder=tmp_path, PYTHONPATH=f"{root / 'tests'}{os.pathsep}{root}")
    assert code == 1, err
    assert "BrokenPipe" not in err
    assert "2 regressions" in err
    assert (tmp_path / "n.md").read_text().startswith("## hwnas nightly")


@has_full
@pytest.mark.parametrize("times", [1, 1000])  # the table is refused at its end; in the middle
def test_a_night_whose_table_cannot_be_written_keeps_its_reports_and_its_code(
    tmp_path: Path, root: Path, times: int
) -> None:
    (tmp_path / "suite.toml").write_text('name = "s"\nmodels = ["gone.onnx"]\n')
    long = f"one = example()\none = dataclasses.replace(one, judgements=one.judgements * {times})\n"
    code, err = unwritten("import dataclasses" + NIGHT.replace("one = example()\n", long), tmp_path, root)
    assert code == 1, err
    assert err.count("hwnas: stdout: No space left on device\n") == err.count("No space") == 1
    assert (tmp_path / "n.md").read_text().startswith("## hwnas nightly")


@has_full
def test_a_regression_whose_last_line_cannot_be_written_stays_one(tmp_path: Path, root: Path) -> None:
    assert unwritten(LATE, tmp_path, root) == (1, "hwnas: stdout: No space left on device\n")


@has_full
def test_a_stdout_that_cannot_be_written_is_one_line_and_no_regression(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "benchmarks.cli", "devices", "list"]
        done = subprocess.run(command, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        silent = subprocess.run(command, cwd=tmp_path, stdout=full, stderr=full, check=False)
    assert "No space left on device" in done.stderr
    assert (done.returncode, done.stderr.count("\n"), silent.returncode) == (3, 1, 3)


def test_ctrl_c_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("benchmarks.profile.run", interrupted)
    assert run(monkeypatch, capsys, "profile", "resnet8", "--store", tmp_path / "s.db") == (130, "hwnas: interrupted\n")


def test_a_bug_is_a_traceback_and_not_a_regression(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    with monkeypatch.context() as here:
        here.setattr("benchmarks.front.show", broken)
        code, err = run(monkeypatch, capsys, "pareto", tmp_path)
    assert code == 3
    assert err.startswith("Traceback") and err.endswith("RuntimeError: a bug\n")
    monkeypatch.setitem(cli._state, "debug", False)
    code, err = run(monkeypatch, capsys, "--debug", "pareto", tmp_path)
    assert code == 2
    assert err.startswith("Traceback") and "InputError" in err


def test_a_pipe_that_is_not_ours_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("benchmarks.front.show", broken)
    assert run(monkeypatch, capsys, "pareto", tmp_path) == (3, "hwnas: Broken pipe\n")


def test_a_folder_that_is_gone_is_one_line_and_no_regression(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    with monkeypatch.context() as here:
        here.chdir(gone)
        gone.rmdir()
        said = run(monkeypatch, capsys, "devices", "list")
    assert said == (3, "hwnas: the current folder is gone: change to one that is there\n")


def test_an_entry_of_a_fleet_file_holds_any_text() -> None:
    host, config = 'a"b\\c', Path('/lab/"x" \\y')
    table = tomllib.loads(devices_add._entry("pi5", host, config))
    assert table["targets"] == {"pi5": {"device": "pi5"}}
    device = table["devices"]["pi5"]
    assert (device["transport"], device["host"], device["config"]) == ("ssh", host, str(config))


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str]:
    """In this process: exit code and stderr."""
    monkeypatch.setattr(sys, "argv", ["hwnas", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0), capsys.readouterr().err
