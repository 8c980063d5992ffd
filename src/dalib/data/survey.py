"""A survey of folders before training: counts, sizes, unreadable files, duplicates.

Reads headers, and the whole of files that have another's size; decodes files of whole numbers beyond 8 bits, and those
that are so small that they may be of one colour.
"""

from __future__ import annotations

import shutil
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from dalib.core.files import Unreadable
from dalib.data.cache import default_cache_folder, row_bytes, writable_cache_folder
from dalib.data.decoding import ImageHeader, free_memory, is_constant, read_headers, whole_numbers
from dalib.data.overlap import by_size, digest_of
from dalib.data.shards import state_of
from dalib.data.spelling import key_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence, Set

    from dalib.data.depth import WholeNumbers
    from dalib.data.listing import Listing
    from dalib.data.preprocessing import Preprocessing


@dataclass(frozen=True)
class Spread:
    """The distribution of pixels along one side of the images, as stored."""

    least: int
    median: float
    greatest: int


@dataclass(frozen=True)
class DomainSurvey:
    """The survey of one domain's files."""

    where: str
    headers: tuple[ImageHeader | None, ...]
    """The headers of the files, in their order; None for a file that is unreadable."""
    class_counts: Mapping[str, int] | None
    """Images of each class, also none; None without labels."""
    folders: tuple[str, ...]
    """The names of the folders that hold all images of an unlabelled domain; empty if some are in none, or labelled."""
    unreadable: tuple[Unreadable, ...]
    """Files with an unreadable header: a truncated file is found when it is decoded."""
    ignored: Mapping[str, int]
    """Files left out for their ending."""
    notes: tuple[str, ...]
    duplicates: tuple[tuple[str, ...], ...]
    """Groups of files with the same bytes, without those that are known to be unreadable."""
    bytes_each: int
    """Bytes that a decoded image takes, in memory or in the cache."""
    whole_numbers: tuple[WholeNumbers, ...] = ()
    """Files with whole numbers beyond 8 bits."""
    constant: tuple[str, ...] = ()
    """Files whose pixels are all the same."""
    class_of_duplicate: Mapping[str, str] = field(default_factory=dict)
    """The class of each file in ``duplicates``; empty without labels."""

    @property
    def readable(self) -> list[ImageHeader]:
        """The headers of the images."""
        return [header for header in self.headers if header is not None]

    @property
    def images(self) -> int:
        """Number of images."""
        return len(self.readable)

    @property
    def width(self) -> Spread | None:
        """Widths of the images; None where there is no image."""
        return _spread([header.width for header in self.readable])

    @property
    def height(self) -> Spread | None:
        """Heights of the images; None where there is no image."""
        return _spread([header.height for header in self.readable])

    @property
    def modes(self) -> dict[str, int]:
        """PIL's names, the most frequent first: RGB, L (grey), P (palette), CMYK, I;16 (16 bits)."""
        return dict(Counter(header.mode for header in self.readable).most_common())

    @property
    def row_bytes(self) -> int:
        """Bytes that the decoded images take, in memory or in the cache."""
        return self.images * self.bytes_each


@dataclass(frozen=True)
class Survey:
    """The survey of both domains, as far as they are given, and of what they have in common."""

    source: DomainSurvey | None
    target: DomainSurvey | None
    only_in_source: tuple[str, ...]
    """Classes without a folder of that name in the target. Empty unless the target's images are all in folders and one
    of these has a class's name: other folders mean nothing."""
    only_in_target: tuple[str, ...]
    """Folders of the target, under the same condition, that are no class."""
    shared_images: tuple[tuple[str, str], ...]
    """Pairs (source file, target file) with the same bytes, one for each such readable target file."""
    cache_folder: Path
    free_disk: int | None
    """Bytes free where the cache is; None where the system does not report it."""
    free_memory: int | None

    @property
    def row_bytes(self) -> int:
        """Bytes that all decoded images take together."""
        return sum(domain.row_bytes for domain in (self.source, self.target) if domain is not None)


def survey(
    source: Listing | None,
    target: Listing | None,
    preprocessing: Preprocessing,
    *,
    cache_folder: str | Path | None = None,
    known: DomainSurvey | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Survey:
    """Surveys the files of one or both domains.

    Args:
        known: what the source came to in a survey with another target; its headers are not read again.
        on_progress: called with (done, total) while headers are read, over both domains.
    """
    total = sum(len(listing.paths) for listing in (source, target) if listing is not None)
    domains: list[DomainSurvey | None] = []
    done = 0
    paths = [[str(path) for path in listing.paths] if listing is not None else [] for listing in (source, target)]
    groups = duplicates([*paths[0], *paths[1]])
    for listing, own in zip((source, target), paths, strict=True):
        if listing is None:
            domains.append(None)
            continue
        if listing is source and known is not None:
            domains.append(known)
            done += len(own)
            continue
        before = done

        def report(read: int, _: int, before: int = before) -> None:
            if on_progress is not None:
                on_progress(before + read, total)

        domains.append(_domain(listing, set(own), groups, preprocessing, report))
        done += len(own)
    only_in_source, only_in_target = _unmatched(*domains)
    in_source = set(paths[0])
    twins = {name: name for name in paths[0]}  # one file may be in both domains
    for group in groups:
        if first := next((name for name in group if name in in_source), None):
            twins.update((name, first) for name in group if name not in in_source)
    shared = [(twins[name], name) for name in dict.fromkeys(paths[1]) if name in twins]
    folder = writable_cache_folder(default_cache_folder()) if cache_folder is None else Path(cache_folder).expanduser()
    found = Survey(
        source=domains[0],
        target=domains[1],
        only_in_source=only_in_source,
        only_in_target=only_in_target,
        shared_images=tuple(shared),
        cache_folder=folder,
        free_disk=_free_disk(folder),
        free_memory=free_memory(),
    )
    return with_readable_copies(found)


def with_readable_copies(found: Survey) -> Survey:
    """Returns the survey without copies that are unreadable: two damaged files of the same bytes are no image twice."""
    domains = (found.source, found.target)
    lost = {each.path for domain in domains if domain is not None for each in domain.unreadable}
    source, target = (None if domain is None else _with_readable_copies(domain, lost) for domain in domains)
    shared = tuple(pair for pair in found.shared_images if lost.isdisjoint(pair))
    return replace(found, source=source, target=target, shared_images=shared)


def _with_readable_copies(domain: DomainSurvey, lost: Set[str]) -> DomainSurvey:
    kept = (tuple(name for name in group if name not in lost) for group in domain.duplicates)
    return replace(domain, duplicates=tuple(group for group in kept if len(group) > 1))


def duplicates(names: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Groups two or more files with the same bytes, in the order given; a file named twice counts once.

    Only files of one size are read. Empty ones and ones that cannot be read are in no group.
    """
    of_content: defaultdict[bytes, list[str]] = defaultdict(list)
    for same_size in by_size(list(dict.fromkeys(names))).values():
        for name in same_size if len(same_size) > 1 else ():
            if digest := digest_of(name):
                of_content[digest].append(name)
    order = {name: position for position, name in enumerate(dict.fromkeys(names))}
    groups = [tuple(group) for group in of_content.values() if len(group) > 1]
    return tuple(sorted(groups, key=lambda group: order[group[0]]))


def _domain(
    listing: Listing,
    own: set[str],
    groups: Sequence[tuple[str, ...]],
    preprocessing: Preprocessing,
    on_progress: Callable[[int, int], None],
) -> DomainSurvey:
    headers = read_headers(listing.paths, on_progress=on_progress)
    counts: dict[str, int] | None = None
    if listing.labels is not None and listing.classes is not None:
        counts = dict.fromkeys(listing.classes, 0)
        for label, header in zip(listing.labels, headers, strict=True):
            counts[listing.classes[label]] += isinstance(header, ImageHeader)
    numbers = listing.whole_numbers if listing.whole_numbers is not None else whole_numbers(listing.paths)
    inside = [tuple(name for name in group if name in own) for group in groups]
    twice = tuple(group for group in inside if len(group) > 1)
    return DomainSurvey(
        where=listing.where,
        headers=tuple(header if isinstance(header, ImageHeader) else None for header in headers),
        class_counts=counts,
        folders=_folders(listing) if counts is None else (),
        unreadable=(*(header for header in headers if isinstance(header, Unreadable)), *listing.unreadable),
        ignored=listing.ignored,
        notes=listing.notes,
        duplicates=twice,
        bytes_each=row_bytes(preprocessing),
        whole_numbers=numbers,
        constant=_constant(listing, headers, numbers),
        class_of_duplicate=_classes_of(listing, {name for group in twice for name in group}),
    )


def _classes_of(listing: Listing, names: Set[str]) -> dict[str, str]:
    """Returns the class of each of these files; empty without labels."""
    if listing.labels is None or listing.classes is None or not names:
        return {}
    pairs = zip(map(str, listing.paths), listing.labels, strict=True)
    return {name: listing.classes[label] for name, label in pairs if name in names}


def _constant(
    listing: Listing, headers: Sequence[ImageHeader | Unreadable], numbers: Sequence[WholeNumbers]
) -> tuple[str, ...]:
    """Finds the files whose pixels are all equal; of 8-bit files, it decodes only those that are as small as such a
    file.
    """
    known = {each.path: each.low == each.high for each in numbers}
    found = []
    for path, header in zip(listing.paths, headers, strict=True):
        if isinstance(header, Unreadable):
            continue
        same = known.get(str(path))
        if same is None:
            same = _may_be_constant(path, header) and is_constant(path)
        if same:
            found.append(str(path))
    return tuple(found)


def _may_be_constant(path: Path, header: ImageHeader) -> bool:
    pixels = header.width * header.height
    try:
        size = state_of(path).size
    except OSError:
        return False
    # JPEG takes a fiftieth of a byte for a pixel of one colour, the others less, and a file without compression at
    # least an eighth, whose decoding costs little
    return size < _HEAD + pixels * _LEAST or path.suffix.lower() in _UNCOMPRESSED


_HEAD, _LEAST = 2048, 0.05
_UNCOMPRESSED = (".bmp", ".ppm", ".pgm", ".tif", ".tiff")


def _folders(listing: Listing) -> tuple[str, ...]:
    names = set()
    for path in listing.paths:
        if not path.is_relative_to(listing.root) or len(parts := path.relative_to(listing.root).parts) < 2:
            return ()
        names.add(parts[0])
    return tuple(sorted(names))


def _unmatched(source: DomainSurvey | None, target: DomainSurvey | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if source is None or target is None or source.class_counts is None:
        return (), ()
    classes, folders = ({key_of(name): name for name in names} for names in (source.class_counts, target.folders))
    if not classes.keys() & folders.keys():
        return (), ()
    return (
        tuple(sorted(classes[key] for key in classes.keys() - folders.keys())),
        tuple(sorted(folders[key] for key in folders.keys() - classes.keys())),
    )


def _spread(values: Sequence[int]) -> Spread | None:
    return Spread(min(values), float(median(values)), max(values)) if values else None


def _free_disk(folder: Path) -> int | None:
    for existing in (folder, *folder.absolute().parents):  # the folder is made when the cache is
        if existing.is_dir():
            try:
                return shutil.disk_usage(existing).free
            except OSError:
                return None
    return None
