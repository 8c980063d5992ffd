"""Settings of methods from when they were self-ensemble's."""

from dataclasses import asdict, replace

import yaml

from dalib.commands.older_settings import with_older_meanings
from dalib.commands.parser import make_parser
from dalib.run.settings.config import SelfEnsembleConfig, TrainConfig
from dalib.run.settings.once_shared import ONCE_SHARED

OLD = {"alpha": 0.5, "alpha_warmup": False, "teacher_dropout": False}
"""Other values than the defaults."""


def parsed(*arguments: str) -> TrainConfig:
    given, _ = with_older_meanings(["train", *arguments])
    settings = vars(make_parser(given).instantiate(make_parser(given).parse_args(given))["train"])
    for name in ("config", "resume", "allow_changes", "quiet", "verbose"):
        settings.pop(name)
    return TrainConfig(**settings)


def own_values(config: TrainConfig, method: str) -> dict[str, object]:
    group, names = ONCE_SHARED[method]
    return {name: getattr(getattr(config, group), name) for name in names}


def expected(method: str, values: dict[str, object] = OLD) -> dict[str, object]:
    return {name: values[name] for name in ONCE_SHARED[method][1]}


def old_file(tmp_path, method, **more):
    """A run's config.yaml from before the methods had settings of their own."""
    content = asdict(replace(TrainConfig(method=method), self_ensemble=SelfEnsembleConfig(**OLD)))
    for group, names in ONCE_SHARED.values():
        for name in names:
            del content[group][name]
    for group, values in more.items():
        content[group] |= values
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(content))
    return path
