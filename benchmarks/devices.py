"""``hwnas devices``: what the devices of a fleet are and can do, and what keeps them from a good measurement."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tables import table
from devices import advice, measure, metering
from devices.fleet import LOCAL, Fleet, load_fleet
from devices.session import Session, connect
from devices.transports.local import Device as Local
from profiles.errors import HwnasError, InputError
from profiles.records import SCHEMA, Target

_CALIBRATIONS = 5


def list_devices(path: Path | None, *, as_json: bool) -> None:
    fleet = load_fleet(path)
    rows = []
    for name, device in sorted(fleet.devices.items()):
        pool = next((pool for pool, boards in fleet.pools.items() if name in boards), None)
        targets = [target.name for target in fleet.targets.values() if name in fleet.boards(target.device)]
        transport = type(device).__module__.rpartition(".")[2]
        keys = device.model_dump(mode="json", exclude_defaults=True)  # type: ignore[attr-defined]
        rows.append({"device": name, "transport": transport, "pool": pool, "targets": targets, **keys})
    if as_json:
        print(json.dumps({"schema": SCHEMA, "devices": rows}, indent=1))
        return
    heads = ["device", "transport", "where", "pool", "targets"]
    where = [str(row.get("host") or row.get("serial") or row.get("scheduler") or "-") for row in rows]
    cells = [
        [row["device"], row["transport"], place, row["pool"] or "-", ", ".join(row["targets"])]
        for row, place in zip(rows, where, strict=True)
    ]
    table(heads, cells)


def check(names: Sequence[str], path: Path | None, *, as_json: bool) -> None:
    """All at once, each by itself. Raises UnavailableError at the end where one could not be reached."""
    fleet = load_fleet(path)
    wanted = list(names) or _of_file(fleet)
    for name in wanted:
        if name not in fleet.devices:
            known = ", ".join(sorted(fleet.devices))
            raise InputError(f"{fleet.where}: no device named {name!r}; there are: {known}")
    found = _at_once(fleet, wanted)
    if as_json:
        print(json.dumps({"schema": SCHEMA, "devices": found}, indent=1))
    else:
        for one in found:
            _show(one)
    missing = [one for one in found if one["error"]]
    if missing:
        sys.exit(3)


def _of_file(fleet: Fleet) -> list[str]:
    """All devices, in the order of their names. ``local``, which there always is, where the file gives it keys or a
    target on it, or has no other.
    """
    targets = [fleet.targets[name] for name in fleet.named]
    if targets == [Target(name=LOCAL, device=LOCAL)]:  # as where the file names none
        targets = []
    used = any(LOCAL in fleet.boards(target.device) for target in targets)
    if used or LOCAL in fleet.meters or fleet.devices[LOCAL] != Local() or len(fleet.devices) == 1:
        return sorted(fleet.devices)
    return sorted(fleet.devices.keys() - {LOCAL})


def _at_once(fleet: Fleet, names: Sequence[str]) -> list[dict[str, Any]]:
    """What ``_check`` finds of each. No pool of threads: its end would wait for them. Ctrl-C ends this process at once,
    and each agent ends with its connection.
    """
    found: list[Future[dict[str, Any]]] = [Future() for _ in names]

    def run(name: str, future: Future[dict[str, Any]]) -> None:
        try:
            future.set_result(_check(fleet, name))
        except BaseException as error:
            future.set_exception(error)

    for name, future in zip(names, found, strict=True):
        threading.Thread(target=run, args=(name, future), daemon=True).start()
    return [future.result() for future in found]


def _check(fleet: Fleet, name: str) -> dict[str, Any]:
    """Everything that can be learned of one device; ``error``: why no more was."""
    found: dict[str, Any] = {"device": name, "error": None, "fingerprint": None, "providers": [], "noise": None}
    found |= {"health": None, "meter": None, "problems": []}
    print(f"{name}: asking", file=sys.stderr)
    try:
        with connect(fleet.devices[name], name, lambda kind, data: _tell(name, kind, data)) as session:
            begin_s = session.clock_s()  # still while another measurement has the device
            found["health"] = session.request("health")["health"]
            skew_s = found["health"]["time_s"] - (time.time() - (session.clock_s() - begin_s) / 2)
            found |= _try_out(session, _targets(fleet, name))
            problems = advice.problems(
                found["health"], noise=found["noise"], skew_s=skew_s, works=found["noise"] is not None
            )
            if setting := fleet.meters.get(name):
                try:
                    found["meter"] = metering.probe(session, setting)["meter"]
                except HwnasError as error:
                    problems.append((str(error), f"meter of device {name} in the fleet file: docs/energy.md"))
            found["problems"] = [{"problem": what, "mend": how} for what, how in problems]
    except HwnasError as error:
        found["error"] = str(error)
    return found


def _targets(fleet: Fleet, name: str) -> list[Target]:
    """Those of the device that differ in what has to work for them; without any, ONNX Runtime on its CPU."""
    found: dict[tuple[str | None, ...], Target] = {}
    for target in (fleet.targets[each] for each in fleet.named):
        if name in fleet.boards(target.device):
            found.setdefault((target.engine, target.provider, target.python), target)
    return list(found.values()) or [Target(name=name, device=name)]


def _try_out(session: Session, targets: Sequence[Target]) -> dict[str, Any]:
    """``error`` names the targets that do not work; the rest is of the first that does, ``providers`` of all."""
    found: dict[str, Any] = {"error": None, "fingerprint": None, "providers": [], "noise": None}
    errors = []
    for target in targets:
        try:
            answer = session.request("fingerprint", target=target.to_dict())
            found["providers"] += [each for each in answer["providers"] if each not in found["providers"]]
            times = measure.calibrate(session, target, _CALIBRATIONS if found["noise"] is None else 1)
        except HwnasError as error:
            errors.append(f"target {target.name}: {error}")
            if session.closed:
                break
            continue
        if found["noise"] is None:
            found["fingerprint"] = answer["device"]
            # Robust: one disturbed run of five is not what is asked about.
            found["noise"] = float(np.subtract(*np.percentile(times, [75, 25])) / 1.349 / np.median(times))
    return found | {"error": "; ".join(errors) or None}


def _tell(name: str, kind: str, data: dict[str, Any]) -> None:
    if kind == "waiting":
        print(f"{name}: {data['message']}", file=sys.stderr)


def _show(found: dict[str, Any]) -> None:
    print(f"{found['device']}")
    health, fingerprint = found["health"], found["fingerprint"]
    if health:
        packages = {**health["packages"], **(fingerprint["versions"] if fingerprint else {})}
        packages.pop("python", None)
        lines = {
            "cpu": f"{(fingerprint or {}).get('cpu') or health['machine']}, {health['cores']} cores",
            "board": (fingerprint or {}).get("board"),
            "kernel": (fingerprint or {}).get("kernel"),
            "python": f"{health['python']} ({health['executable']})" if health["python"] else None,
            "packages": ", ".join(f"{package} {version}" for package, version in packages.items()),
            "providers": ", ".join(found["providers"]),
            "free": _free(health),
            "governor": ", ".join(health["governors"]),
            "temperature": None if health["temperature_c"] is None else f"{health['temperature_c']:.0f} C",
            "clock": f"steps of {health['clock_step_ns']} ns",
            "meter": found["meter"],
            "noise": None if found["noise"] is None else f"{found['noise']:.2%} from run to run",
        }
        for key, text in lines.items():
            if text:
                print(f"  {key:<12} {text}")
    for problem in found["problems"]:
        print(f"  ! {problem['problem']}\n      {problem['mend']}")
    if found["error"]:
        print(f"  x {found['error']}")


def _free(health: dict[str, Any]) -> str:
    memory = health["memory_free_mb"]
    return f"{health['disk_free_mb']:.0f} MB of disk" + (f", {memory:.0f} MB of memory" if memory else "")
