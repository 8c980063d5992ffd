"""The header of a kit: what it may hold, and a digest that every change of the file breaks."""

import re

import pytest
import torch
from safetensors.torch import save

from dalib.core.errors import UserError
from dalib.records.kit import FORMAT, KitHeader, digest_of, read_header, settings_in_kit

DESCRIPTION = {"architecture": {"backbone": "small"}, "classes": ["bee", "cat"], "preprocessing": {}}
HEADER = KitHeader(DESCRIPTION, {"batch": 8, "model.dropout": 0.5}, (4, 9), ())


def written(path, header=HEADER, change=lambda text: text):
    """Writes a kit of one tensor, with the digest of what is written."""
    tensors = {"weight": torch.arange(6.0)}
    text = change(header.text().partition("\n")[2])
    digest = digest_of(save(tensors, {"kit": f"\n{text}"}))
    path.write_bytes(save(tensors, {"kit": f"{digest}\n{text}"}))
    return path


def test_a_header_is_read_as_it_was_written(tmp_path):
    found = read_header(written(tmp_path / "a.dalib"))
    assert (found.description, found.settings, found.counts) == (DESCRIPTION, HEADER.settings, (4, 9))
    assert len(found.digest) == 32


def test_a_changed_byte_breaks_the_digest(tmp_path):
    path = written(tmp_path / "a.dalib")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="does not fit its digest"):
        read_header(path)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (f'"format": {FORMAT}', f'"format": {FORMAT + 1}', f"written in format {FORMAT + 1}; this version reads up"),
        ('"batch": 8', '"weights": "/home/a.pth"', "setting weights: a kit holds none of this name"),
        ('"backbone": "small"', '"backbone": "hf_hub:a/b"', "expected the name of a network"),
        ('"counts": [4, 9]', '"counts": [4]', "expected a number of images for each class"),
    ],
)
def test_what_no_kit_holds_is_refused(tmp_path, old, new, told):
    def change(text):
        assert old in text
        return text.replace(old, new)

    with pytest.raises(UserError, match=re.escape(told)):
        read_header(written(tmp_path / "a.dalib", change=change))


@pytest.mark.parametrize("content", [b"", b"no kit", save({"weight": torch.zeros(2)})])
def test_what_is_no_kit_is_refused(tmp_path, content):
    (tmp_path / "a.dalib").write_bytes(content)
    with pytest.raises(UserError, match="not a kit, or a damaged one"):
        read_header(tmp_path / "a.dalib")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        read_header(tmp_path / "nothing.dalib")


def test_no_setting_of_a_kit_names_a_file():
    settings = {"source": "a", "target": "b", "weights": "c", "out": "d", "views": {"student": "warp"}, "batch": 4}
    assert settings_in_kit(settings) == {"views.student": "warp", "batch": 4}
