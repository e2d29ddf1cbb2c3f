"""What a search is about, with all relative limits resolved to numbers."""

from __future__ import annotations

from dataclasses import dataclass

from nas.folder import RunFolder
from nas.generators import Limit, Objective
from nas.study import Study


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    study: Study
    folder: RunFolder
    objectives: tuple[Objective, ...]
    limits: tuple[Limit, ...]

    @property
    def modelled(self) -> list[str]:
        """The metrics that a generator is told of."""
        names = [objective.name for objective in self.objectives] + [limit.name for limit in self.limits]
        return list(dict.fromkeys(names))
