"""How a search closes: one of its controllers confirms the front, and what was found is written."""

from __future__ import annotations

import time
from contextlib import suppress
from itertools import takewhile

from nas.folder import RunFolder
from nas.journal import Journal
from nas.presence import Presence, same_machine
from nas.results import results_of, write_results
from nas.study import Study
from profiles.errors import UnavailableError

_TICK_S = 0.5


def my_turn(journal: Journal, presence: Presence) -> bool:
    """Of several controllers one confirms the front, another one if it is gone. False: the front was confirmed, and
    since then no trial has gone on.
    """
    begun = max(event.seq for kind in ("started", "resumed") if (event := journal.last(kind)) is not None)
    while True:
        closing, finished = journal.last("closing"), journal.last("finished")
        place, by = (closing.seq, closing.data["by"]) if closing is not None else (0, None)
        ended = finished is not None and finished.seq > place and finished.data.get("by") == by
        if ended and place > max(begun, journal.worked):
            return False
        if ended or presence.gone(by):
            if journal.append_now("closing"):
                return True
            continue
        journal.notify("tick")
        time.sleep(_TICK_S)
        journal.news()


def folder_of(journal: Journal) -> int:
    """Which closing it was that the present one shares its folders of local trainings with, by its place.

    0: they are shared with all. A controller of another machine that was taken for gone may only have been cut off:
    what it trains still writes where it wrote, and what it began is not gone on with.
    """
    closings = journal.every("closing")
    here = [*takewhile(lambda event: event.data["by"] == journal.me or same_machine(event.data["by"]), closings[::-1])]
    return here[-1].seq if 0 < len(here) < len(closings) else 0


def finish(study: Study, folder: RunFolder, journal: Journal, reason: str) -> None:
    """Raises TakenOver where another controller closes the search by now."""
    journal.notify("writing")
    write_results(results_of(study, folder, journal.events))  # before other controllers hear of it, and read them
    journal.append("finished", None, reason=reason)


def interrupt(study: Study, folder: RunFolder, journal: Journal) -> None:
    """Write what was found, from memory: the store may be what was waited for."""
    if (started := journal.last("started")) is None:
        return
    journal.notify("writing")
    write_results(results_of(study, folder, [started], journal.trials))
    with suppress(UnavailableError):
        journal.append("interrupted", None, reason=None)
