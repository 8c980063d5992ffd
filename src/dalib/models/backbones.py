"""Small backbones for small images; each gives features (N, out_features) or feature maps.

The paper's two networks are here to the letter. Their convolutions are followed by BatchNorm and ReLU.
"""

from __future__ import annotations

from torch import Tensor, nn

from dalib.models.dropout import Dropout


class SmallBackbone(nn.Module):
    """A small network for small images, fast on a CPU: (N, channels, h, w) -> (N, 128).

    two conv 3x3 32, max-pool, two conv 3x3 64, max-pool, conv 3x3 128, mean over the remaining pixels, dropout 0.5.

    Raises:
        ValueError: a size below 4, of which nothing is left after the second pooling.

    Source: our choice, for the built-in digits at 16x16.
    """

    out_features = 128

    def __init__(self, channels: int = 1, size: int = 16) -> None:
        super().__init__()
        if size < 4:
            raise ValueError(f"size: expected at least 4 pixels, got {size}")
        self.layers = nn.Sequential(
            *_convolution(channels, 32, 3),
            *_convolution(32, 32, 3),
            nn.MaxPool2d(2),
            *_convolution(32, 64, 3),
            *_convolution(64, 64, 3),
            nn.MaxPool2d(2),
            *_convolution(64, 128, 3),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            Dropout(0.5),
        )

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.layers(images)
        return features


class PaperSmallBackbone(nn.Module):
    """The paper's network for MNIST and USPS, up to its last hidden layer.

    conv 5x5 32, max-pool, two conv 3x3 64, max-pool, dropout 0.5, fully connected 256, ReLU; no padding.
    (N, channels, size, size) -> (N, 256). With ``ImageClassifier(backbone, 10, bottleneck_dim=None)`` it is complete.

    Raises:
        ValueError: a size below 16, for which nothing is left after the second pooling.

    Source: the code of the authors of French et al., ICLR 2018, read as facts.
    """

    out_features = 256

    def __init__(self, channels: int = 1, size: int = 28) -> None:
        super().__init__()
        if size < 16:
            raise ValueError(f"size: expected at least 16 pixels, got {size}")
        remaining = ((size - 4) // 2 - 4) // 2
        self.layers = nn.Sequential(
            *_convolution(channels, 32, 5, padding=0),
            nn.MaxPool2d(2),
            *_convolution(32, 64, 3, padding=0),
            *_convolution(64, 64, 3, padding=0),
            nn.MaxPool2d(2),
            nn.Flatten(),
            Dropout(0.5),
            nn.Linear(64 * remaining**2, self.out_features),
            nn.ReLU(),
        )

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.layers(images)
        return features


class DigitsBackbone(nn.Module):
    """A network for written characters, fast on a CPU: (N, channels, size, size) -> (N, out_features).

    conv 5x5 32 without padding, max-pool, conv 3x3 64, max-pool, conv 3x3 96, conv 3x3 96 without padding, flatten,
    dropout 0.25. Poolings come before batch normalisation and ReLU, which then have a quarter of the work. Made for
    ``ImageClassifier(backbone, C, bottleneck_dim=256)``, whose normalised bottleneck withstands noise.

    Raises:
        ValueError: a size below 16, for which nothing is left after the last convolution.

    Source: our choice, after the paper's small network; normalising after pooling is usual in networks that are raced.
    """

    def __init__(self, channels: int = 1, size: int = 24) -> None:
        super().__init__()
        if size < 16:
            raise ValueError(f"size: expected at least 16 pixels, got {size}")
        remaining = (size - 4) // 2 // 2 - 2
        self.out_features = 96 * remaining**2
        self.layers = nn.Sequential(
            *_pooled_convolution(channels, 32, 5, padding=0),
            *_pooled_convolution(32, 64, 3, padding=1),
            *_convolution(64, 96, 3),
            *_convolution(96, 96, 3, padding=0),
            nn.Flatten(),
            Dropout(0.25),
        )

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.layers(images)
        return features


class PaperLargeBackbone(nn.Module):
    """The paper's network for 32x32 images (SVHN, CIFAR, STL and the like), up to its pooled features.

    three conv 3x3 128, max-pool, dropout, three conv 3x3 256, max-pool, dropout, conv 3x3 512 without padding,
    conv 1x1 256, conv 1x1 128, mean over the remaining pixels. (N, channels, size, size) -> (N, 128), size at least 12.

    Raises:
        ValueError: a smaller size, or smaller images, of which nothing is left.

    Source: the code of the authors of French et al., ICLR 2018, read as facts.
    """

    out_features = 128

    def __init__(self, channels: int = 3, size: int = 32) -> None:
        super().__init__()
        if size < 12:
            raise ValueError(f"size: expected at least 12 pixels, got {size}")
        self.layers = nn.Sequential(
            *_convolution(channels, 128, 3),
            *_convolution(128, 128, 3),
            *_convolution(128, 128, 3),
            nn.MaxPool2d(2),
            Dropout(0.5),
            *_convolution(128, 256, 3),
            *_convolution(256, 256, 3),
            *_convolution(256, 256, 3),
            nn.MaxPool2d(2),
            Dropout(0.5),
            *_convolution(256, 512, 3, padding=0),
            *_convolution(512, 256, 1),
            *_convolution(256, 128, 1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )

    def forward(self, images: Tensor) -> Tensor:
        if min(images.shape[-2:]) < 12:
            raise ValueError(f"images: expected at least 12 x 12 pixels, got {tuple(images.shape)}")
        features: Tensor = self.layers(images)
        return features


class StoredFeatures(nn.Identity):
    """A stand-in for a backbone whose features were computed beforehand: (N, out_features) passes unchanged."""

    def __init__(self, out_features: int) -> None:
        super().__init__()
        self.out_features = out_features


def _convolution(inputs: int, outputs: int, kernel: int, padding: int | None = None) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2 if padding is None else padding),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    ]


def _pooled_convolution(inputs: int, outputs: int, kernel: int, padding: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, kernel, padding=padding), nn.MaxPool2d(2), nn.BatchNorm2d(outputs), nn.ReLU()]
