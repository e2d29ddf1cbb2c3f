"""What every transport promises that needs nothing but this machine, with a real agent behind it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydantic
import pytest

from devices.session import connect
from profiles import registry
from profiles.errors import UnavailableError
from profiles.records import Target


@pytest.fixture(params=registry.names("devices.transports"))
def device(request: pytest.FixtureRequest) -> Any:
    try:
        return registry.find("devices.transports", request.param).Device()
    except pydantic.ValidationError as error:
        missing = ", ".join(str(problem["loc"][0]) for problem in error.errors())
        pytest.skip(f"{request.param} needs keys: {missing}; tests/systems has real ones")


@pytest.fixture(autouse=True)
def own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWNAS_LOCK", str(tmp_path / "lock"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_the_agent_answers_and_ends_with_its_connection(device: Any) -> None:
    with connect(device, "d") as session:
        found = session.fingerprint(Target(name="t", device="d", engine="null"))
        assert {"machine", "cpu", "versions"} <= set(found)
        process = session.process_id
    assert not Path(f"/proc/{process}").exists()
    with pytest.raises(UnavailableError, match="device d: the session is closed"):
        session.request("fingerprint", target={})


def test_a_connection_that_is_cut_is_one_line(device: Any) -> None:
    with connect(device, "d") as session:
        session.abort()
        with pytest.raises(UnavailableError, match=r"^device d: ") as caught:
            session.request("fingerprint", target={"engine": "null"})
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(("status", "stderr"), [(None, ""), (0, ""), (1, "a warning\nwhat went wrong\n"), (-9, "\n\n")])
def test_why_it_ended_is_at_most_one_line(device: Any, status: int | None, stderr: str) -> None:
    assert len(device.explain(status, stderr).splitlines()) <= 1
