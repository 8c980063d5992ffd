"""What folders alone tell of data that a run cannot use; tests of a whole preparation are those of dalib.run.setup."""

import shutil
from dataclasses import replace

import pytest

from dalib.core.errors import UserError
from dalib.run.start.data_check import LabelledSet, check_data
from dalib.run.start.domains import DataRequest


@pytest.fixture
def request_of(images):
    def made(**settings):
        return DataRequest(source=str(images / "source"), target=str(images / "target"), seed=0, **settings)

    return made


def test_a_labelled_set_may_have_other_classes_only_where_they_are_expected(request_of, images, tmp_path):
    (tmp_path / "grey").symlink_to(images / "source" / "dark")
    with pytest.raises(UserError, match="does not know the class folders 'grey'"):
        check_data(request_of(), LabelledSet(str(tmp_path)), prior="uniform")
    check_data(request_of(), LabelledSet(str(tmp_path), others=True), prior="uniform")


def test_right_data_are_let_pass(request_of, images):
    check_data(request_of(), LabelledSet(None), prior="uniform")
    check_data(request_of(), LabelledSet(str(images / "test")), prior="uniform")


@pytest.mark.parametrize(
    ("folders", "others", "said"),
    [
        (("dark", "light", "grey"), False, True),
        (("dark", "light", "grey"), True, False),
        (("dark", "light"), False, False),
        (("monday", "tuesday", "light"), False, False),  # folders of something else than classes
    ],
)
def test_folders_of_other_classes_are_told_where_most_are_named_like_classes(
    request_of, images, tmp_path, capsys, folders, others, said
):
    for folder in folders:
        (tmp_path / "target" / folder).mkdir(parents=True)
        for file in (images / "source" / "dark").iterdir():
            (tmp_path / "target" / folder / file.name).symlink_to(file)
    request = replace(request_of(), target=str(tmp_path / "target"))
    check_data(request, LabelledSet(None, others=others), prior="uniform")
    told = capsys.readouterr().out
    assert ("folders of the target that are named like no class of the source (grey) hold 10 images" in told) == said


@pytest.mark.parametrize(("folder", "said"), [("Dark", True), ("darker", False)])
def test_classes_of_two_sources_that_differ_in_spelling_alone_are_told(
    request_of, images, tmp_path, capsys, folder, said
):
    for name, like in ((folder, "dark"), ("light", "light")):
        (tmp_path / "second" / name).mkdir(parents=True)
        for file in (images / "source" / like).iterdir():
            (tmp_path / "second" / name / file.name).symlink_to(file)
    request = replace(request_of(), source=[str(images / "source"), str(tmp_path / "second")])
    check_data(request, LabelledSet(None), prior="uniform")
    told = "of the source's classes, 'Dark' and 'dark' differ in spelling alone and are trained as several"
    assert (told in capsys.readouterr().out) == said


def test_a_folder_of_the_target_that_is_spelled_otherwise_is_no_other_class(request_of, images, tmp_path, capsys):
    for folder in ("dark", "Light"):
        (tmp_path / folder).mkdir()
        for file in (images / "source" / "dark").iterdir():
            (tmp_path / folder / file.name).symlink_to(file)
    check_data(replace(request_of(), target=str(tmp_path)), LabelledSet(None), prior="uniform")
    assert "named like no class" not in capsys.readouterr().out


def test_images_beside_the_folders_of_the_target_are_of_no_folder(request_of, images, tmp_path, capsys):
    target = tmp_path / "street"
    (target / "dark").mkdir(parents=True)
    for file in (images / "source" / "dark").iterdir():
        (target / "dark" / file.name).symlink_to(file)
        (target / f"loose-{file.name}").symlink_to(file)
    check_data(replace(request_of(), target=str(target)), LabelledSet(None), prior="uniform")
    assert "named like no class" not in capsys.readouterr().out


def test_files_of_a_list_that_are_not_there_are_of_no_folder(request_of, images, tmp_path, capsys):
    target = tmp_path / "street"
    for folder in ("dark", "light", "grey"):
        (target / folder).mkdir(parents=True)
        for file in (images / "source" / "dark").iterdir():
            shutil.copy(file, target / folder / file.name)
    there = [f"{path.parent.name}/{path.name}" for path in sorted(target.rglob("*.*"))]
    gone = [name for name in there if name.startswith("grey")][1:]
    for name in gone:
        (target / name).unlink()
    (target / "list.csv").write_text("\n".join(["path", *there, "gone/1.png"]))
    check_data(replace(request_of(), target=str(target / "list.csv")), LabelledSet(None), prior="uniform")
    assert "no class of the source (grey) hold 1 image;" in capsys.readouterr().out
    (target / "list.csv").write_text("\n".join(["path", *[name for name in there if "grey" not in name], *gone]))
    check_data(replace(request_of(), target=str(target / "list.csv")), LabelledSet(None), prior="uniform")
    assert "named like no class" not in capsys.readouterr().out


def test_too_few_images_to_tell_unknown_ones_are_refused_before_anything_is_trained(request_of, images):
    request = request_of()
    files = sorted((images / "target").rglob("*.*"))
    for path in files[9:]:
        path.unlink()
    check_data(request, LabelledSet(None), prior="uniform")
    with pytest.raises(UserError, match=r"expected at least 10 target images to tell unknown ones, got \d"):
        check_data(request, LabelledSet(None, others=True), prior="uniform")
