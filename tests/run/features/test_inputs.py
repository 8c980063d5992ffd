"""Views of images and of stored features, and how features reach a network."""

from dataclasses import replace

import torch

from dalib.augment.stored import Standardized
from dalib.models.architecture import Architecture
from dalib.run.features.inputs import StandardizedViews, Views, feature_inputs

ARCHITECTURE = Architecture(backbones=("resnet18",), bottleneck_dim=8, channels=3, size=32, standardize=True)
FEATURES = torch.arange(24.0).view(2, 3, 4)  # (N, V, D)


def test_the_first_view_of_the_target_is_the_students_and_the_others_are_the_teachers():
    views = Views(*("source", "student", "teacher"))
    assert [views.of_target(count) for count in range(4)] == [
        (),
        ("student",),
        ("student", "teacher"),
        ("student", "teacher", "teacher"),
    ]


def test_plain_features_are_all_that_is_stored():
    inputs = feature_inputs(ARCHITECTURE, 4)
    assert inputs.architecture == replace(ARCHITECTURE, features_dim=4)
    for plain in (inputs.plain, inputs.plain_source):
        assert torch.equal(plain(FEATURES.half()), FEATURES)


def test_features_are_standardised_before_the_network_which_then_does_not():
    source, target, plain = (
        Standardized(torch.full((4,), mean), torch.full((4,), std))
        for mean, std in ((1.0, 1.0), (2.0, 2.0), (3.0, 4.0))
    )
    inputs = feature_inputs(ARCHITECTURE, 4, StandardizedViews(source, target, plain))
    assert inputs.architecture.standardize is False
    torch.testing.assert_close(inputs.plain(FEATURES), plain(FEATURES))
    torch.testing.assert_close(inputs.plain_source(FEATURES), source(FEATURES))
    assert not torch.equal(inputs.plain(FEATURES), inputs.plain_source(FEATURES))


def test_students_and_teachers_views_of_one_image_differ():
    views = feature_inputs(ARCHITECTURE, 4).views
    common = views.common(FEATURES, torch.Generator().manual_seed(0))
    student, teacher = (view(common, torch.Generator()) for view in views.of_target(2))
    assert student.shape == teacher.shape == (2, 4)
    for row in range(2):
        assert not torch.equal(student[row], teacher[row])
        assert all(any(torch.equal(each[row], stored) for stored in FEATURES[row]) for each in (student, teacher))
