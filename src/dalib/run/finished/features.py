"""``dalib features``: a vector for each of any number of images, in constant memory, resuming where it was killed.

**Which vector.** Of a run, or of a model that it exported as a folder, these are float32 features of the plain image:
the centred crop, without the warps that predictions are averaged over, normalised as for predictions, through the
network in evaluation mode.

- Of a model that was trained on stored features of a frozen backbone (``photo-features``): the output of the backbone,
  averaged over the pixels of its maps where it gives maps, before it is standardised. No training of the run has
  changed it, so it favours none of its models, which all give the same. There are two exceptions.
  ``model.trained_stages`` changes the last stages of the adapted model. ``model.domain_statistics`` mixes a share of
  the domain's own statistics into batch normalisation; with ``joined``, the backbone stands there twice, with the
  pretrained statistics and with these.
- Of any other model: the input of its last, linear layer, behind the bottleneck. Each model has its own.

Of a backbone without a run: its output, likewise, with timm's weights and normalisation for images that are scaled as
in the preset ``photo-features``.

:mod:`dalib.run.finished.table_of_images` reads the images, divides them over processes, and joins the parts;
:mod:`dalib.run.finished.feature_table` describes the files.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dalib.core.devices import choose_device
from dalib.core.files import required_path
from dalib.records.folder import RunFolder
from dalib.run.features.representation import named_backbone, representation_alone
from dalib.run.finished.feature_table import FeatureFormat, check_features
from dalib.run.finished.load import BATCH, MANY, chosen_model, identity_of, open_model, representation_in
from dalib.run.finished.resumable_table import digest_of
from dalib.run.finished.table_of_images import ImageTable, open_images, write_table_of_images

if TYPE_CHECKING:
    from dalib.data.reading_options import CachePolicy
    from dalib.models.representation import FeatureNetwork
    from dalib.run.finished.table_of_images import ImageSource
    from dalib.run.settings.backbones import WeightsOrder


def features(
    run: RunFolder | str | Path,
    images: str,
    out: str,
    *,
    model: str | None = None,
    device: str = "auto",
    strict: bool = False,
    cache: CachePolicy = "off",
) -> int:
    """Writes the features of each image below a folder, by a model of a run.

    A command that was killed resumes when it is given again, as :func:`dalib.run.finished.predict.predict` does.

    Args:
        run: a run, its folder, or a folder that ``dalib export`` wrote; graphs give probabilities alone.
        images: a folder of images, flat or nested, a list of them, or one image.
        out: a file that ends in .npz or .parquet, or the name of a folder without an ending; written whole or not at
            all. Features that are there are replaced in the end, anything else is refused.
        model: of a run: ``adapted``, ``aligned`` or ``source-only``; by default the selected one.
        strict: refuse unreadable images; otherwise they are reported and have no row.
        cache: where decoded images are kept, as for ``train``.

    Returns:
        How many images have features.

    Raises:
        UserError: bad input, a graph, or what :func:`dalib.run.finished.predict.predict` refuses.
    """
    images, place = required_path(images, "images"), check_features(required_path(out, "out"))
    where = run.root if isinstance(run, RunFolder) else Path(required_path(run, "run"))

    def prepared(device: str) -> ImageTable:
        chosen = chosen_model(where, model)
        opened = open_model(where, model=chosen.model, device=device)
        representation = representation_in(opened, where)
        source = open_images(images, opened.description.preprocessing, strict, cache)
        of = [identity_of(where, model=chosen.model), representation.layer]
        return _table(representation, source, of, "run", chosen.in_words)

    return write_table_of_images(place, prepared, device)


def features_of_backbone(
    backbone: str,
    images: str,
    out: str,
    *,
    weights: str | None = None,
    weights_order: WeightsOrder = "name",
    device: str = "auto",
    strict: bool = False,
    cache: CachePolicy = "off",
) -> int:
    """Writes the features of each image below a folder, by a pretrained backbone that no run has trained.

    Args:
        backbone: timm's name of a network, ``lite0``, ``lite1`` or ``lite2``, or ``hf_hub:OWNER/NAME``.
        weights, weights_order: as the settings of a run; the short names and a repository imply theirs.
        images, out, device, strict, cache: as for :func:`features`.

    Returns:
        How many images have features.

    Raises:
        UserError: as :func:`features`, or weights that are missing or do not fit.
    """
    images, place = required_path(images, "images"), check_features(required_path(out, "out"))

    def prepared(device: str) -> ImageTable:
        named = named_backbone(backbone, weights, weights_order)
        representation, preprocessing, digest = representation_alone(named, choose_device(device))
        source = open_images(images, preprocessing, strict, cache)
        return _table(representation, source, [named.name, digest, repr(preprocessing)], "backbone", "")

    return write_table_of_images(place, prepared, device)


def _table(representation: FeatureNetwork, source: ImageSource, of: list[str], network: str, chosen: str) -> ImageTable:
    """Returns the table to compute: features of the images of ``source``, by the model that ``of`` identifies."""
    if len(source.names) >= MANY:
        representation = representation.for_many()
    form = FeatureFormat(representation.width, network)
    by = f" by the {chosen}" if chosen else ""
    return ImageTable(
        source,
        lambda names, pixels: form.rows(names, representation.features(pixels)),
        form,
        digest_of([*of, str(BATCH), "features"], source.names),
        BATCH,
        f"{representation.width} features of each image{by}: {representation.layer}",
    )
