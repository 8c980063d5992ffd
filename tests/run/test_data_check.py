"""What folders alone tell of data that a run cannot use; tests of a whole preparation are those of dalib.run.setup."""

import pytest

from dalib.core.errors import UserError
from dalib.run.data_check import LabelledSet, check_data
from dalib.run.domains import DataRequest


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
