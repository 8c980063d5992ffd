"""What the figures share: sizes that can be read on a telephone, colours that can be read on white and on black."""

from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

INK = "#7b7f86"
BLUE, ORANGE, GREEN = "#4c86d6", "#d9762b", "#2f9e6e"
WIDTH = 5.0  # inches


def styled() -> None:
    plt.rcParams.update(
        {
            "font.size": 9.5,
            "text.color": INK,
            "axes.labelcolor": INK,
            "axes.edgecolor": INK,
            "xtick.color": INK,
            "ytick.color": INK,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "legend.frameon": False,
            "svg.hashsalt": "dalib",  # the same file each time
        }
    )


def save(figure: Figure, folder: str, name: str) -> None:
    figure.savefig(Path(folder) / f"{name}.svg", transparent=True, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
