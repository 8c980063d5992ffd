import pytest
import torch
from two_domains import two_domains

from dalib.judge.signs import neighbour_agreement
from dalib.judge.structure import COMPONENTS, NEIGHBOURS, Representation, components, structure_of


def test_neighbours_are_of_the_same_class_and_never_the_image_itself():
    representation, labels = two_domains()
    neighbours = structure_of(representation, 4).neighbours
    assert neighbours.shape == (120, NEIGHBOURS)
    assert not (neighbours == torch.arange(120)[:, None]).any()
    assert (labels[neighbours] == labels[:, None]).all()


def test_the_shift_of_a_whole_domain_changes_nothing():
    near, far = (structure_of(two_domains(shift=shift)[0], 4) for shift in (0.0, 1000.0))
    assert torch.equal(near.neighbours, far.neighbours)
    assert torch.allclose(near.target.abs(), far.target.abs(), atol=1e-3)


def test_without_source_images_there_are_no_components_of_it():
    representation, _ = two_domains()
    alone = Representation(representation.target, representation.source[:0], representation.labels[:0])
    assert structure_of(alone, 4).source.shape[0] == 0


def test_few_images_have_few_neighbours():
    representation, _ = two_domains(num_classes=2, per_class=2)
    structure = structure_of(representation, 2)
    assert structure.neighbours.shape == (4, 1)


def test_neighbours_of_a_class_of_few_images_are_not_mostly_of_other_classes():
    representation, labels = two_domains(num_classes=8, per_class=6)
    found = structure_of(representation, 8).neighbours
    assert found.shape == (48, 3)
    assert neighbour_agreement(labels, structure_of(representation, 8)) > 0.9


def test_a_feature_that_never_varies_is_no_division_by_zero():
    representation, _ = two_domains()
    constant = torch.ones(120, 1)
    with_constant = Representation(
        torch.cat([representation.target, constant], 1),
        torch.cat([representation.source, constant], 1),
        representation.labels,
    )
    structure = structure_of(with_constant, 4)
    assert structure.target.isfinite().all()
    assert torch.equal(structure.neighbours, structure_of(representation, 4).neighbours)


@pytest.mark.parametrize("shape", [(20, 300), (300, 20), (70, 70)])
def test_components_are_orthonormal_and_those_of_a_singular_value_decomposition(shape):
    values = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = components(values).double()
    kept = min(COMPONENTS, *shape)
    assert found.shape == (shape[1], kept)
    assert torch.allclose(found.T @ found, torch.eye(kept, dtype=torch.float64), atol=1e-5)
    expected = torch.linalg.svdvals(values)[:kept]
    assert torch.allclose((values @ found).norm(dim=0), expected, rtol=1e-4)


@pytest.mark.parametrize(("target", "source", "labels"), [((5, 3), (4, 2), 4), ((5, 3), (4, 3), 5), ((5,), (4,), 4)])
def test_shapes_that_do_not_fit_are_refused(target, source, labels):
    with pytest.raises(ValueError, match="target, source, labels: expected"):
        Representation(torch.zeros(target), torch.zeros(source), torch.zeros(labels, dtype=torch.int64))


@pytest.mark.parametrize(("images", "classes"), [(1, 2), (5, 1)])
def test_one_image_or_one_class_has_no_structure(images, classes):
    alone = Representation(torch.zeros(images, 3), torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))
    with pytest.raises(ValueError, match="expected at least 2 target images and 2 classes"):
        structure_of(alone, classes)
