"""Views of photographs beside kornia and torchvision: `python benchmarks/views.py` (needs `pip install '.[bench]'`).

36 random images of 256 pixels become normalised views of 224. One thread, CPU time, all contestants in turn; the
operations are the same or, where marked, the nearest. The ratio is the median over rounds of the time to ours.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torchvision.transforms.v2 as tv
from micro import cpu_model, race, require_installed
from PIL import Image
from torch import nn

from dalib.augment import views

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZE = 224
BILINEAR = tv.InterpolationMode.BILINEAR


def kornia_operations() -> dict[str, list[nn.Module]]:
    import kornia.augmentation as kornia

    flip, grey = kornia.RandomHorizontalFlip(), kornia.RandomGrayscale(p=0.1)
    normalize = kornia.Normalize(torch.tensor(MEAN), torch.tensor(STD))

    def crop(least: float) -> Any:
        return kornia.RandomResizedCrop((SIZE, SIZE), scale=(least, 1.0))

    def jitter(*strengths: float) -> Any:
        return kornia.ColorJitter(*strengths, p=1.0)

    return {
        "photo_plain": [kornia.CenterCrop(SIZE), normalize],
        "photo_weak": [crop(0.7), flip, jitter(0.1, 0.1, 0.1, 0.02), normalize],
        "photo_moderate": [crop(0.5), flip, jitter(0.3, 0.3, 0.3, 0.05), grey, normalize],
        "photo_strong": [
            *(crop(0.4), flip, kornia.RandomRotation(15.0, p=1.0)),
            *(kornia.RandomGaussianBlur((11, 11), (0.1, 1.5), p=0.5), jitter(0.4, 0.4, 0.4, 0.1)),
            *(kornia.RandomGrayscale(p=0.2), normalize, kornia.RandomErasing((0.02, 0.2), (0.5, 2.0), p=0.5)),
        ],
        "tllib_student": [kornia.RandomCrop((SIZE, SIZE)), flip, jitter(0.7, 0.7, 0.7, 0.5), grey, normalize],
        "paper_photo": [  # the nearest
            *(kornia.CenterCrop(SIZE), flip, kornia.RandomAffine(30.0, scale=(0.75, 1.333), p=1.0)),
            *(normalize, jitter(0.1, 0.1, 0.5, 0.02)),
        ],
    }


def torchvision_operations() -> dict[str, list[nn.Module]]:
    flip, grey = tv.RandomHorizontalFlip(), tv.RandomGrayscale(0.1)
    normalize = [tv.PILToTensor(), tv.ToDtype(torch.float32, scale=True), tv.Normalize(MEAN, STD)]

    def crop(least: float) -> Any:
        return tv.RandomResizedCrop(SIZE, scale=(least, 1.0))

    return {
        "photo_plain": [tv.CenterCrop(SIZE), *normalize],
        "photo_weak": [crop(0.7), flip, tv.ColorJitter(0.1, 0.1, 0.1, 0.02), *normalize],
        "photo_moderate": [crop(0.5), flip, tv.ColorJitter(0.3, 0.3, 0.3, 0.05), grey, *normalize],
        "photo_strong": [
            *(crop(0.4), flip, tv.RandomRotation(15, interpolation=BILINEAR)),
            *(tv.RandomApply([tv.GaussianBlur(11, (0.1, 1.5))], 0.5), tv.ColorJitter(0.4, 0.4, 0.4, 0.1)),
            *(tv.RandomGrayscale(0.2), *normalize, tv.RandomErasing(0.5, (0.02, 0.2), (0.5, 2.0))),
        ],
        "tllib_student": [tv.RandomCrop(SIZE), flip, tv.ColorJitter(0.7, 0.7, 0.7, 0.5), grey, *normalize],
        "paper_photo": [  # the nearest
            *(tv.CenterCrop(SIZE), flip, tv.RandomAffine(30, scale=(0.75, 1.333), interpolation=BILINEAR)),
            *(tv.ColorJitter(0.1, 0.1, 0.5, 0.02), *normalize),
        ],
    }


def in_a_batch(augment: nn.Module, rows: Tensor) -> Tensor:
    """Returns the views of uint8 images (N, 3, H, W), as kornia makes them."""
    made: Tensor = augment(rows.float().div_(255))
    return made


def one_by_one(augment: Callable[[Image.Image], Tensor], pictures: list[Image.Image]) -> Tensor:
    """Returns the views of pictures, as torchvision makes them."""
    return torch.stack([augment(picture) for picture in pictures])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11)
    rounds: int = parser.parse_args().rounds
    require_installed("views.py", {"kornia": "kornia"})
    torch.set_num_threads(1)
    print(f"{cpu_model()}, one thread, torch {torch.__version__}\n")
    pixels = np.random.default_rng(0).integers(0, 256, (36, 256, 256, 3), dtype=np.uint8)
    pictures = [Image.fromarray(image) for image in pixels]
    rows = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    generator = torch.Generator().manual_seed(0)
    theirs, image_by_image = kornia_operations(), torchvision_operations()
    print("| view | dalib, ms | kornia, ms | torchvision, ms | kornia / ours | torchvision / ours |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name in theirs:
        view = getattr(views, name)(SIZE, MEAN, STD)
        contestants: dict[str, Callable[[], Tensor]] = {
            "dalib": partial(view, rows, generator),
            "kornia": partial(in_a_batch, nn.Sequential(*theirs[name]), rows),
            "torchvision": partial(one_by_one, tv.Compose(image_by_image[name]), pictures),
        }
        for contestant, call in contestants.items():
            assert call().shape == (36, 3, SIZE, SIZE), f"{contestant} gives another shape for {name}"
        ours, of_kornia, of_torchvision = race(contestants, rounds)
        print(
            f"| `{name}` | {ours.milliseconds:.1f} | {of_kornia.milliseconds:.1f} | {of_torchvision.milliseconds:.1f} "
            f"| {of_kornia.ratio:.1f} | {of_torchvision.ratio:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
