"""The error tree of hwnas. Every error that a user can meet is one of these.

    HwnasError
    ├── InputError          exit 2    what was given cannot be used; nothing was started
    ├── NothingFits         exit 1    the question was sound, the answer is "none"
    ├── UnavailableError    exit 3    a device, package, provider or job system is missing
    ├── MeasurementError    exit 3    a measurement was tried and there is no number
    │   └── ParityError     exit 3    the model ran, and its output is wrong
    ├── TrialError          exit 3    one candidate failed; a search records it and goes on
    └── Interrupted         exit 130  stopped by the user; `--resume` goes on

A message is one line: what was wrong, what was given, what is accepted or what to do next.
The command line prints it as it is; ``--debug`` adds the traceback.
"""

from __future__ import annotations


class HwnasError(Exception):
    """Base of all errors raised on purpose; ``exit_code`` is the command line's."""

    exit_code = 3


class InputError(HwnasError):
    exit_code = 2

    @classmethod
    def of(cls, where: str, key: str, given: object, accepted: str) -> InputError:
        """The usual form: ``studies/x.toml: budget.trials: given -3; accepted: a whole number from 1``."""
        return cls(f"{where}: {key}: given {_short(given)}; accepted: {accepted}")


class NothingFits(HwnasError):
    exit_code = 1


class UnavailableError(HwnasError):
    exit_code = 3


class MeasurementError(HwnasError):
    exit_code = 3


class ParityError(MeasurementError):
    exit_code = 3


class TrialError(HwnasError):
    exit_code = 3


class Interrupted(HwnasError):
    exit_code = 130


def one_line(error: BaseException) -> str:
    """Of another's error: its kind and what it says, in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _short(given: object, limit: int = 80) -> str:
    text = repr(given)
    return text if len(text) <= limit else text[: limit - 3] + "..."
