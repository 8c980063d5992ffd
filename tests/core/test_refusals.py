"""What the system refuses to write: which faults are the user's to mend, and what the errors say."""

import errno
import os
import tempfile

import pytest

from dalib.core.errors import NotWrittenError, Setting, UserError
from dalib.core.refusals import refusal, refusals_in_words, require_writable


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EPERM])
def test_a_place_that_may_not_be_written_is_named_with_the_remedy(number):
    said = refusal(OSError(number, os.strerror(number), "table.csv.tmp"), "try again")
    assert said.startswith(f"table.csv: {os.strerror(number)}; let it be read and written")
    assert said.endswith("and try again")


def test_a_full_disk_needs_room_and_names_no_file():
    assert "what was to be written" in refusal(OSError(errno.ENOSPC, "full"), "try again")
    assert "make room, and try again" in refusal(OSError(errno.ENOSPC, "full", "a"), "try again")
    assert refusal(OSError(errno.ENAMETOOLONG, "too long", "a"), "go on") == "a: too long; give another name, and go on"


def test_other_faults_are_none_of_the_users():
    fault = OSError(errno.EIO, "input/output error", "a")
    assert refusal(fault, "") is None
    with pytest.raises(OSError, match="input/output error") as caught, refusals_in_words():
        raise fault
    assert caught.value is fault
    with pytest.raises(OSError, match="denied"), refusals_in_words():
        raise OSError(errno.EACCES, "denied")  # nobody knows where


def test_the_error_keeps_what_was_computed():
    refused = pytest.raises(NotWrittenError, match=r"^a: full; make room.*The features are not lost")
    with refused as caught, refusals_in_words([1, 2], "features"):
        raise OSError(errno.ENOSPC, "full", "a")
    assert caught.value.result == [1, 2]


def test_a_folder_is_tried_before_the_work(tmp_path, monkeypatch):
    require_writable(tmp_path, Setting("out"))
    assert list(tmp_path.iterdir()) == []

    def refuse(**settings):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", refuse)
    with pytest.raises(UserError, match=r"^out='x': no file can be written in .* \(Read-only file system\); make room"):
        require_writable(tmp_path, Setting("out", "x"))
