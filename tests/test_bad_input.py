"""What cannot be used is one line on stderr that says what is accepted, exit code 2, and nothing half written."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from test_search import STUDY, hwnas

from benchmarks.cli import main
from nas.folder import locked

Command = Callable[..., tuple[int, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command line's own function, in this process: exit code and stderr."""

    def run(*arguments: str | Path) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["hwnas", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), capsys.readouterr().err

    return run


@pytest.fixture
def study(tmp_path: Path) -> Path:
    (tmp_path / "small.toml").write_text(STUDY)
    (tmp_path / "train.py").write_text("")
    return tmp_path / "small.toml"


def refused(said: tuple[int, str], *words: str, code: int = 2) -> None:
    assert said[0] == code, said[1]
    assert said[1].startswith("hwnas: ") and said[1].count("\n") == 1, said[1]
    for word in words:
        assert word in said[1], said[1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (('name = "digits"', 'name = "digitz"'), ["digitz", "digits, fashion_mnist, mnist"]),
        (('name = "digits"', 'name = "digits"\ncolour = "red"'), ["data.colour", "no such option"]),
        (('name = "digits"', 'name = "digits"\nday = 2026-01-01'), ["data", "for day: texts, finite numbers"]),
        (('name = "digits"', 'name = "cut.npz"'), ["cut.npz", "not a readable .npz"]),
        (('name = "digits"', 'name = "pickled.npz"'), ["pickled.npz", "pickled objects"]),
        (('name = "digits"', 'name = "absent.npz"'), ["absent.npz", "No such file"]),
        (('name = "digits"', 'name = "os:getcwd"'), ["os:getcwd", "accepted: a nas.data.Dataset"]),
        (('name = "digits"', 'name = "shutil:rmtree"'), ["data.path", "missing"]),
        (('space = "mlp"', 'space = "own_space:space"'), ["space", "RuntimeError: half of a file"]),
        (('space = "mlp"', 'space = "nets"'), ["space", "nets", "convnet", "mlp"]),
        (('generator = "sobol"', 'generator = "os:path"'), ["search.generator", "create(spec, seed)"]),
        (('metric = "latency_ms@local"', 'metric = "latency_ms@pi5"'), ["pi5", "there are: local"]),
        (('script = "train.py"', 'script = "absent.py"'), ["train.script", "absent.py", "a file; there is none at"]),
        (('script = "train.py"', ""), ["objective.2.metric", "val_acuracy", "val_accuracy, train_loss, params"]),
        (("[budget]", '[budget]\nscheduler = "slurn"'), ["budget.scheduler", "unknown key"]),
        (("[train]", '[train]\nscheduler = "slurn"'), ["train.scheduler", "slurn", "local_cwd"]),
        (("trials = 4", "trials = -4"), ["budget.trials", "-4"]),
        (("trials = 4", "hours = -0.5"), ["budget.hours", "-0.5"]),
        (("trials = 4", "trials = 1000000000"), ["budget.trials", "1000000000"]),
        (("max = 1000", 'max = 10\n[[constraint]]\nmetric = "latency_ms@local"\nmin = 20'), ["leave room"]),
        (("max = 1000", 'max = "3x"\n[[constraint]]\nmetric = "latency_ms@local"\nmin = "4x"'), ["leave room"]),
    ],
)
def test_a_study_that_cannot_be_searched(
    study: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    change: tuple[str, str],
    words: list[str],
) -> None:
    folder = study.parent
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    x = np.zeros((8, 4), np.float32)
    np.savez(folder / "whole.npz", x_train=x, y_train=np.arange(8) % 2, x_val=x, y_val=np.arange(8) % 2)
    whole = (folder / "whole.npz").read_bytes()
    (folder / "cut.npz").write_bytes(whole[: len(whole) // 2])
    np.savez(folder / "pickled.npz", x_train=np.array([{}], object), y_train=x, x_val=x, y_val=x)
    (folder / "own_space.py").write_text("raise RuntimeError('half of a file')")
    text = study.read_text()
    assert change[0] in text
    text = text.replace(*change, 1)
    if "script" in change[0]:
        text += '[[objective]]\nmetric = "val_acuracy"\ngoal = "max"\n'
    study.write_text(text)
    refused(command("search", study), str(study), *words)
    assert not (folder / "runs").exists()


def test_run_folders_that_hold_something_else(study: Path, command: Command, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "study.toml").write_text(STUDY.replace('script = "train.py"', ""))
    held = (run / "study.toml").read_bytes()
    refused(command("search", study, "--out", run), str(run), "holds the study small", "--resume")
    refused(command("search", study, "--out", run, "--resume", "--seed", "9"), "seed", "train.script")
    (run / "study.toml").write_text(STUDY.replace('"small"', '"other"').replace('script = "train.py"', ""))
    refused(command("search", study, "--out", run, "--resume"), "differs in", "name")
    (run / "study.toml").write_bytes(held[: len(held) // 2])
    refused(command("search", study, "--out", run, "--resume"), str(run / "study.toml"))
    assert sorted(path.name for path in run.iterdir()) == [".lock", "study.toml"]
    with locked(run):
        refused(command("search", study, "--out", run), "is in use by process")
    refused(command("search", study, "--out", study), "--out")
    refused(command("search", study, "--out", study / "below"), "--out", "accepted: a folder that can be written")
    refused(command("pareto", tmp_path), "accepted: the folder of a search")
    (run / "study.toml").write_bytes(held)
    (run / "study.db").write_bytes(b"no database at all" * 100)
    refused(command("pareto", run), "study.db", "not a database", code=3)


def test_options_that_cannot_be_used(study: Path, command: Command) -> None:
    refused(command("search", study.parent), "cannot be read")
    refused(command("search", study.with_name("absent.toml")), "there is no such file")
    refused(command("search", "/dev/zero"), "up to 1,048,576 bytes")
    refused(command("search", study, "--trials", "-3"), "--set budget.trials=-3")
    refused(command("search", study, "--set", "budget"), "--set", "KEY=VALUE")
    refused(command("search", study, "--set", "budget.trials.x=3"), "--set budget.trials.x=3")
    refused(command("search", study, "--set", "objective.²=3"), "--set objective.²=3")
    refused(command("search", study, "--set", "data=" + "[" * 9000), "data")
    refused(command("search", study, "--fleet", study), str(study), "unknown key")


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".", "a b", "x" * 65, "é"])
def test_names_in_a_fleet_file_never_become_paths(study: Path, command: Command, name: str) -> None:
    fleet = study.with_name("fleet.toml")
    for kind in ("devices", "targets"):
        fleet.write_text(f'[{kind}."{name}"]\n')
        refused(command("search", study, "--fleet", fleet), str(fleet), kind, "letters, digits")


def test_what_a_terminal_obeys_is_shown_and_not_sent(study: Path, command: Command) -> None:
    study.write_text('"a\\n\\u001b[31mb" = 1\n' + STUDY)
    said = command("search", study)
    refused(said, r"a\n\x1b[31mb", "unknown key")
    assert "\x1b" not in said[1]


def test_the_installed_command_says_the_same(study: Path, command: Command) -> None:
    study.write_text(STUDY.replace("digits", "digitz"))
    ran = hwnas("search", study, cwd=study.parent)
    assert (ran.returncode, ran.stderr, ran.stdout) == (*command("search", study), "")


def test_bisect_takes_one_target_and_shapes(command: Command, tmp_path: Path) -> None:
    fleet = tmp_path / "fleet.toml"
    fleet.write_text("[targets.a]\n[targets.b]\n")
    models = ("a.onnx", "b.onnx", "--fleet", fleet)
    refused(command("bisect", *models, "--target", "all"), "--target all: given 2 targets; accepted: one")
    refused(command("bisect", *models, "--target", "a", "--shape", "x=1,4"), "--shape: given 'x=1,4'")


@pytest.mark.parametrize(("name", "reason"), [("net", "RuntimeError: two lines"), ("leaves", "SystemExit: 1")])
def test_a_callable_that_fails(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, reason: str
) -> None:
    failing = "def net():\n    raise RuntimeError('two\\nlines')\n\n\ndef leaves():\n    raise SystemExit(1)\n"
    (tmp_path / "own_net_that_fails.py").write_text(failing)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    model = f"own_net_that_fails:{name}"
    refused(command("profile", model, "--shape", "input=1x4"), f"{model}: calling it failed: {reason}")
