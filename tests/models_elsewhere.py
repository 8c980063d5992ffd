"""Models of four classes that were trained elsewhere: their tables, features of their images, and pictures."""

import numpy as np
from PIL import Image

CLASSES = ["ant", "bee", "cat", "dog"]
PER_CLASS, WIDTH = 30, 12


def features_and_labels(seed):
    generator = np.random.default_rng(seed)
    centres = 4 * np.random.default_rng(0).normal(size=(4, WIDTH))
    labels = np.arange(4).repeat(PER_CLASS)
    return centres[labels] + 0.5 * generator.normal(size=(len(labels), WIDTH)), labels


def sure(labels):
    return 0.9 * np.eye(4)[labels] + 0.025


def noisy(labels, share, seed=0):
    generator = np.random.default_rng(seed)
    return np.where(generator.random(len(labels)) < share, generator.integers(0, 4, len(labels)), labels)


FEATURES, LABELS = features_and_labels(1)
BEFORE, AFTER = sure(noisy(LABELS, 0.7)), sure(LABELS)
NAMES = [f"street/{number:03d}.jpg" for number in range(len(LABELS))]


def write_csv(path, probabilities, names=NAMES, classes=CLASSES, labels=None, column="path"):
    header = [column, *classes, *([] if labels is None else ["label"])]
    lines = [",".join(header)]
    for number, (name, row) in enumerate(zip(names, probabilities, strict=True)):
        cells = [name, *(f"{value:.4f}" for value in row), *([] if labels is None else [classes[labels[number]]])]
        lines.append(",".join(cells))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def write_tables(folder):
    """Writes two tables whose rows and columns are in another order, and features with names in a third."""
    order = np.random.default_rng(3).permutation(len(NAMES))
    write_csv(folder / "before.csv", BEFORE)
    shuffled = AFTER[order][:, [2, 0, 3, 1]]
    write_csv(folder / "after.csv", shuffled, [NAMES[row] for row in order], ["cat", "ant", "dog", "bee"])
    np.savez(folder / "features.npz", features=FEATURES[::-1], names=np.array(NAMES[::-1]))
    return folder


def write_pictures(folder):
    """Writes red squares and green stripes: labelled ones in two folders, and the target's in one, with two tables."""
    generator = np.random.default_rng(0)
    lines = {"old": ["path,ant,bee"], "new": ["path,ant,bee"]}
    for number in range(64):
        label = number % 2
        pixels = np.full((96, 96, 3), generator.integers(60, 120), dtype=np.int64)
        if label:
            pixels[20:70, 20:70] = [200, 30, 30]
        else:
            pixels[::8] = [20, 200, 60]
        pixels = np.clip(pixels + generator.normal(0, 15, pixels.shape), 0, 255).astype(np.uint8)
        place = folder / ("target" if number < 40 else f"source/{['ant', 'bee'][label]}")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{number:02d}.png")
        for name, wrong in (("old", generator.random() < 0.2), ("new", False)):
            shares = [0.9, 0.1] if (label == 0) != wrong else [0.1, 0.9]
            if number < 40:
                lines[name].append(f"{number:02d}.png,{shares[0]},{shares[1]}")
    for name, written in lines.items():
        (folder / f"{name}.csv").write_text("\n".join(written))
    return folder
