"""What a run was made of: only what is known, each with its name."""

from dalib.records.folder import RunRecords
from dalib.records.judgement import Judgement, KeptStep, Prior
from dalib.records.summary import Stopped, Summary
from dalib.report.facts import facts


def test_a_run_that_has_begun_knows_little():
    assert facts(RunRecords(Summary())) == [("Status", "not finished")]


def test_what_is_known_has_its_name():
    summary = Summary(
        status="collapsed",
        method="mcc",
        source="a",
        target="b",
        classes=("x",) * 1200,
        counts={"source": 12000, "unreadable": 0},
        seconds={"adapted": 90.0, "nobody knows": 5.0},
        dalib="1.2",
        python="3.12.1",
        stopped=Stopped(30, "one class is left"),
    )
    judgement = Judgement("adapted", "collapsed", selection=KeptStep(1500, 2000), prior=Prior("estimate"))
    found = dict(facts(RunRecords(summary, judgement=judgement)))
    assert found["Classes"] == "1,200"
    assert (found["Source images"], found["Unreadable files"]) == ("12,000", "0")
    assert found["Kept weights"] == "step 1,500 of 2,000"
    assert found["Stopped"] == "one class is left"
    assert found["Versions"] == "dalib 1.2, Python 3.12.1"
    assert found["Class prior"] == "estimate"
    assert found["Training adapted"] == "1 min 30 s"
    assert "Target images" not in found
    assert not any("nobody" in name for name in found)


def test_trained_stages_say_what_they_start_from():
    summary = Summary(settings={"model.trained_stages": 2})
    assert ("Trained stages", "the last 2 of the backbone, from frozen/model on") in facts(RunRecords(summary))
