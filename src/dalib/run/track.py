"""Trackers: a run's metrics and results sent to TensorBoard, MLflow, or any service with wandb's calls.

A tracker is an object with the four methods of :class:`Tracker`. ``dalib train --track tensorboard``,
``--track mlflow`` and ``--track wandb`` make one; in Python any number of them go to :func:`dalib.run.adapt.adapt`::

    dalib.adapt("studio/", "street/", trackers=[MlflowTracker(), ModuleTracker(trackio, {"project": "birds"})])

Knows no torch until a run begins that asks for TensorBoard, whose import takes seconds.
"""

from __future__ import annotations

import importlib
import inspect
import os
import time
import uuid
from dataclasses import dataclass, field
from importlib.util import find_spec
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import yaml

from dalib.core.console import one_line, say, say_warning
from dalib.core.errors import RunStoppedError, Setting, TrainingDivergedError, UserError
from dalib.core.files import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

Outcome = dict[str, str | float]


@dataclass(frozen=True)
class TrackedRun:
    """Holds what a tracker gets when a run begins or is resumed.

    Attributes:
        folder: the run's; a tracker may write there, under a name of its own.
        config: every setting, nested as in config.yaml, as plain values.
        steps: of each training, by name, in the order in which they train: source-only, adapted; frozen before adapted,
            where the last stages of a backbone are trained.
        resumed: whether the run resumes from checkpoints.
        logged: the last step of each training that the processes before this one logged; 0 for none. A training resumes
            from its checkpoint, which may be earlier: steps in between come again, with the same values.
    """

    folder: Path
    config: Mapping[str, Any]
    steps: Mapping[str, int]
    resumed: bool = False
    logged: Mapping[str, int] = field(default_factory=dict)


class Tracker(Protocol):
    """Hears what happens in a run: of several processes, in the first one, between two steps.

    Values are on the host already and cost no wait for the device. What a tracker raises ends its tracking with a
    warning, not the run; it then hears nothing more.
    """

    def begin(self, run: TrackedRun) -> None:
        """The run's folder is there, and training is about to begin; called once, before anything else."""

    def log(self, training: str, step: int, values: Mapping[str, float]) -> None:
        """A line of metrics.jsonl has been written: means since the line before it, of source-only or adapted.

        Args:
            training: its name.
            step: how many steps of it are done; rises from call to call.
            values: by name; not always the same names, measures of the evaluation come more rarely.
        """

    def picture(self, name: str, path: Path) -> None:
        """A PNG file has been written: ``views``, a sheet of augmented views, when a run begins."""

    def end(self, outcome: Mapping[str, str | float]) -> None:
        """The run has ended; called once, last.

        Args:
            outcome: ``status``: done, collapsed, diverged, stopped (it may be resumed) or failed. After done and
                collapsed also ``shipped``, ``outcome`` and ``headline`` of judgement.json, ``estimate/NAME``, the
                estimated accuracy of each model on the target, and ``accuracy/NAME`` where it was measured on labels.
        """


_METHODS = ("begin", "log", "picture", "end")


class Tracking:
    """The trackers of a run, as one that never raises once it is made; a context manager, which ends what has begun.

    Raises:
        UserError: when it is made, for what is no tracker.
    """

    def __init__(self, trackers: Sequence[Tracker] = ()) -> None:
        for tracker in trackers:
            if isinstance(tracker, type):
                name = tracker.__name__
                raise UserError(f"trackers: expected trackers, got the class {name}; make one with {name}()")
            missing = [name for name in _METHODS if not callable(getattr(tracker, name, None))]
            if missing:
                raise UserError(
                    f"trackers: {type(tracker).__name__} has no {', '.join(missing)}; derive it from "
                    "dalib.run.track.Tracker, whose methods do nothing"
                )
        self._trackers = list(trackers)
        self._running = False

    def add(self, tracker: Tracker) -> None:
        self._trackers.append(tracker)

    def begin(self, run: TrackedRun) -> None:
        self._running = True
        self._tell("begin", run)

    def log(self, training: str, line: Mapping[str, float]) -> None:
        """Takes a line as :class:`dalib.engine.runlog.MetricsLog` gives it: the step is among its values."""
        values = {name: value for name, value in line.items() if name != "step"}
        self._tell("log", training, int(line["step"]), values)

    def picture(self, name: str, path: Path) -> None:
        self._tell("picture", name, path)

    def end(self, outcome: Outcome) -> None:
        if self._running:
            self._running = False
            self._tell("end", outcome)

    def __enter__(self) -> Tracking:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        known = {RunStoppedError: "stopped", TrainingDivergedError: "diverged"}
        self.end({"status": "failed" if kind is None else known.get(kind, "failed")})  # a run that ended well has ended

    def _tell(self, method: str, *what: Any) -> None:
        for tracker in list(self._trackers):
            try:
                getattr(tracker, method)(*what)
            except Exception as error:  # whatever it is, hours of training are worth more
                self._trackers.remove(tracker)
                reason = one_line(f"{type(error).__name__}: {error}")
                say_warning(f"{type(tracker).__name__} failed ({reason}); the run goes on and is not tracked by it")


class TensorBoardTracker:
    """Writes event files for ``tensorboard --logdir RUN/tensorboard``.

    A folder for each training, so that the curves of source-only and adapted lie over each other; settings, views and
    outcome beside them.

    A resumed run writes further files. What the earlier ones hold of steps that come again is marked, and
    TensorBoard leaves it out.

    Raises:
        UserError: TensorBoard is not installed.
    """

    def __init__(self) -> None:
        _require("tensorboard")
        self._run: TrackedRun | None = None
        self._writers: dict[str, Any] = {}
        self._step = 0

    def begin(self, run: TrackedRun) -> None:
        self._run, self._step = run, 0
        if not run.resumed:
            self._writer("", None).add_text("settings", _as_markdown(run.config), 0)

    def log(self, training: str, step: int, values: Mapping[str, float]) -> None:
        assert self._run is not None
        self._step = step
        # the mark stands for all tags of its folder: a reason for a folder each
        writer = self._writer(training, step if self._run.resumed else None)
        for name, value in values.items():
            writer.add_scalar(name, value, step)
        writer.flush()  # else up to two minutes of it are lost with the process

    def picture(self, name: str, path: Path) -> None:
        import numpy as np
        from PIL import Image

        with Image.open(path) as opened:
            self._writer("", None).add_image(name, np.asarray(opened.convert("RGB")), 0, dataformats="HWC")

    def end(self, outcome: Mapping[str, str | float]) -> None:
        writer = self._writer("", None)
        writer.add_text("outcome", _as_markdown(outcome), self._step)
        for each in self._writers.values():
            each.close()
        self._writers.clear()

    def _writer(self, name: str, purge_step: int | None) -> Any:
        from torch.utils.tensorboard import SummaryWriter

        assert self._run is not None
        if name not in self._writers:
            folder = self._run.folder / "tensorboard" / name
            self._writers[name] = SummaryWriter(str(folder), purge_step=purge_step)
        return self._writers[name]


class ModuleTracker:
    """Reports to a module with the calls of wandb: ``init(...)``, ``log(values, step=)``, ``finish()``; so have trackio
    and swanlab.

    Such services have one clock: the steps of adapted come after those of source-only, and each training's own are
    logged as ``adapted/step``. A resumed run continues there, too, where ``init`` takes an ``id`` or ``resume``;
    steps that were logged are not logged again. The id is in the run's tracking.json.

    Args:
        module: such as wandb, imported. A picture is shown if it has ``Image``.
        settings: further arguments of its ``init``, such as project, or ``{"mode": "offline"}``, which wandb and
            swanlab need where nobody is logged in; they go before ours: name, config, and, as far as ``init`` has
            them, project, dir, id and resume.
    """

    def __init__(self, module: Any, settings: Mapping[str, Any] = MappingProxyType({})) -> None:
        self.module, self.settings = module, settings
        self._offset: dict[str, int] = {}
        self._told: Mapping[str, int] = {}
        self._last = 0

    def begin(self, run: TrackedRun) -> None:
        before = self._last = 0  # a tracker of several targets begins a run after another
        self._told = {}
        for training, steps in run.steps.items():
            self._offset[training] = before
            before += steps
        identity, known = _identity(run, str(getattr(self.module, "__name__", type(self.module).__name__)))
        if known:
            self._told = run.logged
            self._last = max((self._offset[name] + step for name, step in run.logged.items() if step), default=0)
        ours = {"name": run.folder.resolve().name, "config": dict(run.config)}
        takes = inspect.signature(self.module.init).parameters
        of_some = {"project": "dalib", "dir": str(run.folder), "id": identity, "resume": "allow"}
        ours |= {name: value for name, value in of_some.items() if name in takes}
        self.module.init(**{**ours, **self.settings})

    def log(self, training: str, step: int, values: Mapping[str, float]) -> None:
        if step <= self._told.get(training, 0):
            return
        named = {f"{training}/{name}": value for name, value in {"step": step, **values}.items()}
        self._last = self._offset[training] + step
        self.module.log(named, step=self._last)

    def picture(self, name: str, path: Path) -> None:
        if hasattr(self.module, "Image"):
            self.module.log({name: self.module.Image(str(path))}, step=0)

    def end(self, outcome: Mapping[str, str | float]) -> None:
        text = getattr(self.module, "Text", str)  # swanlab takes no bare strings
        said = {f"outcome/{name}": text(value) if isinstance(value, str) else value for name, value in outcome.items()}
        self.module.log(said, step=self._last)
        self.module.finish()


class MlflowTracker:
    """Reports to MLflow, at the address in ``MLFLOW_TRACKING_URI``: settings as parameters, metrics with the steps of
    their training, the verdict as tags, the views and the report as artifacts.

    A resumed run continues in the same run of MLflow, if that still exists; steps that were logged are not
    logged again. Its id is in the run's tracking.json. Inside ``mlflow.start_run()`` it is a child of that run.

    Args:
        experiment: its name; None takes ``MLFLOW_EXPERIMENT_NAME``, else dalib.
        module: MLflow, imported; None imports it.

    Raises:
        UserError: MLflow is not installed, or cannot write to its address.
    """

    def __init__(self, experiment: str | None = None, module: Any = None) -> None:
        if module is None:
            _require("mlflow", package="mlflow-skinny")
            module = _imported("mlflow")
        self.module = module
        self.experiment = experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or "dalib"
        try:
            self._client = module.MlflowClient()
        except Exception as error:  # in many ways, by how it is set up
            raise UserError(
                Setting("track", "mlflow"),
                f": MLflow cannot be written to ({' '.join(str(error).split())[:200]}). Name a server in ",
                "MLFLOW_TRACKING_URI, or pip install mlflow, which keeps runs in ./mlflow.db as mlflow-skinny cannot, ",
                "or set MLFLOW_ALLOW_FILE_STORE=true and MLFLOW_TRACKING_URI to a folder",
            ) from error
        self._id = ""
        self._run: TrackedRun | None = None
        self._told: Mapping[str, int] = {}

    def begin(self, run: TrackedRun) -> None:
        self._run, self._told = run, {}  # a tracker of several targets begins a run after another
        if (known := _known_identity(run, "mlflow")) is not None and self._continues(known):
            self._id, self._told = known, {name: self._last_told(known, name) for name in run.steps}
            return
        tags = {"mlflow.source.name": "dalib", "dalib.folder": str(run.folder.resolve())}
        if (outer := self.module.active_run()) is not None:
            tags["mlflow.parentRunId"] = outer.info.run_id
        made = self._client.create_run(self._experiment_id(), run_name=run.folder.resolve().name, tags=tags)
        self._id = made.info.run_id
        _remember_identity(run, "mlflow", self._id)
        settings = [self.module.entities.Param(name, str(value)) for name, value in _flat(run.config).items()]
        for first in range(0, len(settings), _MLFLOW_TOGETHER):
            self._client.log_batch(self._id, params=settings[first : first + _MLFLOW_TOGETHER])

    def log(self, training: str, step: int, values: Mapping[str, float]) -> None:
        if step > self._told.get(training, 0):
            self._metrics({f"{training}/{name}": value for name, value in values.items()}, step)

    def picture(self, name: str, path: Path) -> None:
        self._client.log_artifact(self._id, str(path))

    def end(self, outcome: Mapping[str, str | float]) -> None:
        assert self._run is not None
        texts = {f"dalib.{name}": value for name, value in outcome.items() if isinstance(value, str)}
        if "headline" in outcome:
            texts["mlflow.note.content"] = f"{outcome['headline']}."  # what MLflow shows as a run's description
        tags = [self.module.entities.RunTag(name, value) for name, value in texts.items()]
        self._client.log_batch(self._id, tags=tags)
        self._metrics({name: value for name, value in outcome.items() if not isinstance(value, str)}, 0)
        report = self._run.folder / "report.html"
        if report.is_file():
            self._client.log_artifact(self._id, str(report))
        status = {"done": "FINISHED", "collapsed": "FINISHED", "stopped": "KILLED"}
        self._client.set_terminated(self._id, status.get(str(outcome["status"]), "FAILED"))

    def _metrics(self, values: Mapping[str, float], step: int) -> None:
        now = int(time.time() * 1000)
        metrics = [self.module.entities.Metric(name, value, now, step) for name, value in values.items()]
        if metrics:
            self._client.log_batch(self._id, metrics=metrics)

    def _continues(self, known: str) -> bool:
        """Opens a run of MLflow again; returns whether it is there, and not of another store or removed."""
        try:
            self._client.update_run(known, status="RUNNING")
        except Exception as error:  # where it is kept decides of which kind
            say(f"note: MLflow has no run {known} any more ({one_line(str(error))[:200]}); a new one is begun")
            return False
        return True

    def _last_told(self, known: str, training: str) -> int:
        """Returns the last step that MLflow has: before a kill it may have heard more than was written, or less."""
        return max((each.step for each in self._client.get_metric_history(known, f"{training}/loss")), default=0)

    def _experiment_id(self) -> str:
        found = self._client.get_experiment_by_name(self.experiment)
        return str(found.experiment_id if found is not None else self._client.create_experiment(self.experiment))


_MLFLOW_TOGETHER = 100  # parameters that it takes at once


def make_tracker(name: str) -> Tracker:
    """Makes the tracker that ``--track`` names: tensorboard, mlflow or wandb.

    Raises:
        UserError: its package is not installed.
    """
    if name == "tensorboard":
        return TensorBoardTracker()
    if name == "mlflow":
        return MlflowTracker()
    _require(name)
    return ModuleTracker(_imported(name))


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            Setting("track", name),
            f": {name} is installed and does not load ({one_line(str(error))}); pip install -U {name}, ",
            "or leave out ",
            Setting("track"),
        ) from None


def _require(name: str, package: str | None = None) -> None:
    if find_spec(name) is None:
        raise UserError(Setting("track", name), f": the package {name} is not installed; pip install {package or name}")


def _identity(run: TrackedRun, service: str) -> tuple[str, bool]:
    """Returns the run's id at a service, 21 lower-case letters and digits as swanlab asks, and whether it was known."""
    known = _known_identity(run, service)
    if known is not None:
        return known, True
    fresh = uuid.uuid4().hex[:21]
    _remember_identity(run, service, fresh)
    return fresh, False


def _known_identity(run: TrackedRun, service: str) -> str | None:
    path = run.folder / "tracking.json"
    return read_json(path).get(service) if path.is_file() else None


def _remember_identity(run: TrackedRun, service: str, identity: str) -> None:
    path = run.folder / "tracking.json"
    write_json(path, {**(read_json(path) if path.is_file() else {}), service: identity})


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns nested settings under their dotted names."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        inner = _flat(value) if isinstance(value, dict) else None
        found |= {name: value} if inner is None else {f"{name}.{part}": each for part, each in inner.items()}
    return found


def _as_markdown(values: Mapping[str, Any]) -> str:
    """Returns YAML as code: TensorBoard shows text as Markdown."""
    lines = yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True, width=10_000).splitlines()
    return "".join(f"    {line}\n" for line in lines)
