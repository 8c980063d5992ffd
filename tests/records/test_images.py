"""Names of images and of files that are not used, in their files."""

from dalib.core.files import Unreadable
from dalib.records.images import ImageNames, LeftOut


def test_names_keep_their_order_and_their_letters(tmp_path):
    names = ImageNames(("b.png", "a.png", 'Übung "1".png', "b.png"), ("v.png",))
    names.write(tmp_path / "images.json")
    assert ImageNames.read(tmp_path / "images.json") == names


def test_files_that_are_not_used_have_their_reasons(tmp_path):
    left_out = LeftOut(target=(Unreadable("notes.txt", "no image"),))
    left_out.write(tmp_path / "left_out.json")
    assert LeftOut.read(tmp_path / "left_out.json") == left_out
