"""Where candidates come from: spaces, data, training, export, generators, the search and its front."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nas.notebook import OpenStudy

__all__ = ["open_study"]


def open_study(run: str | os.PathLike[str]) -> OpenStudy:
    """The run folder of a search, finished or not, as pandas tables and figures: see ``nas.notebook``.

    Raises InputError where ``run`` is no run folder. Nothing is imported before it is called.
    """
    from nas.notebook import read

    return read(run)
