"""Tar archives of images: their order, their classes, what is not read of them, and the pixels of their members."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dalib.core.errors import UserError
from dalib.data import shards
from dalib.data.cache import ImageCache, cache_key
from dalib.data.decoding import decode, read_headers, whole_numbers
from dalib.data.groups import ImagesToGroup, find_groups
from dalib.data.labels import rows_by_name
from dalib.data.listing import list_images, list_labelled, list_names
from dalib.data.overlap import shared_files
from dalib.data.preprocessing import Preprocessing
from dalib.data.sources import open_labelled, open_source, open_target
from dalib.data.survey import duplicates

GREY = Preprocessing(size=4, channels=1)


def picture(value: int, kind: str = "png") -> bytes:
    content = io.BytesIO()
    Image.new("L", (4, 4), value).save(content, kind)
    return content.getvalue()


def pack(path: Path, members: dict[str, bytes | tarfile.TarInfo]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def special(name: str, kind: bytes, to: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info


def of(where: Path, labelled: bool = True):
    lister = list_labelled if labelled else list_images
    return lister(where, argument="source" if labelled else "images")


def keys(listing) -> list[str]:
    return [path.relative_to(listing.root).as_posix() for path in listing.paths]


def two_shards(root: Path) -> Path:
    pack(root / "a-01.tar", {"z/1.png": picture(1), "b/2.png": picture(2)})
    pack(root / "a-00.tar", {"z/9.png": picture(9), "z/9.json": b"{}"})
    return root


def test_the_order_is_that_of_the_shards_and_in_them_that_of_the_archive(tmp_path):
    root = two_shards(tmp_path)
    expected = ["a-00.tar/z/9", "a-01.tar/z/1", "a-01.tar/b/2"]
    for where in (root, root / "a-{00..01}.tar", root / "a-{00,01}.tar"):
        assert keys(of(where, labelled=False)) == expected
        assert list_names(where, argument="images")[0] == [str(root / each) for each in expected]
    assert keys(of(root / "a-01.tar")) == expected[1:]


def test_the_pixels_are_those_of_files(tmp_path):
    listing = of(two_shards(tmp_path))
    images, kept, unreadable = decode(listing.paths, GREY)
    assert (images[:, 0, 0, 0].tolist(), kept.tolist(), unreadable) == ([9, 1, 2], [0, 1, 2], ())
    assert [header.width for header in read_headers(listing.paths)] == [4, 4, 4]


def test_every_format_reads_the_same_in_a_shard(tmp_path):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))
    files = {}
    for kind in ("png", "jpeg", "bmp", "tiff", "ppm", "webp", "gif"):
        image.save(tmp_path / f"x.{kind}", kind)
        files[f"{kind}.{kind}"] = (tmp_path / f"x.{kind}").read_bytes()
    Image.fromarray(np.arange(1600, dtype=np.uint16).reshape(40, 40)).save(tmp_path / "deep.png")
    files["deep.png"] = (tmp_path / "deep.png").read_bytes()
    plain = Preprocessing(size=10, channels=3, range=(0, 1599))
    alone = [*sorted(tmp_path.glob("x.*")), tmp_path / "deep.png"]
    order = [*(path.suffix[1:] for path in alone[:-1]), "deep"]
    shard = pack(
        tmp_path / "s.tar", {name: files[name] for name in files if name.split(".")[1] not in ("jpeg", "tiff")}
    )
    more = pack(tmp_path / "t.tar", {"jpeg.jpg": files["jpeg.jpeg"], "tiff.tif": files["tiff.tiff"]})
    inside = [(more if each in ("jpeg", "tiff") else shard) / each for each in order]
    assert torch.equal(decode(inside, plain)[0], decode(alone, plain)[0])
    assert [each[1:] for each in whole_numbers(inside)] == [each[1:] for each in whole_numbers(alone)] != []


@pytest.mark.parametrize(
    ("members", "how"),
    [
        ({"1.png": b"", "1.cls": b"dog\n", "2.png": b"", "2.cls": b"cat"}, ".cls"),
        ({"1.png": b"", "1.json": b'{"label": "dog"}', "2.png": b"", "2.json": b'{"class": "cat"}'}, ".json"),
        ({"1.png": b"", "1.txt": b"dog", "2.png": b"", "2.txt": b" cat "}, ".txt"),
        ({"dog/1.png": b"", "cat/deep/2.png": b"", "cat/deep/2.json": b'{"width": 4}'}, "folders in their keys"),
        ({"x/1.png": b"", "x/1.cls": b"dog", "x/1.txt": b"it barks", "y/2.cls": b"cat", "y/2.png": b""}, ".cls"),
    ],
)
def test_what_tells_the_class_is_said(tmp_path, members, how):
    listing = of(pack(tmp_path / "s.tar", members))
    assert (listing.classes, listing.labels) == (("cat", "dog"), (1, 0))
    assert how in listing.notes[0]


def test_a_number_is_the_name_of_a_class(tmp_path):
    members = {f"{n}.{ending}": str(n).encode() for n in range(3) for ending in ("jpg", "cls")}
    listing = of(pack(tmp_path / "s.tar", members))
    assert (listing.classes, listing.labels) == (("0", "1", "2"), (0, 1, 2))
    as_json = of(pack(tmp_path / "j.tar", {"1.jpg": b"", "1.json": b"3", "2.jpg": b"", "2.json": b'{"cls": 4}'}))
    assert as_json.classes == ("3", "4")
    either = {"1.jpg": b"", "1.json": b'{"label": null, "cls": 3}', "2.jpg": b"", "2.json": b'{"class": 4}'}
    assert of(pack(tmp_path / "e.tar", either)).classes == ("3", "4")


def test_captions_are_no_classes(tmp_path):
    members = {f"{'cat' if n % 2 else 'dog'}/{n}.{e}": f"text {n}".encode() for n in range(20) for e in ("jpg", "txt")}
    assert of(pack(tmp_path / "s.tar", members)).classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"1.png": b""}, r"nothing tells the class of .*s.tar/1; expected a member 1.cls, .json"),
        ({"1.png": b"", "1.cls": b"dog", "2.png": b""}, r"in .cls members, and .*s.tar/2 has none; add it"),
        ({"1.png": b"", "1.cls": b"dog", "2.png": b"", "2.cls": b"nan"}, r"s.tar/2 has none"),
        (
            {"1.png": b"", "1.json": b'{"cls": 1}', "2.png": b"", "2.json": b'{"cls": 1.5}'},
            r"s.tar/2 has 1.5, which is no name of a class; write a text or a whole number, or leave the sample out$",
        ),
        ({"1.png": b"", "1.json": b'{"cls": 1.0}'}, r"\(with the field .*cls, a text or a whole number\) or \.txt"),
        ({"1.png": b"", "1.json": b"{"}, r"1.json cannot be read"),
        ({"1.png": b"", "1.cls": b"\xff"}, r"1.cls cannot be read"),
        ({"1.txt": b"dog"}, r"expected images .* in the archive, found none"),
    ],
)
def test_a_sample_without_a_class_is_told(tmp_path, members, message):
    with pytest.raises(UserError, match=message):
        of(pack(tmp_path / "s.tar", members))


def test_missing_shards_and_compressed_ones_are_told(tmp_path):
    pack(tmp_path / "a-0.tar", {"1.png": b""})
    with pytest.raises(UserError, match=r"2 of its 3 shards are missing, such as .*a-1.tar; .* in quotes"):
        of(tmp_path / "a-{0..2}.tar")
    with pytest.raises(UserError, match=r"no such file; expected tar archives"):
        of(tmp_path / "b.tar")
    (tmp_path / "a.tar.gz").touch()
    with pytest.raises(UserError, match=r"compressed archive cannot be read in any order; decompress it"):
        of(tmp_path / "a.tar.gz")
    with pytest.raises(UserError, match=r"the pattern .*a-\{0\.\.9999\}.* stands for more than 100000 shards"):
        of(tmp_path / "a-{0..9999}-{0..9999}-{0..9999}.tar")
    with pytest.raises(UserError, match=r"more than 100000 shards"):
        of(tmp_path / "a-{0..999999999999}.tar")


def test_links_devices_and_names_that_leave_the_archive_are_left_out(tmp_path):
    (tmp_path / "secret.png").write_bytes(picture(5))
    shard = pack(
        tmp_path / "s.tar",
        {
            "in.png": picture(7),
            "../secret.png": picture(1),
            str(tmp_path / "secret.png"): picture(1),
            "c:/secret.png": picture(1),
            "a\\..\\..\\b.png": picture(1),
            "._in.png": picture(1),
            "link.png": special("link.png", tarfile.SYMTYPE, str(tmp_path / "secret.png")),
            "hard.png": special("hard.png", tarfile.LNKTYPE, "in.png"),
            "pipe.png": special("pipe.png", tarfile.FIFOTYPE),
        },
    )
    listing = of(shard, labelled=False)
    assert keys(listing) == ["s.tar/in"]
    assert sorted({each.reason for each in listing.left_out}) == [
        "a link in the archive",
        "hidden",
        "its name leaves the archive",
        "no regular file in the archive",
    ]
    for name in ("../secret", "link", "in/../in"):
        with pytest.raises(FileNotFoundError):
            shards.open_image(shard / name)


def test_of_several_images_of_a_sample_the_plain_one_counts(tmp_path):
    members = {"1.seg.png": picture(1), "1.jpg": picture(2), "1.png": picture(3), "2.left.png": picture(4)}
    listing = of(pack(tmp_path / "s.tar", members), labelled=False)
    assert decode(listing.paths, GREY)[0][:, 0, 0, 0].tolist() == [2, 4]
    assert [each.reason for each in listing.left_out] == ["another image of the sample 1"] * 2


def test_members_that_are_not_used_are_told_with_their_reasons_and_not_by_endings_that_are_read(tmp_path):
    members = {
        "1.png": picture(3),
        "1.seg.png": picture(1),
        "2.png": picture(4),
        "2.seg.png": picture(1),
        "2.xyz": b"",
        "/3.png": picture(1),
    }
    where = pack(tmp_path / "s.tar", members)
    assert of(where, labelled=False).notes == (
        f"{where}: not used, by their endings: .xyz 1; members of archives: 2 (another image of the sample), "
        "1 (its name leaves the archive)",
    )


def test_what_is_before_the_damage_of_an_archive_is_read(tmp_path):
    shard = pack(tmp_path / "s.tar", {f"{n}.png": picture(n) + bytes(3000) for n in range(4)})
    shard.write_bytes(shard.read_bytes()[: 2 * 4096])
    listing = of(shard, labelled=False)
    assert keys(listing) == ["s.tar/0", "s.tar/1"]
    assert "damaged" in listing.unreadable[0].reason
    (tmp_path / "no.tar").write_text("no archive")
    with pytest.raises(UserError, match=r"found none \(.*not a tar archive"):
        of(tmp_path / "no.tar")


def test_a_shard_that_changes_is_read_anew_and_has_another_cache(tmp_path):
    shard = pack(tmp_path / "s.tar", {"1.png": picture(1), "2.png": picture(2)})
    listing = of(shard, labelled=False)
    before = cache_key(listing, GREY)
    assert cache_key(of(shard, labelled=False), GREY) == before
    pack(shard, {"2.png": picture(3), "1.png": picture(4), "3.png": picture(5)})
    assert decode(listing.paths, GREY)[0][:, 0, 0, 0].tolist() == [4, 3]
    assert cache_key(listing, GREY) != before


def test_sources_targets_and_evaluation_open_shards_under_every_cache(tmp_path):
    shard = two_shards(tmp_path / "shards")
    for cache in ("ram", "disk", "off"):
        options = {"cache": cache, "cache_folder": tmp_path / "cache"}
        source = open_source(str(shard), GREY, **options)
        assert (source.classes, source.labels.tolist()) == (("b", "z"), [1, 1, 0])
        assert source.names[0] == str(shard / "a-00.tar" / "z" / "9")
        target = open_target(str(shard / "a-01.tar"), GREY, **options)
        assert target.images[torch.tensor([1, 0])][:, 0, 0, 0].tolist() == [2, 1]
        judged = open_labelled(str(shard), GREY, ("z", "b"), **options)
        assert judged.labels.tolist() == [0, 0, 1]
    assert not ImageCache(tmp_path / "cache").rows(of(shard), GREY).built


def test_rooms_that_know_files_by_name_know_those_of_shards(tmp_path):
    shard = pack(tmp_path / "s.tar", {"p1/1.png": picture(1), "p1/2.png": picture(2), "p2/3.png": picture(1)})
    names = [str(path) for path in of(shard, labelled=False).paths]
    assert duplicates(names) == ((names[0], names[2]),)
    assert shared_files(names[:2], names[1:]) == (names[1],)
    (groups,) = find_groups("(p[0-9]+)/", [ImagesToGroup("target", (str(shard),), names)])
    assert groups.numbers.tolist() == [0, 0, 1]
    assert rows_by_name(names, str(shard))["p1/2"] == 1
    assert rows_by_name(names, str(tmp_path / "{s,t}.tar"))["s.tar/p1/2"] == 1


def test_a_list_may_name_images_in_shards(tmp_path):
    pack(tmp_path / "s.tar", {"1.png": picture(1), "2.png": picture(2)})
    (tmp_path / "list.csv").write_text("path,label\ns.tar/2,cat\ns.tar/1,dog\n")
    source = open_source(str(tmp_path / "list.csv"), GREY)
    assert (source.images[:, 0, 0, 0].tolist(), source.labels.tolist()) == ([2, 1], [0, 1])


def test_archives_beside_images_are_told_and_not_read(tmp_path):
    pack(tmp_path / "s.tar", {"1.png": picture(1)})
    (tmp_path / "2.png").write_bytes(picture(2))
    listing = of(tmp_path, labelled=False)
    assert keys(listing) == ["2.png"]
    assert ".tar 1" in listing.notes[0]


def test_a_folder_that_is_called_like_an_archive_is_a_folder(tmp_path):
    (tmp_path / "x.tar").mkdir()
    (tmp_path / "x.tar" / "1.png").write_bytes(picture(1))
    assert keys(of(tmp_path / "x.tar", labelled=False)) == ["1.png"]
    assert decode([tmp_path / "x.tar" / "1.png"], GREY)[1].tolist() == [0]


def test_a_window_reads_its_member_alone(tmp_path):
    content = json.dumps(list(range(50))).encode()
    shard = pack(tmp_path / "s.tar", {"0.png": b"before", "1.png": content, "2.png": b"behind"})
    of(shard, labelled=False)
    with shards.open_image(shard / "1") as file:
        assert file.read() == content
        assert (file.seek(-5, io.SEEK_END), file.read()) == (len(content) - 5, content[-5:])
        with pytest.raises(ValueError, match="offset"):
            file.seek(-1)
