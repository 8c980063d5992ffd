"""The folder of several targets, made of a finished run without a training."""

import shutil

from dalib.core.files import write_text
from dalib.records.several import SeveralFolder, SeveralTargets, TargetResult
from dalib.run.settings.config import TrainConfig
from dalib.run.settings.config_file import config_text


def make_several(folder, run, names, waiting=()):
    """Returns the folder with a copy of the run for each name, and targets that wait."""
    for name in names:
        shutil.copytree(run, folder / name)
    targets = {name: f"images/{name}" for name in (*names, *waiting)}
    write_text(folder / "config.yaml", config_text(TrainConfig(source="images/source", target=targets)))
    several = SeveralFolder(folder)
    results = tuple(TargetResult(name, target) for name, target in targets.items())
    SeveralTargets("images/source", results).write(several.record)
    return several
