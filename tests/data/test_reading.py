"""What openers share: whether a list may leave its folder, and images that cannot be read."""

import pytest

from dalib.core.errors import UserError
from dalib.core.files import Unreadable
from dalib.core.places import GIVEN
from dalib.data.cache import default_cache_folder
from dalib.data.preprocessing import Preprocessing
from dalib.data.reading import Reading, refuse_unreadable

GREY = Preprocessing(size=4, channels=1)
BROKEN = tuple(Unreadable(f"{number}.png", "an empty file") for number in range(7))


def test_a_list_leaves_its_folder_where_that_is_allowed_and_where_we_wrote_it(tmp_path):
    assert not Reading(GREY, "source").may_leave(tmp_path / "list.csv")
    assert Reading(GREY, "source", allow_outside=True).may_leave(tmp_path / "list.csv")
    assert Reading(GREY, "source").may_leave(default_cache_folder() / GIVEN / ("0" * 32) / "list.csv")


def test_unreadable_images_are_refused_in_strict_reading_alone():
    refuse_unreadable((), "source", "photos/", strict=True)
    refuse_unreadable(BROKEN, "source", "photos/", strict=False)
    with pytest.raises(UserError, match=r"^source='photos/': 1 images cannot be read: 0\.png: an empty file\. Mend or"):
        refuse_unreadable(BROKEN[:1], "source", "photos/", strict=True)


def test_of_many_unreadable_images_the_first_five_are_named():
    message = r"7 images cannot be read: 0\.png.*4\.png: an empty file; and 2 more\. Mend"
    with pytest.raises(UserError, match=message) as refused:
        refuse_unreadable(BROKEN, "source", "photos/", strict=True)
    assert "5.png" not in str(refused.value)
