"""The way from images to stored features, and from a head that was trained on them back to a network of images."""

import shutil
from dataclasses import replace

import pytest
import torch

from dalib.augment.views import photo_weak
from dalib.core.deviations import to_divide_by
from dalib.core.errors import UserError
from dalib.core.seeds import generator_for
from dalib.data.preprocessing import Preprocessing
from dalib.data.rows import Selected, SideBySide
from dalib.engine.predict import predict_probabilities
from dalib.models import inference
from dalib.models.architecture import Architecture, BackboneInput, TimmSettings
from dalib.models.domain_statistics import with_statistics
from dalib.models.network import make_classifier, make_predictor
from dalib.run.features import feature_space
from dalib.run.features.feature_space import SEED, Averaged, FeatureSpace, one_by_one, standardization
from dalib.run.features.inputs import StandardizedViews

CPU = torch.device("cpu")
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.2, 0.2)
PREPROCESSING = Preprocessing(size=40, channels=3, crop=32, mean=MEAN, std=STD)
ARCHITECTURE = Architecture(
    backbones=("test_resnet",),
    bottleneck_dim=8,
    channels=3,
    size=32,
    standardize=True,
    timm=TimmSettings(pretrained=True, frozen_stages=-1, checkpointing=False, features=True),
)
SEVERAL = {
    "backbones": ("test_efficientnet", "test_resnet"),
    "inputs": (BackboneInput(24, (0.5,) * 3, (0.25,) * 3), BackboneInput(32, MEAN, STD)),
}
HALF = {"atol": 2e-3, "rtol": 2e-3}  # features are kept in half precision


@pytest.fixture(scope="module")
def images():
    return torch.randint(0, 256, (5, 3, 40, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def network_of(**changes):
    torch.manual_seed(0)
    return make_classifier(replace(ARCHITECTURE, **changes), 3).eval()


def space_of(folder, averaged_views=0, network=None):
    return FeatureSpace.of(network or network_of(), PREPROCESSING, folder, CPU, Averaged(averaged_views))


def pooled(space, views):
    with torch.no_grad():
        return space.network.pool_layer(space.network.backbone(views))


def test_plain_features_are_of_the_normalised_centre(images, tmp_path):
    space = space_of(tmp_path)
    features = space.plain(images, "images")
    assert features.shape == (5, 1, space.width)
    assert features.dtype == torch.float16
    torch.testing.assert_close(features[:, 0].float(), pooled(space, PREPROCESSING.normalize(images)), **HALF)


def test_plain_features_to_average_are_of_each_fixed_warp(images, tmp_path):
    space = space_of(tmp_path, averaged_views=3)
    features = space.plain(images, "images")
    assert features.shape == (5, 3, space.width)
    warps = make_predictor(space.network, replace(ARCHITECTURE, averaged_views=3)).warps
    for number in range(3):
        expected = pooled(space, warps(PREPROCESSING.normalize(images), number))
        torch.testing.assert_close(features[:, number].float(), expected, **HALF)


def test_views_to_average_that_are_not_mirrored_are_kept_apart(images, tmp_path):
    network = network_of()
    mirrored, straight = (
        FeatureSpace.of(network, PREPROCESSING, tmp_path, CPU, Averaged(2, mirrors=mirrors))
        for mirrors in (True, False)
    )
    first, second = mirrored.plain(images, "images"), straight.plain(images, "images")
    assert torch.equal(first[:, 0], second[:, 0])
    assert not torch.equal(first[:, 1], second[:, 1])
    architecture = replace(ARCHITECTURE, averaged_views=2, mirrored=False)
    assert Averaged.of(architecture) == straight.averaged
    warps = make_predictor(network, architecture).warps
    expected = pooled(straight, warps(PREPROCESSING.normalize(images), 1))
    torch.testing.assert_close(second[:, 1].float(), expected, **HALF)


def test_random_features_are_of_views_drawn_anew_and_the_same_for_all_runs(images, tmp_path):
    view = photo_weak(32, MEAN, STD)
    space = space_of(tmp_path / "a")
    features = space.random(images, view, 2, "images")
    assert features.shape == (5, 2, space.width)
    assert not torch.equal(features[:, 0], features[:, 1])
    torch.testing.assert_close(features, space_of(tmp_path / "b").random(images, view, 2, "images"))
    filled = images[torch.arange(8).clamp(max=4)]  # the only batch is filled up to its 8
    seen = view(filled, generator_for(CPU, SEED, "features", 1, 0))[:5]
    torch.testing.assert_close(features[:, 1].float(), pooled(space, seen), **HALF)


def test_features_are_computed_once_for_what_they_depend_on(images, tmp_path):
    calls = []

    def progress(done, total):
        calls.append((done, total))

    space, view = space_of(tmp_path), photo_weak(32, MEAN, STD)
    first = space.random(images, view, 2, "images", progress)
    assert calls == [(5, 5)]
    assert torch.equal(first, space_of(tmp_path).random(images, view, 2, "of another name", progress))
    assert calls == [(5, 5)]
    space.random(images, view, 3, "images", progress)  # more views
    space.random(images[:4], view, 2, "images", progress)  # other images
    space.plain(images, "images", progress)
    space_of(tmp_path, averaged_views=1).plain(images, "images", progress)
    other = network_of()
    with torch.no_grad():
        next(other.backbone.parameters()).add_(0.1)
    space_of(tmp_path, network=other).plain(images, "images", progress)
    assert calls[1:] == [(5, 5), (4, 4), (5, 5), (5, 5), (5, 5)]


@pytest.mark.parametrize("changes", [{}, SEVERAL])
def test_views_that_are_computed_one_by_one_are_those_of_all(images, tmp_path, changes):
    view = photo_weak(32, MEAN, STD)
    growing, whole = (space_of(tmp_path / each, network=network_of(**changes)) for each in ("growing", "whole"))
    ones = [growing.random_one(images, view, number, "images") for number in range(3)]
    together = growing.random_of_ones(images, view, 3, "images")
    (tmp_path / "whole").mkdir()
    shutil.copy(tmp_path / "growing" / "fastest.json", tmp_path / "whole")  # another way differs in its last bits
    at_once = whole.random(images, view, 3, "images")
    assert torch.equal(together, at_once)
    assert torch.equal(torch.cat(ones, dim=1), at_once)


def test_views_that_are_put_together_are_kept_once_and_found_by_runs_with_more_or_fewer(images, tmp_path):
    calls, view, space = [], photo_weak(32, MEAN, STD), space_of(tmp_path)

    def progress(done, total):
        calls.append((done, total))

    for number in range(2):
        space.random_one(images, view, number, "images", progress)
    both = space.random_of_ones(images, view, 2, "images").clone()
    assert [each.bytes > 0 and each.complete for each in space.store.entries()] == [True]
    assert calls == [(5, 5)] * 2
    assert torch.equal(space.random(images, view, 2, "images", progress), both)
    more = [space.random_one(images, view, number, "images", progress) for number in range(3)]
    assert calls == [(5, 5)] * 3, "only the third is new"
    assert torch.equal(torch.cat(more[:2], dim=1), both)
    assert torch.equal(space.random_of_ones(images, view, 1, "images"), both[:, :1])


def test_a_run_computes_on_where_another_puts_the_same_views_together_in_the_meantime(images, tmp_path):
    first, second, view = space_of(tmp_path / "features"), space_of(tmp_path / "features"), photo_weak(32, MEAN, STD)

    class Interrupted:
        def __call__(self, rows, generator):
            if not found:
                found.append(None)
                first.random_one(images, view, 0, "images")
                first.random_one(images, view, 1, "images")
                found.append(first.random_of_ones(images, view, 2, "images"))
            return view(rows, generator)

        def __repr__(self):
            return repr(view)

    found = []
    torch.testing.assert_close(second.random_one(images, Interrupted(), 1, "images")[:, 0], found[1][:, 1])
    assert torch.equal(second.random_of_ones(images, view, 2, "images"), found[1])
    assert len(kept(tmp_path / "features")) == 1


def test_another_crop_or_normalisation_makes_other_features(images, tmp_path):
    space_of(tmp_path).plain(images, "images")
    for change in ({"crop": 24}, {"mean": (0.1, 0.1, 0.1)}):
        preprocessing = replace(PREPROCESSING, **change)
        space = FeatureSpace.of(network_of(), preprocessing, tmp_path, CPU, Averaged())
        features = space.plain(images, "images")[:, 0].float()
        torch.testing.assert_close(features, pooled(space, preprocessing.normalize(images)), **HALF)


def test_networks_that_share_their_weights_and_differ_otherwise_do_not_share_features(images, tmp_path):
    space_of(tmp_path).plain(images, "images")
    network = network_of()
    for module in network.backbone.modules():
        if isinstance(module, torch.nn.MaxPool2d):
            module.kernel_size = 5
            module.padding = 2
    space = space_of(tmp_path, network=network)
    features = space.plain(images, "images")[:, 0].float()
    torch.testing.assert_close(features, pooled(space, PREPROCESSING.normalize(images)), **HALF)


def test_what_follows_the_backbone_does_not_decide_features(images, tmp_path):
    calls = []
    space_of(tmp_path).plain(images, "images")
    network = network_of(bottleneck_dim=4, standardize=False)
    space_of(tmp_path, network=network).plain(images, "images", lambda *counts: calls.append(counts))
    assert calls == []


def test_a_head_trained_on_standardised_features_is_the_whole_network_that_has_their_statistics(images, tmp_path):
    space = space_of(tmp_path, averaged_views=2)
    features = space.plain(images, "images")
    of_target = standardization(features, CPU)
    of_source = standardization(features[:2], CPU)
    inputs = space.inputs(ARCHITECTURE, StandardizedViews(of_source, of_target, of_target))
    torch.manual_seed(1)
    head = make_classifier(inputs.architecture, 3).eval()
    assert not head.standardize
    predictor = make_predictor(head, inputs.architecture)
    expected = predict_probabilities(predictor, features, inputs.plain, device=CPU)
    whole = make_predictor(space.whole(head, of_target), replace(ARCHITECTURE, averaged_views=2))
    torch.testing.assert_close(
        predict_probabilities(whole, images, PREPROCESSING.normalize, device=CPU), expected, **HALF
    )
    of_source_alone = predict_probabilities(predictor, features, inputs.plain_source, device=CPU)
    assert not torch.allclose(of_source_alone, expected, atol=1e-2)


def test_a_head_on_features_as_they_are_standardises_by_its_own_statistics(images, tmp_path):
    space = space_of(tmp_path)
    network = network_of()
    network.set_feature_statistics(torch.full((space.width,), 0.5), torch.full((space.width,), 2.0))
    inputs = space.inputs(ARCHITECTURE)
    head = make_classifier(inputs.architecture, 3)
    head.load_state_dict(space.without_backbone(network.state_dict()))
    features = space.plain(images, "images")
    got = predict_probabilities(make_predictor(head, inputs.architecture), features, inputs.plain, device=CPU)
    expected = predict_probabilities(network, images, PREPROCESSING.normalize, device=CPU)
    torch.testing.assert_close(got, expected, **HALF)


def test_student_and_teacher_see_different_stored_views_each_standardised_by_its_domain(tmp_path):
    stored = torch.arange(2 * 4 * 96, dtype=torch.float16).view(2, 4, 96)
    of_source, of_target, of_plain = (standardization(stored + shift, CPU) for shift in (0, 100, 200))
    inputs = space_of(tmp_path).inputs(ARCHITECTURE, StandardizedViews(of_source, of_target, of_plain))
    views = inputs.views
    generator = torch.Generator().manual_seed(0)
    common = views.common(stored, generator)
    student, teacher = views.student(common, generator), views.teacher(common, generator)
    assert student.shape == teacher.shape == (2, 96)
    assert not (student == teacher).any()
    torch.testing.assert_close(student, of_target(common[:, 0].float()))
    source = views.source(stored, generator)
    candidates = of_source(stored.float())
    assert all(any(torch.equal(source[row], candidates[row, view]) for view in range(4)) for row in range(2))
    torch.testing.assert_close(inputs.plain(stored), of_plain(stored.float()))
    torch.testing.assert_close(inputs.plain_source(stored), candidates)


def test_each_view_that_a_method_wants_is_another_of_the_stored_ones(tmp_path):
    stored = torch.arange(2 * 4 * 96, dtype=torch.float16).view(2, 4, 96)
    views = space_of(tmp_path).inputs(ARCHITECTURE, StandardizedViews(*[standardization(stored, CPU)] * 3)).views
    generator = torch.Generator().manual_seed(0)
    common = views.common(stored, generator)
    seen = torch.stack([view(common, generator) for view in views.of_target(4)], dim=1)
    torch.testing.assert_close(seen.sort(dim=1).values, standardization(stored, CPU)(stored.float()))
    assert views.of_target(0) == ()


def test_standardization_is_over_images_and_views():
    features = torch.tensor([[[1.0, 5.0], [3.0, 5.0]], [[5.0, 5.0], [7.0, 5.0]]]).half()
    found = standardization(features, CPU)
    assert one_by_one(features).shape == (4, 2)
    torch.testing.assert_close(found.mean, torch.tensor([4.0, 5.0]))
    torch.testing.assert_close(found.std, to_divide_by(torch.tensor([5.0**0.5, 0.0])))
    assert found(features.float())[0, 0].tolist() == pytest.approx([-3 / 5**0.5, 0.0])


def test_standardization_takes_rows_that_are_no_tensor_and_many_of_them():
    torch.manual_seed(0)
    features = torch.randn(9000, 2, 3).half()
    found = standardization(Selected(features, torch.arange(1, 9000)), CPU)
    values = one_by_one(features[1:]).double()
    torch.testing.assert_close(found.mean, values.mean(dim=0).float())
    torch.testing.assert_close(found.std, values.std(dim=0, correction=0).float())


def test_standardization_is_ready_for_the_device_of_the_batches():
    found = standardization(torch.ones(2, 1, 3).half(), torch.device("meta"))
    assert found.mean.device.type == found.std.device.type == "meta"


def test_a_backbone_is_left_out_of_a_heads_weights():
    assert FeatureSpace.without_backbone({"backbone.x": torch.ones(1), "head.x": torch.ones(1)}).keys() == {"head.x"}


def test_features_are_made_again_in_the_way_that_was_quicker_the_first_time(images, tmp_path, monkeypatch):
    """Two ways differ in their last bits, and a run made again has to be the same."""

    def made_where_quicker_is(variant):
        monkeypatch.setattr(inference, "_seconds", lambda call, example: 1.0 if call.variant == variant else 2.0)
        space = space_of(tmp_path)
        features = space.plain(images, "them").clone()
        for path in tmp_path.glob("*/index.json"):
            shutil.rmtree(path.parent)
        return space.frozen.fast.variant, features

    first, features = made_where_quicker_is("fused")
    again, features_again = made_where_quicker_is("plain")
    assert (first, again) == ("fused", "fused")
    assert torch.equal(features, features_again)
    (tmp_path / "fastest.json").write_text("damaged")
    assert made_where_quicker_is("plain")[0] == "plain"


def test_features_in_bfloat16_differ_by_rounding_and_are_kept_apart(images, tmp_path):
    exact = space_of(tmp_path).plain(images, "images")
    space = FeatureSpace.of(network_of(), PREPROCESSING, tmp_path, CPU, Averaged(), "bfloat16")
    rounded = space.plain(images, "images")
    assert not torch.equal(rounded, exact)
    assert (rounded.float() - exact.float()).norm() < 0.05 * exact.float().norm()
    assert torch.equal(space_of(tmp_path).plain(images, "images"), exact)
    assert len(space.store.entries()) == 2
    assert all(weight.dtype == torch.float32 for weight in space.network.parameters())


def test_features_in_bfloat16_made_again_are_the_same_to_the_bit(images, tmp_path):
    view = photo_weak(32, MEAN, STD)
    first, again = (
        FeatureSpace.of(network_of(), PREPROCESSING, tmp_path, CPU, Averaged(), "bfloat16") for _ in range(2)
    )
    features = first.random(images, view, 2, "images").clone()
    first.store.remove(entry.key for entry in first.store.entries())
    assert torch.equal(again.random(images, view, 2, "images"), features)


def test_features_of_several_backbones_are_those_of_the_whole_network(images, tmp_path):
    space = space_of(tmp_path, averaged_views=2, network=network_of(**SEVERAL))
    features = space.plain(images, "images")
    assert features[torch.arange(5)].shape == (5, 2, space.width)
    views = [view(images, generator_for(CPU, 0)) for view in space.plain_views]
    expected = torch.stack([pooled(space, each) for each in views], dim=1)
    assert torch.allclose(features[torch.arange(5)].float(), expected, **HALF)


def test_several_backbones_see_the_same_random_views(images, tmp_path):
    space = space_of(tmp_path, network=network_of(**SEVERAL))
    view = photo_weak(32, mean=MEAN, std=STD)
    features = space.random(images, view, 2, "images")[torch.arange(5)].float()
    filled = images[torch.arange(space.batch).clamp(max=4)]
    seen = view(filled, generator_for(CPU, SEED, "features", 1, 0))[:5]  # normalised for the larger input
    assert torch.allclose(features[:, 1], pooled(space, seen), atol=1e-2, rtol=1e-2)


def kept(folder):
    return {each.parent.name for each in folder.glob("*/index.json")}


def test_each_backbone_keeps_its_features_and_finds_them_again(images, tmp_path):
    view = photo_weak(32, mean=MEAN, std=STD)

    def extract(network):
        space = space_of(tmp_path, network=network)
        space.plain(images, "images")
        space.random(images, view, 2, "images")
        return kept(tmp_path)

    whole = network_of(**SEVERAL)
    alone = network_of()
    alone.backbone.load_state_dict(whole.backbone.members[1].state_dict())
    of_one = extract(alone)
    of_both = extract(whole)
    assert (len(of_one), len(of_both)) == (2, 4)
    assert of_one < of_both  # the larger input's are the same, with or without another backbone
    other_way_round = network_of(backbones=SEVERAL["backbones"][::-1], inputs=SEVERAL["inputs"][::-1])
    for member, same in zip(other_way_round.backbone.members, reversed(whole.backbone.members), strict=True):
        member.load_state_dict(same.state_dict())
    assert extract(other_way_round) == of_both


def test_many_features_of_several_backbones_are_not_copied(images, tmp_path, monkeypatch):
    space = space_of(tmp_path, network=network_of(**SEVERAL))
    copied = space.plain(images, "images")
    monkeypatch.setattr(feature_space, "MOST_COPIED", 10)
    read = space.plain(images, "images")
    assert isinstance(read, SideBySide)
    assert torch.equal(read[torch.arange(5)], copied)
    means = [standardization(each, CPU).mean for each in (copied, read)]
    assert torch.equal(*means)


def test_each_of_several_backbones_computes_in_the_number_type_of_all(images, tmp_path):
    rounded = FeatureSpace.of(network_of(**SEVERAL), PREPROCESSING, tmp_path, CPU, Averaged(), "bfloat16")
    exact = space_of(tmp_path, network=network_of(**SEVERAL))
    found, expected = (space.plain(images, "images")[torch.arange(5)].float() for space in (rounded, exact))
    assert not torch.equal(found, expected)
    assert torch.allclose(found, expected, atol=0.05, rtol=0.05)


def domain_of(seed, brightness, count=20):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, brightness, (count, 3, 40, 40), dtype=torch.uint8, generator=generator)


def test_each_domain_is_seen_through_its_own_statistics_and_the_target_is_what_is_saved(tmp_path):
    source, target, plain = domain_of(1, 256), domain_of(2, 90), space_of(tmp_path)
    space = plain.of_domains(source, target, 0.5)
    for domain, rows, own in (("source", source, space.of_source), ("target", target, space)):
        expected = with_statistics(plain.network.backbone, plain.statistics_of(rows, 0.5, domain))
        with torch.no_grad():
            seen = plain.network.pool_layer(expected(PREPROCESSING.normalize(rows)))
        torch.testing.assert_close(own.plain(rows, domain)[:, 0].float(), seen, **HALF)
    assert not torch.equal(space.plain(target, "target"), plain.plain(target, "target"))  # not read of another key
    assert not torch.equal(space.of_source.plain(target, "target"), space.plain(target, "target"))
    whole = space.whole(make_classifier(ARCHITECTURE.on_features(space.width), 3), None)
    saved = whole.state_dict()
    for name, each in plain.statistics_of(target, 0.5, "target").items():
        assert torch.equal(saved[f"backbone.{name}"], each)
    assert plain.of_source is plain


def test_statistics_are_computed_once_and_of_each_share_anew(tmp_path, monkeypatch):
    rows, space = domain_of(1, 256), space_of(tmp_path)
    first = space.statistics_of(rows, 0.5, "source")
    other = space.statistics_of(rows, 0.25, "source")
    assert any(not torch.equal(each, other[name]) for name, each in first.items())
    assert [entry.complete for entry in space.store.entries()] == [True, True]  # dalib cache lists them
    monkeypatch.setattr(feature_space, "mixed_statistics", None)
    again = space_of(tmp_path).statistics_of(rows, 0.5, "source")
    assert all(torch.equal(each, first[name]) for name, each in again.items())


def test_joined_backbones_have_the_domains_statistics_each(tmp_path):
    rows, plain = domain_of(1, 90), space_of(tmp_path, network=network_of(**SEVERAL))
    space = plain.of_domains(None, rows, 1.0)
    assert len(space.parts) == 2
    torch.testing.assert_close(
        space.plain(rows, "target")[:, 0].float(), pooled(space, PREPROCESSING.normalize(rows)), **HALF
    )
    assert not torch.equal(space.plain(rows, "target")[:, 0], plain.plain(rows, "target")[:, 0])


def test_too_few_images_have_no_statistics_of_their_own(images, tmp_path):
    with pytest.raises(UserError, match="the target has 5 images, too few for statistics of its own"):
        space_of(tmp_path).of_domains(None, images, 0.5)


def test_a_feature_that_is_nearly_silent_in_one_domain_does_not_outweigh_all_others():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(40, 1, 12, generator=generator)
    features[:, :, 0] = 1e-6 * features[:, :, 0]
    seen = standardization(features, CPU)(torch.ones(1, 1, 12))
    assert seen.abs().max() < 20
