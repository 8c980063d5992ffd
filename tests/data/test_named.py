"""Named data sets, from small files in the published formats; the network is never asked."""

import bz2
import pickle
import re
import subprocess
import sys
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image, ImageOps
from torchvision import datasets
from torchvision.datasets.utils import calculate_md5

from dalib.core.errors import UserError
from dalib.data import named
from dalib.data.domain_images import LabelledImages
from dalib.data.named import NAMED, default_evaluation, native_channels, native_size, shape_of_pair
from dalib.data.preprocessing import Preprocessing
from dalib.data.sources import open_labelled, open_source, open_target

TEN = tuple("0123456789")
CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
STL = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
SHARED = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "ship", "truck")
ARRAYS = ("mnist", "fashion-mnist", "usps", "svhn", "cifar10", "stl10")
VERIFIED = ("svhn", "cifar10", "stl10")
NOT_FETCHED = ("mnist-m", "office31/amazon", "office31/dslr", "office31/webcam")
COUNTS = {"train": 20, "test": 11}

Split = tuple[np.ndarray, np.ndarray]


def write_idx(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def write_mnist(root: Path, splits: dict[str, Split], folder: str = "MNIST") -> None:
    for split, (pixels, labels) in splits.items():
        start = root / folder / "raw" / {"train": "train", "test": "t10k"}[split]
        write_idx(Path(f"{start}-images-idx3-ubyte"), pixels[:, 0])
        write_idx(Path(f"{start}-labels-idx1-ubyte"), labels)


def write_fashion_mnist(root: Path, splits: dict[str, Split]) -> None:
    write_mnist(root, splits, folder="FashionMNIST")


def usps_lines(pixels: np.ndarray, labels: np.ndarray) -> str:
    """LIBSVM's format: the digit plus 1, and values in [-1, 1]; half a step up, as the reader rounds down."""
    values = (pixels.reshape(len(pixels), -1) + 0.5) / 255 * 2 - 1
    return "".join(
        f"{digit + 1} {' '.join(f'{number}:{value:.6f}' for number, value in enumerate(row, start=1))} \n"
        for digit, row in zip(labels, values, strict=True)
    )


def write_usps(root: Path, splits: dict[str, Split]) -> None:
    (root / "USPS").mkdir(parents=True)
    for split, file in {"train": "usps.bz2", "test": "usps.t.bz2"}.items():
        (root / "USPS" / file).write_bytes(bz2.compress(usps_lines(*splits[split]).encode()))


def write_svhn(root: Path, splits: dict[str, Split]) -> None:
    (root / "SVHN").mkdir(parents=True)
    for split, (pixels, labels) in splits.items():
        digits = np.where(labels == 0, 10, labels).astype(np.uint8)[:, None]  # a zero is labelled 10
        file = root / "SVHN" / f"{split}_32x32.mat"
        scipy.io.savemat(file, {"X": pixels.transpose(2, 3, 1, 0), "y": digits})


def write_cifar10(root: Path, splits: dict[str, Split]) -> None:
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)

    def write(file: str, content: dict[str, object]) -> None:
        (folder / file).write_bytes(pickle.dumps(content))

    train = zip(np.split(splits["train"][0], 5), np.split(splits["train"][1], 5), strict=True)
    batches = {f"data_batch_{number}": batch for number, batch in enumerate(train, start=1)}
    for file, (pixels, labels) in (batches | {"test_batch": splits["test"]}).items():
        write(file, {"data": pixels.reshape(len(pixels), -1), "labels": labels.tolist()})
    write("batches.meta", {"label_names": list(CIFAR)})


def write_stl10(root: Path, splits: dict[str, Split]) -> None:
    folder = root / "stl10_binary"
    folder.mkdir(parents=True)
    for split, (pixels, labels) in splits.items():
        (folder / f"{split}_X.bin").write_bytes(pixels.transpose(0, 1, 3, 2).tobytes())  # column by column
        (folder / f"{split}_y.bin").write_bytes((labels + 1).astype(np.uint8).tobytes())
    (folder / "unlabeled_X.bin").write_bytes(splits["test"][0].tobytes())


def draw(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.transpose(1, 2, 0)).save(path)
    return path


def write_mnist_m(root: Path, splits: dict[str, Split]) -> None:
    for split, (pixels, labels) in splits.items():
        folder = root / "mnist_m" / f"mnist_m_{split}"
        for number, image in enumerate(pixels):
            draw(folder / f"{number:08d}.png", image)
        lines = [f"{number:08d}.png {digit}\n" for number, digit in enumerate(labels)]
        folder.with_name(f"mnist_m_{split}_labels.txt").write_text("".join(lines))


WRITERS = {
    "mnist": write_mnist,
    "fashion-mnist": write_fashion_mnist,
    "usps": write_usps,
    "svhn": write_svhn,
    "cifar10": write_cifar10,
    "stl10": write_stl10,
    "mnist-m": write_mnist_m,
}


def make_splits(name: str) -> dict[str, Split]:
    rng = np.random.default_rng(sorted(WRITERS).index(name))
    shape = (native_channels(name), native_size(name), native_size(name))
    return {
        split: (rng.integers(0, 256, (count, *shape), dtype=np.uint8), np.arange(count) % 10)
        for split, count in COUNTS.items()
    }


def accept(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have torchvision take the files that are there for the published ones."""
    if name == "svhn":
        files = {split: f"{split}_32x32.mat" for split in COUNTS}
        paths = {
            split: next(p for p in (root / "SVHN" / file, root / file) if p.exists()) for split, file in files.items()
        }
        listed = {split: ["http://nowhere.invalid/", files[split], calculate_md5(paths[split])] for split in COUNTS}
        monkeypatch.setattr(datasets.SVHN, "split_list", listed | {"extra": ["", "", ""]})
    if name in ("cifar10", "stl10"):
        published = {"cifar10": datasets.CIFAR10, "stl10": datasets.STL10}[name]
        folder = root / published.base_folder
        for attribute in ("train_list", "test_list"):
            files = [file for file, _ in getattr(published, attribute)]
            monkeypatch.setattr(published, attribute, [[file, calculate_md5(folder / file)] for file in files])
    if name == "cifar10":
        md5 = calculate_md5(root / "cifar-10-batches-py" / "batches.meta")
        monkeypatch.setattr(datasets.CIFAR10, "meta", datasets.CIFAR10.meta | {"md5": md5})


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Downloads fail as they do without a network; the names of the modules that asked for one."""
    asked: list[str] = []

    def refuse(module: str):
        def download(*args: object, **kwargs: object) -> None:
            asked.append(module)
            raise URLError("no route to host")

        return download

    for module in ("mnist", "cifar", "stl10"):
        monkeypatch.setattr(f"torchvision.datasets.{module}.download_and_extract_archive", refuse(module))
    for module in ("usps", "svhn"):
        monkeypatch.setattr(f"torchvision.datasets.{module}.download_url", refuse(module))
    return asked


@pytest.fixture
def publish(tmp_path, monkeypatch):
    """Writes both splits of a set below tmp_path, and gives them back."""

    def write(name: str) -> dict[str, Split]:
        splits = make_splits(name)
        WRITERS[name](tmp_path, splits)
        accept(name, tmp_path, monkeypatch)
        return splits

    return write


def exact(name: str) -> Preprocessing:
    return Preprocessing(native_size(name), native_channels(name))


def through_pil(pixels: np.ndarray, preprocessing: Preprocessing) -> torch.Tensor:
    images = [Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)) for image in pixels]
    return torch.from_numpy(np.stack([preprocessing.pixels(image) for image in images]))


def damage(path: Path) -> Path:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    return path


# Names and shapes


@pytest.mark.parametrize(
    ("source", "target", "shape"),
    [
        ("mnist", "usps", (28, 1)),
        ("usps", "mnist", (28, 1)),
        ("mnist", "fashion-mnist", (28, 1)),
        ("fonts", "usps", (28, 1)),
        ("mnist", "digits", (28, 1)),
        ("mnist", "svhn", (32, 3)),
        ("svhn", "digits", (32, 3)),
        ("mnist", "mnist-m", (32, 3)),
        ("cifar10", "stl10", (32, 3)),
        ("stl10", "cifar10", (32, 3)),
        ("office31/amazon", "office31/webcam", (224, 3)),
        ("mnist", "office31/dslr", (224, 3)),
        ("svhn", "office31/dslr", (32, 3)),
        ("photos", "usps", (16, 1)),
        ("stl10", "photos", (96, 3)),
        ("office31/amazon", "photos", (224, 3)),
        ("./mnist", "usps", (16, 1)),
        ("mnist", "usps-test", (28, 1)),
        ("fonts", "digits", None),
        ("photos", "digits", None),
        ("./mnist", "photos-test", None),
    ],
)
def test_a_pair_has_a_size_and_channels(source, target, shape):
    assert shape_of_pair(source, target) == shape


def test_every_name_has_the_size_and_channels_of_its_set():
    assert {name: (native_size(name), native_channels(name)) for name in NAMED} == {
        **dict.fromkeys(["mnist", "mnist-test", "fashion-mnist", "fashion-mnist-test"], (28, 1)),
        **dict.fromkeys(["usps", "usps-test"], (16, 1)),
        **dict.fromkeys(["svhn", "svhn-test", "mnist-m", "mnist-m-test", "cifar10", "cifar10-test"], (32, 3)),
        **dict.fromkeys(["stl10", "stl10-test"], (96, 3)),
        **dict.fromkeys(["office31/amazon", "office31/dslr", "office31/webcam"], (224, 3)),
    }


@pytest.mark.parametrize("function", [native_size, native_channels])
@pytest.mark.parametrize("name", ["photos", "./mnist", "fonts", "office31", "office31/amazon-test"])
def test_what_is_no_named_set_has_no_native_shape(function, name):
    with pytest.raises(ValueError, match=rf"expected one of mnist, .*got '{name}'"):
        function(name)


@pytest.mark.parametrize(
    ("target", "evaluation"),
    [
        *[(name, f"{name}-test") for name in WRITERS],
        *[(f"office31/{domain}", f"office31/{domain}") for domain in ("amazon", "dslr", "webcam")],
        ("digits", "digits-held-out"),
        ("photos", None),
        ("./usps", None),
        ("usps-test", None),
    ],
)
def test_a_target_has_the_labelled_set_that_belongs_to_it(target, evaluation):
    assert default_evaluation(target) == evaluation


def test_the_names_are_known_without_importing_torch():
    code = "import sys, dalib.data.named; sys.exit(bool({'torch', 'torchvision'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Reading


@pytest.mark.parametrize("name", ARRAYS)
def test_a_source_has_the_pixels_and_labels_of_the_published_training_split(publish, tmp_path, name):
    pixels, labels = publish(name)["train"]
    opened = open_source(name, exact(name), root=tmp_path)
    assert isinstance(opened, LabelledImages)
    assert opened.images.dtype == torch.uint8
    assert opened.images.is_contiguous()
    np.testing.assert_array_equal(opened.images, pixels)
    assert opened.labels.dtype == torch.int64
    assert opened.labels.tolist() == labels.tolist()
    assert opened.names == tuple(f"{name}/{number:02d}" for number in range(20))
    assert opened.unreadable == ()


@pytest.mark.parametrize("name", ARRAYS)
def test_a_target_has_the_same_images_and_no_labels(publish, tmp_path, name):
    pixels, _ = publish(name)["train"]
    opened = open_target(name, exact(name), root=tmp_path)
    np.testing.assert_array_equal(opened.images, pixels)
    assert opened.names == tuple(f"{name}/{number:02d}" for number in range(20))
    assert set(vars(opened)) == {"images", "names", "unreadable", "left_out", "outside"}


@pytest.mark.parametrize("name", ARRAYS)
def test_a_test_set_is_the_other_split(publish, tmp_path, name):
    splits = publish(name)
    classes = open_source(name, exact(name), root=tmp_path).classes
    test = open_labelled(f"{name}-test", exact(name), classes, root=tmp_path)
    np.testing.assert_array_equal(test.images, splits["test"][0])
    assert test.labels.tolist() == splits["test"][1].tolist()
    assert test.names[:2] == (f"{name}-test/00", f"{name}-test/01")


@pytest.mark.parametrize("name", ["mnist", "mnist-m"])
def test_a_training_split_can_be_evaluated_on_as_well(publish, tmp_path, name):
    splits = publish(name)
    train = open_labelled(name, exact(name), TEN[::-1], root=tmp_path)
    np.testing.assert_array_equal(train.images, splits["train"][0])
    assert train.labels.tolist() == (9 - splits["train"][1]).tolist()


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        *[(name, TEN) for name in ("mnist", "usps", "svhn", "mnist-m")],
        ("fashion-mnist", tuple(datasets.FashionMNIST.classes)),
        ("cifar10", CIFAR),
        ("stl10", STL),
    ],
)
def test_classes_have_names(publish, tmp_path, name, classes):
    publish(name)
    assert open_source(name, exact(name), root=tmp_path).classes == classes


def test_the_root_is_data_in_the_current_directory_unless_given(publish, tmp_path, monkeypatch):
    publish("mnist")
    (tmp_path / "data").mkdir()
    (tmp_path / "MNIST").rename(tmp_path / "data" / "MNIST")
    monkeypatch.chdir(tmp_path)
    assert len(open_source("mnist", exact("mnist")).labels) == 20
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(open_source("mnist", exact("mnist"), root="~/data").labels) == 20


@pytest.mark.parametrize(("name", "folder"), [("usps", "USPS"), ("svhn", "SVHN")])
def test_files_of_usps_and_svhn_may_lie_in_the_root(publish, tmp_path, name, folder):
    splits = publish(name)
    for path in (tmp_path / folder).iterdir():
        path.rename(tmp_path / path.name)
    for given in (name, f"{name}-test"):
        opened = open_labelled(given, exact(name), TEN, root=tmp_path)
        np.testing.assert_array_equal(opened.images, splits["test" if given.endswith("-test") else "train"][0])


def test_one_split_of_mnist_is_enough_and_old_processed_files_are_left_alone(publish, tmp_path):
    publish("mnist")
    for path in (tmp_path / "MNIST" / "raw").glob("t10k-*"):
        path.unlink()
    processed = tmp_path / "MNIST" / "processed"
    processed.mkdir()
    for file in ("training.pt", "test.pt"):
        (processed / file).write_bytes(pickle.dumps("no tensors"))
    for download in (False, True):
        assert len(open_source("mnist", exact("mnist"), root=tmp_path, download=download).labels) == 20


# Pixels


@pytest.mark.parametrize("channels", [1, 3])
def test_mnist_is_padded_to_32_pixels_and_not_resized(publish, tmp_path, channels):
    pixels, _ = publish("mnist")["train"]
    preprocessing = Preprocessing(32, channels)
    images = open_target("mnist", preprocessing, root=tmp_path).images
    framed = [ImageOps.expand(Image.fromarray(image), border=2, fill=0) for image in pixels[:, 0]]
    assert torch.equal(images, torch.from_numpy(np.stack([preprocessing.pixels(image) for image in framed])))
    assert not images[..., :2].any()
    assert not images[..., -2:, :].any()
    np.testing.assert_array_equal(images[:, -1, 2:-2, 2:-2], pixels[:, 0])


@pytest.mark.parametrize(
    ("name", "size", "channels"),
    [("usps", 28, 1), ("usps", 32, 3), ("mnist", 28, 3), ("mnist", 64, 1), ("svhn", 32, 1), ("stl10", 32, 3)],
)
def test_other_shapes_go_the_path_of_files(publish, tmp_path, name, size, channels):
    pixels, _ = publish(name)["train"]
    preprocessing = Preprocessing(size, channels)
    images = open_source(name, preprocessing, root=tmp_path).images
    assert images.shape == (20, channels, size, size)
    assert torch.equal(images, through_pil(pixels, preprocessing))


def test_stl_is_scaled_down_without_aliasing(tmp_path, monkeypatch):
    board = np.indices((96, 96)).sum(axis=0) % 2 * 255
    splits = {
        split: (np.broadcast_to(board, (10, 3, 96, 96)).astype(np.uint8), np.arange(10)) for split in ("train", "test")
    }
    write_stl10(tmp_path, splits)
    accept("stl10", tmp_path, monkeypatch)
    images = open_source("stl10", Preprocessing(32, 3), root=tmp_path).images
    inner = images[..., 1:-1, 1:-1]
    assert inner.min() > 110
    assert inner.max() < 145


@pytest.mark.parametrize(("size", "channels"), [(28, 1), (28, 3), (32, 1), (32, 3)])
def test_mnist_does_not_go_through_pil_one_by_one(publish, tmp_path, monkeypatch, size, channels):
    publish("mnist")
    monkeypatch.setattr(Preprocessing, "pixels", lambda *args: pytest.fail("one image at a time"))
    assert len(open_source("mnist", Preprocessing(size, channels), root=tmp_path).images) == 20


# CIFAR-10 and STL-10


@pytest.mark.parametrize(("name", "partner", "dropped"), [("cifar10", "stl10", "frog"), ("stl10", "cifar10", "monkey")])
def test_the_pair_is_trained_on_the_nine_classes_that_both_have(publish, tmp_path, name, partner, dropped):
    pixels, labels = publish(name)["train"]
    own = {"cifar10": CIFAR, "stl10": STL}[name]
    kept = np.flatnonzero(labels != own.index(dropped))
    small = Preprocessing(native_size(name), 3)
    source = open_source(name, small, root=tmp_path, partner=partner)
    target = open_target(name, small, root=tmp_path, partner=partner)
    assert source.classes == SHARED
    expected = ["car" if own[label] == "automobile" else own[label] for label in labels[kept]]
    assert [SHARED[label] for label in source.labels] == expected
    for opened in (source, target):
        np.testing.assert_array_equal(opened.images, pixels[kept])
        assert opened.names == tuple(f"{name}/{number:02d}" for number in kept)  # its position in the file
    assert set(vars(target)) == {"images", "names", "unreadable", "left_out", "outside"}


@pytest.mark.parametrize(("name", "dropped"), [("cifar10", 6), ("stl10", 7)])
@pytest.mark.parametrize("classes", [SHARED, SHARED[::-1]])
def test_the_pair_is_judged_on_the_nine_classes_as_well(publish, tmp_path, name, dropped, classes):
    pixels, labels = publish(name)["test"]
    own = {"cifar10": CIFAR, "stl10": STL}[name]
    test = open_labelled(f"{name}-test", exact(name), classes, root=tmp_path)
    kept = labels != dropped
    np.testing.assert_array_equal(test.images, pixels[kept])
    assert test.classes == classes
    expected = ["car" if own[label] == "automobile" else own[label] for label in labels[kept]]
    assert [classes[label] for label in test.labels] == expected


@pytest.mark.parametrize("partner", [None, "cifar10", "photos", "mnist"])
def test_with_another_partner_all_ten_classes_stay(publish, tmp_path, partner):
    publish("cifar10")
    small = exact("cifar10")
    assert open_source("cifar10", small, root=tmp_path, partner=partner).classes == CIFAR
    assert len(open_target("cifar10", small, root=tmp_path, partner=partner).images) == 20


@pytest.mark.parametrize("name", ["cifar10-test", "stl10-test"])
def test_a_model_of_other_classes_is_refused_as_ever(publish, tmp_path, name):
    publish(name.removesuffix("-test"))
    known = {"cifar10-test": STL, "stl10-test": CIFAR}[name]
    with pytest.raises(UserError, match=rf"^data='{name}': the model does not know .*'(frog|monkey)'"):
        open_labelled(name, exact(name), known, root=tmp_path)


def test_a_digit_set_is_refused_for_a_model_of_other_classes(publish, tmp_path):
    publish("mnist")
    with pytest.raises(UserError, match="evaluate='mnist-test': the model does not know"):
        open_labelled("mnist-test", exact("mnist"), SHARED, argument="evaluate", root=tmp_path)


# Absent files


CIFAR_FILES = [f"cifar-10-batches-py/{file}" for file in ("data_batch_1", "data_batch_5", "test_batch", "batches.meta")]
STL_FILES = [f"stl10_binary/{file}.bin" for file in ("train_X", "train_y", "unlabeled_X", "test_X", "test_y")]
FILES = {
    "mnist": ["MNIST/raw/train-images-idx3-ubyte", "MNIST/raw/train-labels-idx1-ubyte"],
    "mnist-test": ["MNIST/raw/t10k-images-idx3-ubyte", "MNIST/raw/t10k-labels-idx1-ubyte"],
    "fashion-mnist": ["FashionMNIST/raw/train-images-idx3-ubyte", "FashionMNIST/raw/train-labels-idx1-ubyte"],
    "fashion-mnist-test": ["FashionMNIST/raw/t10k-images-idx3-ubyte", "FashionMNIST/raw/t10k-labels-idx1-ubyte"],
    "usps": ["USPS/usps.bz2"],
    "usps-test": ["USPS/usps.t.bz2"],
    "svhn": ["SVHN/train_32x32.mat"],
    "svhn-test": ["SVHN/test_32x32.mat"],
    "cifar10": CIFAR_FILES,
    "cifar10-test": CIFAR_FILES,
    "stl10": STL_FILES,
    "stl10-test": STL_FILES,
    "mnist-m": ["mnist_m/mnist_m_train/*.png", "mnist_m/mnist_m_train_labels.txt"],
    "mnist-m-test": ["mnist_m/mnist_m_test/*.png", "mnist_m/mnist_m_test_labels.txt"],
    **{name: [f"{name}/images/<class>/*.jpg"] for name in ("office31/amazon", "office31/dslr", "office31/webcam")},
}
TRAINING = tuple(name for name in FILES if not name.endswith("-test"))


def openers(name: str, **options: object) -> dict[str, object]:
    """Every argument that takes this name."""
    preprocessing = exact(name)
    training = {
        "source": lambda: open_source(name, preprocessing, **options),
        "target": lambda: open_target(name, preprocessing, **options),
    }
    evaluation = {"evaluate": lambda: open_labelled(name, preprocessing, TEN, argument="evaluate", **options)}
    return (training if name in TRAINING else {}) | evaluation


def test_every_name_is_in_this_list():
    assert set(FILES) == set(NAMED)


@pytest.mark.parametrize("name", FILES)
def test_absent_files_are_listed_with_where_to_put_them_and_how_to_get_them(tmp_path, monkeypatch, no_network, name):
    monkeypatch.chdir(tmp_path)
    for argument, opener in openers(name).items():
        with pytest.raises(UserError) as raised:
            opener()
        message = str(raised.value)
        assert message.startswith(f"{argument}={name!r}: ")
        for file in FILES[name]:
            assert str(tmp_path / "data" / file) in message
        assert "with root" in message
        fetched = name.removesuffix("-test") not in NOT_FETCHED
        assert ("download=True" in message) is fetched
        assert ("no automatic download" in message) is not fetched
        in_root = name.removesuffix("-test") in ("usps", "svhn")
        assert (f"or directly in {tmp_path / 'data'}" in message) is in_root
        assert "./" not in message
        assert "\n" not in message
    assert no_network == []


def test_only_what_is_absent_is_listed(publish, tmp_path):
    publish("cifar10")
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").unlink()
    with pytest.raises(UserError, match=r"not found: \S*/data_batch_3\. Put") as raised:
        open_source("cifar10", exact("cifar10"), root=tmp_path)
    assert "data_batch_1" not in str(raised.value)


@pytest.mark.parametrize("name", TRAINING)
def test_a_folder_of_the_same_name_is_given_with_a_dot(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for value, kind in enumerate(("cat", "dog")):
        draw(tmp_path / name / kind / "a.png", np.full((3, 4, 4), value, np.uint8))
    preprocessing = Preprocessing(4, 1)
    for argument, opener in openers(name).items():
        with pytest.raises(UserError, match=rf"^{argument}='{name}': .*A folder of your own is given as \./{name}$"):
            opener()
    assert open_source(f"./{name}", preprocessing).classes == ("cat", "dog")
    assert len(open_target(f"./{name}", preprocessing).images) == 2
    assert open_labelled(f"./{name}", preprocessing, ("dog", "cat")).labels.tolist() == [1, 0]


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith("-test")])
def test_nothing_is_trained_on_a_test_set(tmp_path, name):
    for argument, opener in {"source": open_source, "target": open_target}.items():
        with pytest.raises(UserError, match=rf"^{argument}='{name}': .*train on {name.removesuffix('-test')}$"):
            opener(name, exact(name), root=tmp_path)


def test_a_missing_torchvision_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(UserError, match=r"^source='mnist': torchvision reads this set and cannot be imported \(.+\)"):
        open_source("mnist", exact("mnist"), root=tmp_path)


# Damaged files


TAMPERED = [
    ("svhn", "SVHN/train_32x32.mat"),
    *[("cifar10", f"cifar-10-batches-py/{file}") for file in ("data_batch_4", "test_batch", "batches.meta")],
    *[("stl10", f"stl10_binary/{file}") for file in ("train_X.bin", "train_y.bin")],
]


@pytest.mark.parametrize(("name", "file"), TAMPERED)
def test_a_file_that_is_not_the_published_one_is_refused_by_name(publish, tmp_path, name, file):
    publish(name)
    damage(tmp_path / file)
    for argument, opener in openers(name, root=tmp_path).items():
        with pytest.raises(
            UserError, match=rf"^{argument}='{name}': not the published .*md5 differs: (\S+)\. .*download=True"
        ) as e:
            opener()
        assert str(e.value).count(str(tmp_path)) == 1
        assert f"{tmp_path / file}. " in str(e.value)


class Attack:
    """A pickle that writes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("file", ["data_batch_1", "test_batch", "batches.meta"])
def test_a_pickle_that_is_not_the_published_one_is_never_loaded(publish, tmp_path, file):
    publish("cifar10")
    attack = pickle.dumps(Attack(tmp_path / "attacked"))
    (tmp_path / "cifar-10-batches-py" / file).write_bytes(attack)
    for opener in openers("cifar10", root=tmp_path).values():
        with pytest.raises(UserError, match="md5 differs"):
            opener()
    assert not (tmp_path / "attacked").exists()
    pickle.loads(attack)
    assert (tmp_path / "attacked").exists()  # it would have shown


def spoil_mnist(root: Path, images: np.ndarray, labels: np.ndarray) -> None:
    write_idx(root / "MNIST/raw/train-images-idx3-ubyte", images)
    write_idx(root / "MNIST/raw/train-labels-idx1-ubyte", labels)


def spoil_usps(root: Path, content: bytes) -> None:
    (root / "USPS").mkdir()
    (root / "USPS" / "usps.bz2").write_bytes(content)


GOOD_USPS = usps_lines(*make_splits("usps")["train"])
SPARSE_USPS = re.sub(r" 7:\S+", "", GOOD_USPS, count=1)
SPOILED = {
    "other size": ("mnist", lambda root: spoil_mnist(root, np.zeros((2, 27, 28)), np.arange(2)), "1x28x28, got .*27"),
    "fewer labels": (
        "mnist",
        lambda root: spoil_mnist(root, np.zeros((3, 28, 28)), np.arange(2)),
        "one label for each",
    ),
    "no images": ("mnist", lambda root: spoil_mnist(root, np.zeros((0, 28, 28)), np.arange(0)), "."),
    "unknown label": (
        "mnist",
        lambda root: spoil_mnist(root, np.zeros((2, 28, 28)), np.array([3, 10])),
        "from 3 to 10",
    ),
    "no bz2": ("usps", lambda root: spoil_usps(root, b"<html>"), "."),
    "cut off": ("usps", lambda root: spoil_usps(root, bz2.compress(GOOD_USPS.encode())[:-9]), "ended before"),
    "sparse": ("usps", lambda root: spoil_usps(root, bz2.compress(SPARSE_USPS.encode())), "."),
    "empty": ("usps", lambda root: spoil_usps(root, b""), "."),
    "label 11": ("usps", lambda root: spoil_usps(root, bz2.compress(b"11" + GOOD_USPS[1:].encode())), "from 0 to 10"),
    "label 0": ("usps", lambda root: spoil_usps(root, bz2.compress(b"0" + GOOD_USPS[1:].encode())), "from -1 to"),
}


@pytest.mark.parametrize(("name", "spoil", "reason"), SPOILED.values(), ids=SPOILED)
def test_a_damaged_file_is_refused_with_the_reason(tmp_path, name, spoil, reason):
    spoil(tmp_path)
    file = FILES[name][0]
    for argument, opener in openers(name, root=tmp_path).items():
        with pytest.raises(UserError, match=rf"^{argument}='{name}': cannot be read \(.*{reason}.*\): .*{file}"):
            opener()


def test_a_set_without_images_is_refused(tmp_path, monkeypatch):
    nothing = np.zeros((0, 3, 96, 96), np.uint8), np.zeros(0, np.int64)
    write_stl10(tmp_path, {"train": nothing, "test": nothing})
    accept("stl10", tmp_path, monkeypatch)
    with pytest.raises(UserError, match=r"^target='stl10': cannot be read \(expected images and one label for each"):
        open_target("stl10", exact("stl10"), root=tmp_path)


@pytest.mark.parametrize("length", [0, 3, 10, 20])
@pytest.mark.parametrize("kind", ["images-idx3", "labels-idx1"])
def test_a_cut_off_idx_file_is_refused(publish, tmp_path, kind, length):
    publish("mnist")
    path = tmp_path / "MNIST" / "raw" / f"train-{kind}-ubyte"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(UserError, match=r"^source='mnist': cannot be read \("):
        open_source("mnist", exact("mnist"), root=tmp_path)


def test_a_file_that_nobody_may_read_is_told(publish, tmp_path, monkeypatch):
    publish("svhn")

    def deny(*args: object) -> bool:
        raise PermissionError("Permission denied")

    for module in ("svhn", "utils"):
        monkeypatch.setattr(f"torchvision.datasets.{module}.check_integrity", deny)
    with pytest.raises(UserError, match=r"^source='svhn': cannot be read \(Permission denied\)"):
        open_source("svhn", exact("svhn"), root=tmp_path)


# Downloads


@pytest.mark.parametrize("name", [name for name in FILES if name.removesuffix("-test") in ARRAYS])
def test_without_a_network_a_download_is_the_users_to_mend(tmp_path, no_network, name):
    for argument, opener in openers(name, root=tmp_path, download=True).items():
        with pytest.raises(
            UserError, match=rf"^{argument}='{name}': cannot be downloaded \(.*no route to host.*\)"
        ) as e:
            opener()
        assert str(tmp_path / FILES[name][0]) in str(e.value)
        assert "\n" not in str(e.value)
    assert no_network


FETCHING = {
    "mnist": "mnist.download_and_extract_archive",
    "fashion-mnist": "mnist.download_and_extract_archive",
    "usps": "usps.download_url",
    "svhn": "svhn.download_url",
    "cifar10": "cifar.download_and_extract_archive",
    "stl10": "stl10.download_and_extract_archive",
}


@pytest.fixture
def serve(publish, tmp_path, monkeypatch):
    """Publishes a set on the network instead: torchvision's download moves its folder to where it belongs."""

    def prepare(name: str) -> dict[str, Split]:
        splits = publish(name)
        (folder,) = tmp_path.iterdir()
        away = folder.rename(tmp_path.with_name(f"{tmp_path.name}-remote"))

        def download(*args: object, **kwargs: object) -> None:
            for path in [path for path in away.rglob("*") if path.is_file()]:
                here = folder / path.relative_to(away)
                here.parent.mkdir(parents=True, exist_ok=True)
                here.write_bytes(path.read_bytes())

        monkeypatch.setattr(f"torchvision.datasets.{FETCHING[name]}", download)
        return splits

    return prepare


@pytest.mark.parametrize("name", ARRAYS)
def test_what_is_absent_is_downloaded_where_it_is_asked_for(serve, tmp_path, name):
    pixels, _ = serve(name)["train"]
    with pytest.raises(UserError, match="download=True"):
        open_source(name, exact(name), root=tmp_path)
    assert not list(tmp_path.iterdir())
    opened = open_source(name, exact(name), root=tmp_path, download=True)
    np.testing.assert_array_equal(opened.images, pixels)
    assert len(open_target(name, exact(name), root=tmp_path).images) == 20


@pytest.mark.parametrize(("name", "file"), [(name, file) for name, file in TAMPERED if "meta" not in file])
def test_what_is_not_the_published_file_is_downloaded_again(serve, tmp_path, name, file):
    pixels, _ = serve(name)["train"]
    open_source(name, exact(name), root=tmp_path, download=True)
    damage(tmp_path / file)
    opened = open_source(name, exact(name), root=tmp_path, download=True)
    np.testing.assert_array_equal(opened.images, pixels)


def test_old_processed_files_do_not_stand_in_for_a_download(serve, tmp_path):
    pixels, _ = serve("mnist")["train"]
    for file in ("training.pt", "test.pt"):
        old = tmp_path / "MNIST" / "processed" / file
        old.parent.mkdir(parents=True, exist_ok=True)
        torch.save((torch.zeros(1, 28, 28, dtype=torch.uint8), torch.zeros(1)), old)
    np.testing.assert_array_equal(open_source("mnist", exact("mnist"), root=tmp_path, download=True).images, pixels)


def test_what_torchvision_does_not_download_again_is_told_by_name(serve, tmp_path):
    serve("cifar10")
    open_source("cifar10", exact("cifar10"), root=tmp_path, download=True)
    meta = damage(tmp_path / "cifar-10-batches-py" / "batches.meta")
    with pytest.raises(UserError, match=rf"^source='cifar10': .*put the files there yourself: {meta}$"):
        open_source("cifar10", exact("cifar10"), root=tmp_path, download=True)


@pytest.mark.parametrize(
    "name", [name for name in ARRAYS if name != "svhn"]
)  # that one compares the md5 in download_url
def test_nothing_is_downloaded_that_is_there(publish, tmp_path, no_network, name):
    publish(name)
    assert len(open_target(name, exact(name), root=tmp_path, download=True).images) == 20
    assert no_network == []


def test_a_download_that_was_cut_off_is_told(tmp_path, monkeypatch):
    def download(url: str, root: Path, filename: str, md5: str) -> None:
        spoil_usps(tmp_path, bz2.compress(GOOD_USPS.encode())[:-9])
        raise RuntimeError("File not found or corrupted.")

    monkeypatch.setattr("torchvision.datasets.usps.download_url", download)
    with pytest.raises(UserError, match=r"cannot be read \(File not found or corrupted.\): .*Remove what is damaged"):
        open_source("usps", exact("usps"), root=tmp_path, download=True)


@pytest.mark.parametrize("name", NOT_FETCHED)
def test_where_there_is_no_download_the_remedy_is_told_all_the_same(tmp_path, name):
    for argument, opener in openers(name, root=tmp_path, download=True).items():
        with pytest.raises(UserError, match=rf"^{argument}='{name}': .*no automatic download"):
            opener()


# MNIST-M


def test_mnist_m_is_read_by_its_list(publish, tmp_path):
    splits = publish("mnist-m")
    for split, opened in {
        "train": open_source("mnist-m", exact("mnist-m"), root=tmp_path),
        "test": open_labelled("mnist-m-test", exact("mnist-m"), TEN, root=tmp_path),
    }.items():
        np.testing.assert_array_equal(opened.images, splits[split][0])
        assert opened.labels.tolist() == splits[split][1].tolist()
        assert opened.names[1] == str(tmp_path / f"mnist_m/mnist_m_{split}/00000001.png")


def test_as_a_target_mnist_m_is_a_heap_of_images_and_its_list_is_not_read(publish, tmp_path):
    pixels, _ = publish("mnist-m")["train"]
    (tmp_path / "mnist_m" / "mnist_m_train_labels.txt").write_text("no labels")
    np.testing.assert_array_equal(open_target("mnist-m", exact("mnist-m"), root=tmp_path).images, pixels)


@pytest.mark.parametrize(
    "line",
    [
        "../secret.png 5",
        "deep/a.png 5",
        "/etc/a.png 5",
        ".. 5",
        ". 5",
        "00000000.png",
        "00000000.png 10",
        "00000000.png -1",
        "00000000.png five",
        "00000000.png 5 6",
        "",
    ],
)
def test_a_line_that_leaves_the_folder_or_says_no_digit_is_refused(publish, tmp_path, line):
    publish("mnist-m")
    draw(tmp_path / "mnist_m" / "secret.png", np.zeros((3, 4, 4), np.uint8))
    (tmp_path / "mnist_m" / "mnist_m_train_labels.txt").write_text(f"00000000.png 5\n{line}\n")
    with pytest.raises(UserError, match=r"^source=.*mnist_m_train_labels\.txt', line 2: expected .*; got '"):
        open_source("mnist-m", exact("mnist-m"), root=tmp_path)


@pytest.mark.parametrize(("content", "message"), [(b"", "found none"), (b"\xff\xfe", "cannot be read")])
def test_a_list_without_lines_is_refused(publish, tmp_path, content, message):
    publish("mnist-m")
    (tmp_path / "mnist_m" / "mnist_m_train_labels.txt").write_bytes(content)
    with pytest.raises(UserError, match=rf"^source=.*mnist_m_train_labels\.txt': .*{message}"):
        open_source("mnist-m", exact("mnist-m"), root=tmp_path)


def test_an_absent_image_of_the_list_is_skipped_or_refused_with_strict(publish, tmp_path):
    pixels, labels = publish("mnist-m")["train"]
    absent = tmp_path / "mnist_m" / "mnist_m_train" / "00000003.png"
    absent.unlink()
    opened = open_source("mnist-m", exact("mnist-m"), root=tmp_path)
    np.testing.assert_array_equal(opened.images, np.delete(pixels, 3, axis=0))
    assert opened.labels.tolist() == np.delete(labels, 3).tolist()
    assert [each.path for each in opened.unreadable] == [str(absent)]
    with pytest.raises(UserError, match=r"^source=.*1 image cannot be read: .*00000003\.png"):
        open_source("mnist-m", exact("mnist-m"), root=tmp_path, strict=True)


def test_mnist_m_without_any_image_is_refused(publish, tmp_path):
    publish("mnist-m")
    for path in (tmp_path / "mnist_m" / "mnist_m_train").iterdir():
        path.unlink()
    with pytest.raises(UserError, match=r"^source=.*none of its 20 images can be read"):
        open_source("mnist-m", exact("mnist-m"), root=tmp_path)


# Office-31


@pytest.fixture
def office(tmp_path):
    for number, kind in enumerate(("bike", "mug")):
        for frame in range(2):
            path = tmp_path / "office31" / "webcam" / "images" / kind / f"frame_{frame:04d}.jpg"
            draw(path, np.full((3, 8, 12), 50 + 100 * number, np.uint8))
    return tmp_path


def test_a_domain_of_office_is_class_folders_as_a_source_and_a_heap_as_a_target(office):
    small = Preprocessing(8, 3)
    source = open_source("office31/webcam", small, root=office)
    target = open_target("office31/webcam", small, root=office)
    labelled = open_labelled("office31/webcam", small, ("mug", "pen", "bike"), root=office)
    assert source.classes == ("bike", "mug")
    assert source.labels.tolist() == [0, 0, 1, 1]
    assert labelled.labels.tolist() == [2, 2, 0, 0]
    assert torch.equal(source.images, target.images)
    assert source.names == target.names == labelled.names
    assert source.names[0] == str(office / "office31/webcam/images/bike/frame_0000.jpg")
    assert set(vars(target)) == {"images", "names", "unreadable", "left_out", "outside"}


def test_a_damaged_photograph_of_office_is_skipped_or_refused_with_strict(office):
    (office / "office31/webcam/images/bike/frame_0000.jpg").write_bytes(b"")
    small = Preprocessing(8, 3)
    for argument, opener in {"source": open_source, "target": open_target}.items():
        assert len(opener("office31/webcam", small, root=office).unreadable) == 1
        with pytest.raises(UserError, match=rf"^{argument}=.*1 image cannot be read"):
            opener("office31/webcam", small, root=office, strict=True)


def test_the_classes_of_the_pair_are_those_that_both_have():
    renamed = {"car" if name == "automobile" else name for name in CIFAR}
    assert set(named.SHARED_CLASSES) == renamed & set(STL)
