"""One step of self-ensembling, as a diagram."""

import sys

import matplotlib.pyplot as plt
from _style import BLUE, GREEN, INK, ORANGE, WIDTH, save, styled
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch


def box(axes: Axes, x: float, y: float, text: str, colour: str, width: float = 22) -> None:
    axes.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - 5), width, 10, boxstyle="round,rounding_size=2", fc="none", ec=colour, lw=1.5
        )
    )
    axes.text(x, y, text, ha="center", va="center", color=colour)


def arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str = INK, style: str = "-"
) -> None:
    axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": colour, "linestyle": style, "lw": 1.2})


def draw(folder: str) -> None:
    styled()
    figure, axes = plt.subplots(figsize=(WIDTH, 4.3))
    axes.set(xlim=(0, 100), ylim=(0, 86))
    axes.axis("off")
    for x, text in ((18, "source\nimages"), (65, "target\nimages")):
        axes.text(x, 82, text, ha="center", va="center")
    box(axes, 18, 66, "random view", INK, 24)
    box(axes, 50, 66, "random view", INK, 24)
    box(axes, 81, 66, "another view", INK, 25)
    arrow(axes, (18, 78), (18, 71))
    arrow(axes, (61, 78), (52, 71))
    arrow(axes, (69, 78), (78, 71))
    box(axes, 34, 43, "student", BLUE, 40)
    box(axes, 81, 43, "teacher", ORANGE)
    arrow(axes, (18, 61), (24, 48))
    arrow(axes, (50, 61), (44, 48))
    arrow(axes, (81, 61), (81, 48))
    arrow(axes, (54, 43), (70, 43), ORANGE, "--")
    axes.text(62, 46, "average", ha="center", va="bottom", color=ORANGE, size=8.5)
    box(axes, 18, 15, "cross-entropy\nwith the labels", GREEN, 30)
    box(axes, 62, 15, "consistency where\nthe teacher is confident", GREEN, 46)
    arrow(axes, (24, 38), (19, 20))
    arrow(axes, (44, 38), (55, 20))
    arrow(axes, (81, 38), (71, 20))
    axes.text(50, 2, "gradients reach the student alone", ha="center", color=BLUE)
    save(figure, folder, "flow")


if __name__ == "__main__":
    draw(sys.argv[1])
