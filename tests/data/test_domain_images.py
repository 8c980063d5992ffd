"""Images of a domain say in short what they are, and those of a target hold no labels."""

from dataclasses import fields, replace

import numpy as np
import torch

from dalib.data.domain_images import UnlabelledImages
from dalib.data.preprocessing import Preprocessing
from dalib.data.sources import open_source, open_target

GREY = Preprocessing(size=4, channels=1)
PIXELS = np.random.default_rng(0).integers(0, 256, (6, 5, 7, 3), dtype=np.uint8)


def test_a_target_has_no_field_for_labels():
    assert {each.name for each in fields(UnlabelledImages)} == {"images", "names", "unreadable", "left_out", "outside"}


def test_images_are_shown_in_short():
    labelled = open_source((PIXELS, ["cat", "dog", "cat", "ant", "ant", "dog"]), GREY)
    shape = tuple(labelled.images.shape[1:])
    assert repr(labelled) == f"LabelledImages(6 images of {shape}, 3 classes: ant 2, cat 2, dog 2)"
    assert repr(open_target(PIXELS, GREY)) == f"UnlabelledImages(6 images of {shape})"
    many = replace(labelled, labels=torch.arange(6) % 6, classes=tuple(map(str, range(20))))
    assert repr(many).endswith("20 classes: 0 1, 1 1, 2 1, 3 1, 4 1, 5 1, 6 0, 7 0, 8 0, 9 0 and 10 more)")
