"""The record of a comparison: two models, or one on two targets, and a verdict. Frozen; the unit is in the name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from profiles.records import Block, Target
from profiles.verdicts import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """``base_ms`` and ``other_ms`` are raw medians, for orientation: the ratio comes from paired blocks, not from them.

    ``stopped``: "decided", or "budget" where the verdict is still undecided or the interval wider than was asked.
    ``method``: "duet", or "profiles" where the two targets are of different devices: the ratio of the calibrated
    latencies, see ``profiles.apart``.
    """

    base: str
    other: str
    base_digest: str
    other_digest: str
    target: Target
    device: dict[str, Any]  # the fingerprint
    verdict: Verdict
    base_ms: float
    other_ms: float
    stopped: str
    base_target: Target | None = None  # where it is another one
    base_device: dict[str, Any] | None = None  # likewise: the fingerprint, with that target's versions
    metric: str = "latency_ms"
    method: str = "duet"
    flags: tuple[str, ...] = ()
    conditions: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    time: str = ""  # ISO 8601, UTC
    command: str = ""
    blocks: tuple[Block, ...] = ()  # all raw times, disturbed ones included

    def to_dict(self, raw: bool = True) -> dict[str, Any]:
        """JSON-ready. ``raw=False`` leaves the single latencies out, as ``--json`` does."""
        value: dict[str, Any] = {
            "base": self.base,
            "other": self.other,
            "metric": self.metric,
            "method": self.method,
            **self.verdict.to_dict(),
            "target": self.target.name,
            "base_target": (self.base_target or self.target).name,
            "provider": self.target.provider,
            "precision": self.target.precision,
            "threads": self.target.threads,
            "batch": self.target.batch,
            "device": self.device,
            "base_device": self.base_device or self.device,
            "base_digest": self.base_digest,
            "other_digest": self.other_digest,
            "base_ms": self.base_ms,
            "other_ms": self.other_ms,
            "stopped": self.stopped,
            "flags": list(self.flags),
            "conditions": self.conditions,
            "versions": self.versions,
            "time": self.time,
            "command": self.command,
        }
        if raw:
            value["blocks"] = [[b.process, b.group, b.arm, b.disturbed, list(b.latencies_ns)] for b in self.blocks]
        return value
