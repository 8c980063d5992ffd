"""Curves of the trainings: which charts there are, and what they mark."""

from dalib.records.folder import RunFolder, RunRecords
from dalib.records.judgement import Judgement, KeptStep, MaskThreshold
from dalib.records.metrics import MetricsLine
from dalib.records.summary import Summary
from dalib.report.charts import kept_step, metrics_of, training_charts


def lines(**values: tuple[float, ...]) -> tuple[MetricsLine, ...]:
    steps = range(len(next(iter(values.values()))))
    return tuple(MetricsLine(10 * step, {name: each[step] for name, each in values.items()}) for step in steps)


def charts(records: RunRecords, **values: tuple[float, ...]) -> dict[str, object]:
    return {each.title: each for each in training_charts({records.own: lines(**values)}, records)}


ADAPTED = RunRecords(Summary(method="self-ensemble", classes=("a", "b", "c")))
ALONE = RunRecords(Summary(method="source-only"))


def test_only_charts_with_a_curve_are_drawn():
    assert charts(ADAPTED, speed=(1.0, 2.0)) == {}
    found = charts(ADAPTED, supervised=(2.0, 1.0), loss=(2.0, 1.0), target_classes=(3.0, 2.5))
    assert list(found) == ["Loss parts, adapted", "Classes in use on the target, adapted"]


def test_a_part_that_is_zero_throughout_is_left_out():
    found = charts(ADAPTED, supervised=(2.0, 1.0), consistency=(0.0, 0.0), class_balance=(0.0, 0.5))
    assert [line.name for line in found["Loss parts, adapted"].lines] == ["supervised", "class balance"]


def test_teacher_and_student_are_drawn_of_an_adapted_model_alone():
    title = "Teacher and student on the target"
    assert title in charts(ADAPTED, mask_rate=(0.5, 0.75), agreement=(0.5, 1.0))
    assert title not in charts(ALONE, mask_rate=(0.5, 0.75), agreement=(0.5, 1.0))


def test_mask_rates_name_the_threshold_of_the_method_once_it_is_known():
    judged = RunRecords(ADAPTED.summary, judgement=Judgement("adapted", "helped", mask_threshold=MaskThreshold(0.95)))
    for title, name in (
        ("Teacher and student on the target", "mask_rate"),
        ("Label-free scores, adapted", "target_mask_rate"),
    ):
        curves = {name: (0.5, 0.75)}
        assert "above 0.95." in charts(judged, **curves)[title].note
        assert "above" not in charts(ADAPTED, **curves)[title].note


def test_validation_has_a_curve_for_each_model():
    metrics = {name: lines(source_validation_accuracy=(0.5, 0.75)) for name in ("source-only", "adapted")}
    (found,) = training_charts(metrics, ADAPTED)
    assert [line.name for line in found.lines] == ["source-only", "adapted"]


def test_the_kept_step_is_the_judgements_else_the_summarys():
    selection = KeptStep(40, 100, "judged", "")
    judged = RunRecords(Summary(kept_step=7), judgement=Judgement("adapted", "helped", selection=selection))
    assert kept_step(judged) == selection
    assert kept_step(RunRecords(Summary(kept_step=7))) == KeptStep(7)
    assert kept_step(ADAPTED) is None


def test_metrics_are_read_of_each_training_of_the_run(tmp_path):
    run = RunFolder(tmp_path)
    assert metrics_of(run, ALONE) == {"source-only": ()}
    for folder, step in ((run, 1), (run.source_only, 2)):
        folder.metrics.parent.mkdir(parents=True, exist_ok=True)
        folder.metrics.write_text(f'{{"step": {step}}}\n', encoding="utf-8")
    assert metrics_of(run, ALONE) == {"source-only": (MetricsLine(1),)}
    assert metrics_of(run, ADAPTED) == {"source-only": (MetricsLine(2),), "adapted": (MetricsLine(1),)}
