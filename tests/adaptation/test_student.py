"""The student's forward pass: batch normalisation of each batch by itself, or of all together."""

import copy

import torch
from equations import CLASSES, N, batch_of, student_of
from torch import nn

from dalib.adaptation.student import EachDomain, StudentPass


def test_each_batch_is_normalised_by_itself():
    student, batch = student_of(), batch_of()
    batches = (batch.source, *batch.target)
    expected = [copy.deepcopy(student)(images) for images in batches]
    torch.testing.assert_close(list(StudentPass(student, None)(*batches)), expected)


def test_the_running_statistics_see_the_batches_in_their_order():
    student, batch = student_of(), batch_of(1)
    expected = copy.deepcopy(student)
    for images in (batch.source, *batch.target):
        expected(images)
    StudentPass(student, None)(batch.source, *batch.target)
    torch.testing.assert_close(student[0].running_mean, expected[0].running_mean)


def test_batches_of_other_sizes_can_be_one_batch():
    student, batch = student_of(), batch_of(1)
    batches = (batch.source, batch.target[0][: N - 2])
    joint = copy.deepcopy(student)(torch.cat(batches)).float()
    found = StudentPass(student, None).joint(*batches)
    assert [tuple(each.shape) for each in found] == [(N, CLASSES), (N - 2, CLASSES)]
    torch.testing.assert_close(torch.cat(found), joint, check_dtype=False)


def test_logits_of_half_precision_are_compared_in_float32():
    student, images = student_of(norm=False).bfloat16(), batch_of().source.bfloat16()
    (found,) = StudentPass(student, None).joint(images)
    assert found.dtype == torch.float32


def test_the_gradient_reaches_the_student_once_for_all_batches():
    student, batch = student_of(), batch_of(1)
    sum(each.square().sum() for each in StudentPass(student, None)(batch.source, *batch.target)).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in student[1].parameters())


def test_logits_are_the_first_entry_of_a_tuple():
    class Pair(nn.Module):
        def forward(self, images):
            return images, images + 1

    images = torch.ones(2, 3)
    assert [each.tolist() for each in EachDomain(Pair())(images, images + 1)] == [[[1.0] * 3] * 2, [[2.0] * 3] * 2]


def test_passes_of_another_kind_take_the_place_of_one_for_each_domain():
    class Sum(nn.Module):
        def __init__(self, student):
            super().__init__()
            self.student = student

        def forward(self, *batches):
            return (self.student(sum(batches)),)

    found = StudentPass(nn.Identity(), None, Sum)(torch.ones(1, 2), torch.ones(1, 2))
    assert [each.tolist() for each in found] == [[[2.0, 2.0]]]
