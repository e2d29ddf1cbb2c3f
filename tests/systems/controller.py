"""The controller of the chaos test: python controller.py FLEET MODELS STORE. Killed and started again until it ends."""

from __future__ import annotations

import sys
from pathlib import Path

from devices.everywhere import profile_everywhere
from devices.fleet import load_fleet
from devices.plan import Job, Plan
from devices.scheduler import Policy
from profiles.store import Store

PLAN = Plan(processes=2, groups=1, block_ms=2.0, warm_up_ms=0.0, memory=False, deadline_s=20.0)
# Here a connection is lost every few seconds, and no model is to blame.
POLICY = Policy(first_pause_s=0.2, patience_s=600.0, losses=1000, tries=100)


def main(fleet_path: str, models: str, store_path: str) -> None:
    fleet = load_fleet(Path(fleet_path))
    jobs = [Job(model=path, name=path.stem) for path in sorted(Path(models).glob("*.onnx"))]
    targets = [target for name, target in sorted(fleet.targets.items()) if name != "local"]
    with Store(Path(store_path)) as store:
        for outcome in profile_everywhere(fleet, jobs, targets, store, label="chaos", plan=PLAN, policy=POLICY):
            if outcome.error:
                print(f"{outcome.key} on {outcome.board}: {outcome.error}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
