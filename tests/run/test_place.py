"""Where a run's folder may lie, and what it holds before training."""

import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from dalib.core.errors import Setting, UserError
from dalib.core.files import Unreadable
from dalib.engine.distributed import World
from dalib.records.content import read_list
from dalib.records.folder import RunFolder
from dalib.records.summary import Summary
from dalib.run.place import (
    begin_folder,
    check_free,
    check_place,
    occupied,
    require_outside,
    resume_folder,
)
from dalib.run.resume import claimed
from dalib.run.settings.config import places_read
from dalib.run.settings.config_file import content_of, write_config
from dalib.run.setup import first_summary, open_data, prepare
from dalib.run.train import train


def begun(config):
    """Returns a run's folder as it is before training, and its summary."""
    setup, data = open_data(prepare(config, World()))
    run = RunFolder(Path(config.out))
    summary = first_summary(setup, data)
    with ExitStack() as held:
        begin_folder(run, setup, data, summary, held)
    return run, summary


def resume(config, run, summary, *, allow_changes=False):
    """Resumes a run up to its training, with the images as they are now."""
    _, data = open_data(prepare(config, World()))
    return resume_folder(run, summary, data.domains, allow_changes=allow_changes)


def check(config, run, *, overwrite=False):
    check_place(run, [config.source], config.target, World(), init=None, overwrite=overwrite)


def test_a_folder_lies_outside_of_the_images(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    for folder in (source, target):
        folder.mkdir()
    require_outside(tmp_path / "run", [str(source), "mnist"], [str(target)])
    with pytest.raises(UserError, match=r"^out=.*run.: it lies in source=.*, where a run's pictures would join"):
        require_outside(source / "runs" / "run", ["mnist", str(source)], [str(target)])
    with pytest.raises(UserError, match=r"^out=.*: it lies in target=.*, where the runs' pictures would join"):
        require_outside(target, [str(source)], ["usps", str(target)], "the runs'")


def test_the_refusal_of_a_folder_that_holds_something_ends_with_its_remedies(tmp_path):
    error = occupied(Path("runs"), ", add ", Setting("overwrite", True), " to replace them")
    expected = "out='runs': there is something already; give another folder, add overwrite=True to replace them"
    assert str(error) == expected


def test_a_free_folder_is_none_that_can_be_made_or_an_empty_one(tmp_path):
    check_free(RunFolder(tmp_path / "deeper" / "run"))
    assert not (tmp_path / "deeper").exists()
    check_free(RunFolder(tmp_path))


def test_the_run_to_start_from_is_no_place(tmp_path):
    with pytest.raises(UserError, match="it is the run to start from; give another folder"):
        check_free(RunFolder(tmp_path), init=str(tmp_path), overwrite=True)


def test_what_is_no_run_is_refused_and_never_replaced(tmp_path):
    notes = tmp_path / "notes.txt"
    notes.write_text("mine")
    with pytest.raises(UserError, match="expected a folder, this is a file"):
        check_free(RunFolder(notes), overwrite=True)
    with pytest.raises(UserError, match=r"give another folder, add overwrite=True .*resume="):
        check_free(RunFolder(tmp_path))
    with pytest.raises(UserError, match="not a run"):
        check_free(RunFolder(tmp_path), overwrite=True)


def test_a_run_in_which_another_process_trains_is_not_replaced(config):
    run, _ = begun(config)
    check_free(run, overwrite=True)
    with claimed(run), pytest.raises(UserError, match="another process is training in this folder"):
        check_free(run, overwrite=True)


@pytest.mark.parametrize("setting", ["target_labels", "hints", "prior", "kit", "evaluate", "source"])
def test_a_run_that_is_read_from_is_not_replaced(config, setting):
    """As with labels of a list of ``dalib query`` that was written into the run's folder."""
    run, _ = begun(config)
    file = run.root / "shares.csv"
    file.write_text("dark,1\nlight,1\n")
    value = str(run.root if setting == "prior" else file)
    reads = places_read(replace(config, **{setting: value}))
    check_free(run, overwrite=True, reads=places_read(config))
    with pytest.raises(UserError, match=rf"this run reads {setting}=.*, which would be deleted with what is in"):
        check_free(run, overwrite=True, reads=reads)
    begun(replace(config, out=str(run.root.with_name("other")), overwrite=True))


def test_labels_within_a_run_survive_a_run_that_would_replace_it(config):
    run, _ = begun(config)
    labels = run.root / "to_label.csv"
    labels.write_text("path,label\n")
    with pytest.raises(UserError, match="this run reads target_labels="):
        train(replace(config, target_labels=str(labels), overwrite=True))
    assert labels.is_file()


def test_a_run_begins_with_what_is_known_before_training(config):
    run, _ = begun(config)
    assert Summary.read(run.summary).status == "running"
    assert content_of(run.config)["steps"] == 4
    assert run.views.is_file()
    assert run.left_out.is_file()


def test_a_folder_is_free_or_a_run_to_replace(config, tmp_path):
    run = RunFolder(tmp_path / "run")
    check(config, run)
    begun(config)
    with pytest.raises(UserError, match="there is something already; give another folder"):
        check(config, run)
    check(config, run, overwrite=True)
    other = RunFolder(tmp_path / "notes")
    other.root.mkdir()
    (other.root / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="notes"):
        check(config, other, overwrite=True)
    with pytest.raises(UserError, match="expected a folder, this is a file"):
        check(config, RunFolder(other.root / "notes.txt"))


def test_a_folder_that_cannot_be_made_is_refused_before_anything_is_read(config, tmp_path):
    check(config, RunFolder(tmp_path / "deeper" / "run"))
    assert not (tmp_path / "deeper").exists()
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "run", tmp_path / "file" / "deeper" / "run"):
        with pytest.raises(UserError, match="no folder can be made in"):
            check(config, RunFolder(place))


@pytest.mark.parametrize("there", [None, "an empty folder", "a run"])
def test_a_run_is_made_where_a_link_leads(config, tmp_path, there):
    place, link = tmp_path / "disk" / "first", tmp_path / "link"
    if there == "a run":
        begun(replace(config, out=str(place)))
    elif there is not None:
        place.mkdir(parents=True)
    link.symlink_to(place)
    check(replace(config, out=str(link)), RunFolder(link), overwrite=True)
    run, _ = begun(replace(config, out=str(link), overwrite=True))
    assert link.is_symlink()
    assert Summary.read(run.summary) == Summary.read(place / "summary.json")
    assert sorted(each.name for each in place.parent.iterdir()) == ["first"]


@pytest.mark.parametrize("there", ["an empty folder", "a run"])
def test_the_folder_that_one_is_in_is_no_place_for_a_run(config, tmp_path, monkeypatch, there):
    here = tmp_path / "run"
    if there == "a run":
        begun(config)
    else:
        here.mkdir()
    monkeypatch.chdir(here)
    for place in (Path(), here):
        with pytest.raises(UserError, match=r"this is the folder in which .*; give a folder in it, such as .*run"):
            check(config, RunFolder(place), overwrite=True)


def test_where_a_disk_is_mounted_is_no_place_for_a_run(config, tmp_path, monkeypatch):
    run = RunFolder(tmp_path / "disk")
    run.root.mkdir()
    monkeypatch.setattr("os.path.ismount", lambda place: Path(place).name == "disk")
    with pytest.raises(UserError, match=r"^out=.*disk.: this is where another disk is mounted"):
        check(config, run)


def test_a_folder_beside_which_none_can_be_made_is_refused_before_anything_is_read(config, tmp_path, monkeypatch):
    def closed(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryDirectory", closed)
    run = RunFolder(tmp_path / "run")
    run.root.mkdir()
    with pytest.raises(UserError, match=r"no folder can be made in .* \(Permission denied\)\. Nothing was trained"):
        check(config, run)


def test_a_run_among_its_own_images_is_refused(config):
    run = RunFolder(Path(config.target) / "run")
    with pytest.raises(UserError, match="where a run's pictures would join the images"):
        check(config, run)


def test_settings_of_a_run_are_rewritten_and_a_resumed_run_has_to_have_them(config):
    run, summary = begun(config)
    write_config(replace(config, steps=2, overwrite=True), run.config, run.root)
    replace(summary, settings={**summary.settings, "steps": 2}).write(run.summary)
    assert content_of(run.config)["steps"] == 2
    assert not content_of(run.config)["overwrite"]
    with pytest.raises(UserError, match="steps"):
        resume(config, run, summary)
    resume(config, run, summary, allow_changes=True)
    assert Summary.read(run.summary).settings["steps"] == 4


@pytest.mark.parametrize("status", ["done", "collapsed", "running", "diverged"])
def test_a_run_that_has_ended_says_so_when_it_is_resumed(config, capsys, status):
    run, summary = begun(config)
    replace(summary, status=status).write(run.summary)
    resume(config, run, summary)
    assert ("has finished already" in capsys.readouterr().out) == (status in ("done", "collapsed"))


def test_a_run_that_resumes_lists_the_files_that_cannot_be_read_now(config, images, tmp_path):
    shutil.copytree(images / "target", target := tmp_path / "target")
    config = replace(config, target=str(target))
    run, summary = begun(config)
    assert read_list(Unreadable, run.unreadable) == ()
    (target / "0.png").write_bytes(b"no image")
    (target / "notes.txt").write_text("no image either")
    resume(config, run, summary, allow_changes=True)
    (unreadable,) = read_list(Unreadable, run.unreadable)
    assert Path(unreadable.path).name == "0.png"
    assert [Path(each.path).name for each in run.read_left_out().target] == ["notes.txt"]


def test_the_remedy_of_a_stopped_run_is_a_call(tmp_path):
    assert "resume" in str(RunFolder(tmp_path).resume_call)
