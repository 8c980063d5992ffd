"""A run from Python, from two folders to a table, a measurement and an exported model; the images are drawn here."""

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import dalib


def draw(kind: str, street: bool, rng: np.random.Generator) -> Image.Image:
    """A cup or a pen, before a plain ground or on a busy one."""
    low, high = (60, 200) if street else (220, 255)
    picture = Image.fromarray(rng.integers(low, high, (4, 4, 3), dtype=np.uint8)).resize((32, 32))
    pen, colour = ImageDraw.Draw(picture), tuple(map(int, rng.integers(0, 120, 3)))
    if kind == "cup":
        pen.rectangle([8, 10, 20, 24], fill=colour)
        pen.arc([18, 12, 27, 22], 270, 90, fill=colour, width=2)
    else:
        pen.line([6, 26, 26, 6], fill=colour, width=3)
    return picture


folder, rng = Path(tempfile.mkdtemp(prefix="dalib-")), np.random.default_rng(0)
for kind in ("cup", "pen"):
    for place in (f"studio/{kind}", "street", f"labelled/{kind}"):
        (folder / place).mkdir(parents=True, exist_ok=True)
        for number in range(20):
            draw(kind, not place.startswith("studio"), rng).save(folder / place / f"{kind[0]}{number:02}.png")

run = dalib.adapt(folder / "studio", folder / "street", out=folder / "first", data={"size": 16}, steps=40, batch=16)
print(run)

rows = run.predict(folder / "street", out=folder / "street.csv")
print(rows)
print(rows[0].path, rows[0].label, rows[0].confidence)

print(run.evaluate(folder / "labelled"))
print("to label:", run.query(5, out=folder / "to_label.csv"))
print("model:", run.export(folder / "model"))
print("report:", run.report)

# images that are objects do as well: (images, labels), data sets of torch and of Hugging Face, lists
target = np.stack([np.asarray(Image.open(row.path)) for row in rows])
print(dalib.open_run(folder / "first").predict(target[:3]))
