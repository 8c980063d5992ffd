"""What openers share: whether a list may leave its folder."""

from dalib.core.places import GIVEN
from dalib.data.cache import default_cache_folder
from dalib.data.preprocessing import Preprocessing
from dalib.data.reading_options import Reading

GREY = Preprocessing(size=4, channels=1)


def test_a_list_leaves_its_folder_where_that_is_allowed_and_where_we_wrote_it(tmp_path):
    assert not Reading(GREY, "source").may_leave(tmp_path / "list.csv")
    assert Reading(GREY, "source", allow_outside=True).may_leave(tmp_path / "list.csv")
    assert Reading(GREY, "source").may_leave(default_cache_folder() / GIVEN / ("0" * 32) / "list.csv")
