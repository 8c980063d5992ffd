"""The facts of a run: settings, data and versions, as a list of names and values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dalib.core.places import in_short
from dalib.report.charts import kept_step
from dalib.report.figures import duration

if TYPE_CHECKING:
    from dalib.records.folder import RunRecords
    from dalib.records.summary import Summary


def facts(records: RunRecords) -> list[tuple[str, str]]:
    """Returns the facts that are known, each with its name."""
    summary, kept = records.summary, kept_step(records)
    prior = records.judgement.prior if records.judgement else None
    versions = {"dalib": summary.dalib, "torch": summary.torch, "Python": summary.python}
    weights = ""
    if kept:
        weights = f"step {kept.step:,}" + ("" if kept.of is None else f" of {kept.of:,}")
    found = [
        ("Source", in_short(summary.source)),
        ("Target", in_short(summary.target)),
        *((f"{where.capitalize()} fingerprint", summary.fingerprints.get(where, "")) for where in ("source", "target")),
        ("Method", summary.method),
        ("Trained stages", _trained_stages(summary)),
        ("Classes", f"{len(summary.classes):,}" if summary.classes else ""),
        ("Class prior", prior.kind if prior else ""),
        *((label, f"{summary.counts[key]:,}") for key, label in _COUNTS.items() if key in summary.counts),
        ("Kept weights", weights),
        ("Stopped", summary.stopped.reason if summary.stopped else ""),
        ("Device", summary.device),
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items() if version)),
        ("Started", summary.started),
        ("Status", "not finished" if summary.status == "running" else summary.status),
        *((label, duration(summary.seconds[key])) for key, label in _SECONDS.items() if key in summary.seconds),
    ]
    return [(label, value) for label, value in found if value]


def _trained_stages(summary: Summary) -> str:
    count = summary.run_settings.trained_stages
    return f"the last {count} of the backbone, from frozen/model on" if count else ""


_COUNTS = {
    "source": "Source images",
    "source_validation": "Source validation images",
    "target": "Target images",
    "unreadable": "Unreadable files",
}
_SECONDS = {
    "data": "Reading the data",
    "features": "Computing features",
    "source-only": "Training source-only",
    "adapted": "Training adapted",
}
