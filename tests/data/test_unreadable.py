"""Images that cannot be read are refused where reading is strict."""

import pytest

from dalib.core.errors import UserError
from dalib.core.files import Unreadable
from dalib.data.unreadable import refuse_unreadable

BROKEN = tuple(Unreadable(f"{number}.png", "an empty file") for number in range(7))


def test_unreadable_images_are_refused_in_strict_reading_alone():
    refuse_unreadable((), "source", "photos/", strict=True)
    refuse_unreadable(BROKEN, "source", "photos/", strict=False)
    with pytest.raises(UserError, match=r"^source='photos/': 1 image cannot be read: 0\.png: an empty file\. Mend or"):
        refuse_unreadable(BROKEN[:1], "source", "photos/", strict=True)


def test_of_many_unreadable_images_the_first_five_are_named():
    message = r"7 images cannot be read: 0\.png.*4\.png: an empty file; and 2 more\. Mend"
    with pytest.raises(UserError, match=message) as refused:
        refuse_unreadable(BROKEN, "source", "photos/", strict=True)
    assert "5.png" not in str(refused.value)
