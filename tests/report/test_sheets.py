"""What training leaves for the report: groups of samples and a map that no features can break."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from PIL import Image

from dalib.core.files import read_json
from dalib.data.domain_images import LabelledImages
from dalib.records.pictures import Embedding, TileSheet
from dalib.report.figures import picture
from dalib.report.sheets import MAPPED, SAMPLES, MappedImages, write_embedding, write_mistakes, write_samples

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor


class Target:
    """Unlabelled images as far as samples need them."""

    def __init__(self, count: int) -> None:
        self.names = [f"{number}.png" for number in range(count)]
        self.images = torch.zeros(count, 1, 8, 8, dtype=torch.uint8)


def probabilities(confidence: Tensor, classes: Tensor) -> Tensor:
    p = ((1 - confidence) / 2)[:, None].repeat(1, 3)
    return p.scatter(1, classes[:, None], confidence[:, None])


def test_samples_come_as_differing_least_and_most_confident(tmp_path: Path) -> None:
    count = 100
    confidence = torch.linspace(0.4, 0.99, count)
    adapted = probabilities(confidence, torch.zeros(count, dtype=torch.int64))
    source_only = probabilities(confidence.flip(0), (torch.arange(count) % 4 == 0).long())
    write_samples(tmp_path, Target(count), {"source-only": source_only, "adapted": adapted}, ["a", "b", "c"], 0)  # type: ignore[arg-type]
    samples = read_json(tmp_path / "samples.json")
    groups = {
        name: [int(each["name"].removesuffix(".png")) for each in samples if each["group"] == name]
        for name in ("differ", "least", "most")
    }
    assert all(index % 4 == 0 for index in groups["differ"])
    assert len(groups["differ"]) == 2 * SAMPLES
    assert groups["least"] == list(range(SAMPLES))
    assert groups["most"] == list(range(count - 1, count - 1 - SAMPLES, -1))
    files = {each["name"]: each["file"] for each in samples}
    assert len({*files.values()}) == len(files) == len(list(tmp_path.glob("*.png")))  # a file an image, in any group


def test_where_models_differ_both_kinds_come_surest_first(tmp_path: Path) -> None:
    # each image: how sure source-only is of b, and adapted of a; on the last two they agree
    sure = torch.tensor([[0.9, 0.8], [0.95, 0.5], [0.6, 0.7], [0.7, 0.99], [0.5, 0.6], [0.99, 0.99], [0.9, 0.9]])
    classes = torch.tensor([1, 1, 1, 1, 1, 0, 0])
    source_only, adapted = probabilities(sure[:, 0], classes), probabilities(sure[:, 1], torch.zeros_like(classes))
    write_samples(tmp_path, Target(7), {"source-only": source_only, "adapted": adapted}, ["a", "b", "c"], 0)  # type: ignore[arg-type]
    samples = [each for each in read_json(tmp_path / "samples.json") if each["group"] == "differ"]
    assert [(each["surer"], each["name"]) for each in samples] == [
        ("source-only", "0.png"),
        ("source-only", "1.png"),
        ("adapted", "3.png"),
        ("adapted", "2.png"),
        ("adapted", "4.png"),
    ]
    assert samples[0]["predictions"]["adapted"] == {"class": "a", "confidence": pytest.approx(0.8)}


def test_one_model_alone_differs_from_none(tmp_path: Path) -> None:
    p = probabilities(torch.full((9,), 0.5), torch.zeros(9, dtype=torch.int64))
    write_samples(tmp_path, Target(9), {"adapted": p}, ["a", "b", "c"], 0)  # type: ignore[arg-type]
    assert "differ" not in {each["group"] for each in read_json(tmp_path / "samples.json")}


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_images_are_not_shown_as_least_and_most_at_once(tmp_path: Path, count: int) -> None:
    p = probabilities(torch.full((count,), 0.5), torch.zeros(count, dtype=torch.int64))
    write_samples(tmp_path, Target(count), {"source-only": p}, ["a", "b", "c"], 0)  # type: ignore[arg-type]
    samples = [each for each in read_json(tmp_path / "samples.json") if each["group"] != "class"]
    assert sorted(each["name"] for each in samples) == sorted(f"{number}.png" for number in range(count))
    assert {each["group"] for each in samples} <= {"least", "most"}


def clusters(count: int, dimensions: int = 8, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    centres = 5 * torch.randn(3, dimensions, generator=generator)
    labels = torch.arange(count) % 3

    def draw() -> Tensor:
        return centres[labels] + torch.randn(count, dimensions, generator=generator)

    return draw(), labels, draw(), labels


def test_a_map_is_the_same_each_time_and_keeps_groups_together(tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert write_embedding(tmp_path / name, {"adapted": clusters(60)}, seed=3)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    found = read_json(tmp_path / "one")
    assert found["method"] == "t-SNE"
    source, target = (torch.tensor(found["models"]["adapted"][domain]) for domain in ("source", "target"))
    nearest = torch.cdist(target[:, :2], source[:, :2]).argmin(dim=1)
    assert (source[nearest, 2] == target[:, 2]).float().mean() > 0.9


def test_at_most_so_many_points_of_each_domain(tmp_path: Path) -> None:
    # few different points: quick, and by PCA
    source, labels, target, predictions = clusters(9)
    many = (
        source.repeat(100, 1)[: MAPPED + 7],
        labels.repeat(100)[: MAPPED + 7],
        target.repeat(100, 1)[:900],
        predictions.repeat(100)[:900],
    )
    assert write_embedding(tmp_path / "map", {"adapted": many}, seed=0)
    found = read_json(tmp_path / "map")
    assert found["method"] == "PCA"
    assert {len(points) for points in found["models"]["adapted"].values()} == {MAPPED}


def alike(features: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    classes = torch.zeros(len(features), dtype=torch.int64)
    return features, classes, features, classes


@pytest.mark.parametrize(
    "features",
    [
        torch.full((40, 6), 0.1),
        torch.zeros(40, 6),
        torch.full((40, 6), 3e38),
        torch.randn(4, 6, generator=torch.Generator().manual_seed(0)),
        torch.randn(1, 6, generator=torch.Generator().manual_seed(0)),
        torch.randn(40, 1, generator=torch.Generator().manual_seed(0)),
        torch.tensor([[0.0, 1.0], [1.0, 0.0]]).repeat(20, 1),
        torch.eye(40),
        1e30 * torch.randn(40, 6, generator=torch.Generator().manual_seed(0)),
        torch.randn(40, 6, generator=torch.Generator().manual_seed(0)).half(),
    ],
)
def test_odd_features_break_nothing(tmp_path: Path, features: Tensor) -> None:
    assert write_embedding(tmp_path / "map", {"adapted": alike(features)}, seed=0)
    points = torch.tensor(read_json(tmp_path / "map")["models"]["adapted"]["source"])
    assert points.shape == (len(features), 3)
    assert bool(points.isfinite().all())
    assert float(points[:, :2].abs().max()) <= 1


def test_a_collapsed_model_is_one_point(tmp_path: Path) -> None:
    write_embedding(tmp_path / "map", {"adapted": alike(torch.full((40, 6), 0.1)), "source-only": clusters(40)}, 0)
    found = read_json(tmp_path / "map")
    assert found["method"] == "PCA"
    assert {tuple(point) for point in found["models"]["adapted"]["source"]} == {(0.0, 0.0, 0)}


def test_features_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    source, labels, target, predictions = clusters(40)
    source[3], target[5, 0] = float("nan"), float("inf")
    nothing = alike(torch.full((40, 6), float("nan")))
    broken = {"adapted": (source, labels, target, predictions), "source-only": nothing}
    assert write_embedding(tmp_path / "map", broken, seed=0)
    models = read_json(tmp_path / "map")["models"]
    assert list(models) == ["adapted"]
    assert [len(models["adapted"][domain]) for domain in ("source", "target")] == [39, 39]
    assert not write_embedding(tmp_path / "none", {"adapted": nothing}, seed=0)
    assert not (tmp_path / "none").exists()


def test_shapes_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    source, labels, target, predictions = clusters(40)
    with pytest.raises(ValueError, match=r"adapted: expected \(N, D\)"):
        write_embedding(tmp_path / "map", {"adapted": (source, labels, target[:, :3], predictions)}, seed=0)
    with pytest.raises(ValueError, match="a class for each"):
        write_embedding(tmp_path / "map", {"adapted": (source, labels[:5], target, predictions)}, seed=0)


def test_samples_show_every_class_that_is_predicted(tmp_path: Path) -> None:
    classes = torch.arange(90) % 2
    p = probabilities(torch.full((90,), 0.9), classes)
    write_samples(tmp_path, Target(90), {"source-only": p.flip(1), "adapted": p}, ["a", "b", "c"], 0)  # type: ignore[arg-type]
    shown = [each for each in read_json(tmp_path / "samples.json") if each["group"] == "class"]
    assert [each["predictions"]["adapted"]["class"] for each in shown] == ["a"] * 4 + ["b"] * 4


@pytest.mark.parametrize(("size", "ending"), [(8, "png"), (200, "jpg")])
def test_photographs_are_kept_as_jpeg_and_small_images_exactly(tmp_path: Path, size: int, ending: str) -> None:
    target = Target(3)
    target.images = torch.full((3, 3, size, size), 77, dtype=torch.uint8)
    p = probabilities(torch.full((3,), 0.9), torch.zeros(3, dtype=torch.int64))
    write_samples(tmp_path, target, {"adapted": p}, ["a", "b", "c"], 0)  # type: ignore[arg-type]
    assert {path.suffix for path in tmp_path.iterdir()} == {f".{ending}", ".json"}
    found = picture((tmp_path / f"000.{ending}").read_bytes())
    assert found is not None
    assert (found.width, found.height) == ((72, 72) if size == 8 else (112, 112))


def test_pictures_are_written_in_place_of_links_and_not_where_these_lead(tmp_path: Path) -> None:
    mine, folder = tmp_path / "mine.png", tmp_path / "run"
    mine.write_bytes(b"mine")
    folder.mkdir()
    for name in ("000.png", "map.jpg"):
        (folder / name).symlink_to(mine)
    p = probabilities(torch.full((3,), 0.9), torch.zeros(3, dtype=torch.int64))
    write_samples(folder, Target(3), {"adapted": p}, ["a", "b", "c"], 0)  # type: ignore[arg-type]
    images, rows = torch.zeros(6, 1, 16, 16, dtype=torch.uint8), torch.arange(6)
    points = (torch.rand(6, 2), torch.zeros(6, dtype=torch.int64)) * 2
    write_embedding(folder / "embedding.json", {"adapted": points}, 0, MappedImages(images, rows, images, rows))
    assert mine.read_bytes() == b"mine"
    assert not any((folder / name).is_symlink() for name in ("000.png", "map.jpg"))


def labelled(labels: Tensor) -> LabelledImages:
    images = torch.zeros(len(labels), 1, 8, 8, dtype=torch.uint8)
    return LabelledImages(images, labels, ("a", "b", "c"), tuple(f"{number}.png" for number in range(len(labels))))


def test_mistakes_have_their_truth_and_say_which_model_is_wrong(tmp_path: Path) -> None:
    labels = torch.tensor([0, 0, 1, 1, 2])
    adapted = probabilities(torch.full((5,), 0.9), torch.tensor([0, 1, 0, 1, 2]))
    source_only = probabilities(torch.full((5,), 0.8), torch.tensor([0, 0, 2, 0, 2]))
    found = write_mistakes(tmp_path, labelled(labels), {"adapted": adapted, "source-only": source_only})
    assert [(each.group, each.name, each.truth) for each in found] == [
        ("lost", "1.png", "a"),
        ("both", "2.png", "b"),
        ("mended", "3.png", "b"),
    ]
    assert found[1].predictions["source-only"].label == "c"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000.png", "001.png", "002.png"]


def test_mistakes_of_one_model_come_from_each_class_in_turn_surest_first(tmp_path: Path) -> None:
    labels = torch.tensor([1] * 20 + [2] * 2)
    confidence = torch.cat([torch.linspace(0.99, 0.8, 20), torch.tensor([0.5, 0.6])])
    p = probabilities(confidence, torch.zeros(22, dtype=torch.int64))
    found = write_mistakes(tmp_path, labelled(labels), {"source-only": p})
    assert {each.group for each in found} == {"wrong"}
    assert [each.name for each in found][:4] == ["0.png", "21.png", "1.png", "20.png"]
    assert len(found) == SAMPLES


def test_a_model_without_mistakes_leaves_no_folder(tmp_path: Path) -> None:
    p = probabilities(torch.full((2,), 0.9), torch.tensor([0, 1]))
    assert write_mistakes(tmp_path / "none", labelled(torch.tensor([0, 1])), {"adapted": p}) == ()
    assert not (tmp_path / "none").exists()


def test_each_point_of_a_map_has_the_thumbnail_of_its_own_image(tmp_path: Path) -> None:
    count = 6
    shades = (torch.arange(count) * 40).view(count, 1, 1, 1).to(torch.uint8)
    source, target = shades.expand(count, 1, 16, 16), 255 - shades.expand(count, 1, 16, 16)
    features = torch.arange(count).float()[:, None].repeat(1, 2)
    labels = torch.zeros(count, dtype=torch.int64)
    order = torch.arange(count)
    images = MappedImages(source, order.flip(0), target, order)
    assert write_embedding(tmp_path / "embedding.json", {"adapted": (features, labels, features, labels)}, 0, images)
    found = Embedding.read(tmp_path / "embedding.json")
    assert found.sheet == TileSheet("map.jpg", 16, 12)
    domains, sheet = found.models["adapted"], Image.open(tmp_path / "map.jpg")
    for points, tiles, expected in (
        (domains.source, domains.source_tiles, source.flip(0)),
        (domains.target, domains.target_tiles, target),
    ):
        assert tiles is not None
        by_place = sorted(zip(points, tiles, strict=True))  # the images were ordered along the first component
        shades_shown = [sheet.getpixel((16 * tile + 8, 8)) for _, tile in by_place]
        wanted = expected[:, 0, 8, 8].tolist()
        assert shades_shown == pytest.approx(wanted, abs=6) or shades_shown == pytest.approx(wanted[::-1], abs=6)
