"""Features are computed once, survive a kill, and are named by all that they depend on."""

import json

import pytest
import torch

from dalib.core.errors import UserError
from dalib.engine.features import FeatureStore, extract_features, features_key, weights_fingerprint

ROWS = torch.arange(10 * 3 * 2 * 2, dtype=torch.uint8).view(10, 3, 2, 2)
CPU = torch.device("cpu")
SHAPE = (10, 2, 3)


def plain(images, generator):
    return images.float()


def noisy(images, generator):
    return images.float() + torch.rand(images.shape, generator=generator)


def mean_colour(images):
    return images.mean(dim=(2, 3))


def extracted(**settings):
    return extract_features(mean_colour, ROWS, [plain, noisy], **({"device": CPU, "seed": 0, "batch": 4} | settings))


def test_features_are_of_each_view_of_each_row():
    features = extracted()
    assert features.shape == SHAPE
    assert features.dtype == torch.float16
    torch.testing.assert_close(features[:, 0].float(), ROWS.float().mean(dim=(2, 3)), atol=0.05, rtol=0)
    noise = features[:, 1].float() - features[:, 0].float()
    assert 0.3 < noise.mean() < 0.7
    assert len(noise.flatten().unique()) > 10


def test_features_may_be_changed_in_place_and_learnt_from():
    features = extracted()
    assert not features.requires_grad
    head = torch.nn.Linear(3, 2, dtype=torch.float16)
    head(features.sub_(1)).sum().backward()
    torch.testing.assert_close(head.weight.grad[0], features.sum(dim=(0, 1)), atol=1, rtol=1e-2)


def test_every_call_is_of_one_shape():
    shapes = set()
    extract_features(
        lambda images: shapes.add(tuple(images.shape)) or mean_colour(images),
        ROWS,
        [plain],
        device=CPU,
        seed=0,
        batch=4,
    )
    assert shapes == {(4, 3, 2, 2)}


def test_images_have_the_layout_of_the_device(monkeypatch):
    layouts = []
    for layout in (torch.channels_last, torch.contiguous_format):
        monkeypatch.setattr("dalib.engine.features.memory_format", lambda device, layout=layout: layout)
        seen = lambda images: layouts.append(images.is_contiguous()) or mean_colour(images)  # noqa: E731
        extract_features(seen, ROWS, [plain], device=CPU, seed=0, batch=len(ROWS))
    assert layouts == [False, True]


def test_the_seed_decides_and_the_place_where_it_starts_does_not():
    whole = extracted()
    assert torch.equal(whole, extracted())
    assert not torch.equal(whole, extracted(seed=1))
    into = whole.clone()
    into[4:] = 0
    assert torch.equal(whole, extracted(begun=(into, 4)))


def test_nothing_to_extract_is_refused():
    with pytest.raises(ValueError, match="rows, views"):
        extract_features(mean_colour, ROWS, [], device=CPU, seed=0)


class Killed(BaseException):
    pass


def stored(store, calls, *, key="key", killed_after=None, shape=SHAPE):
    def extract(into, start, on_batch):
        def counted(rows):
            calls.append(rows)
            on_batch(rows)
            if killed_after is not None and rows >= killed_after:
                raise Killed

        extracted(begun=(into, start), on_batch=counted)

    return store.features(key, shape, extract, source="ten images")


def test_what_is_stored_is_not_extracted_again(tmp_path):
    calls = []
    first = stored(FeatureStore(tmp_path), calls)
    assert torch.equal(first, extracted())
    assert calls == [4, 8, 10]
    assert torch.equal(stored(FeatureStore(tmp_path), calls), first)
    assert calls == [4, 8, 10]
    stored(FeatureStore(tmp_path), calls, key="other")
    assert calls == [4, 8, 10] * 2


def test_whole_features_need_no_right_to_write_them(tmp_path):
    """They may be another user's, in a cache that several share; what is done to them here stays here."""
    stored(FeatureStore(tmp_path), [])
    (tmp_path / "key" / "features.f16").chmod(0o444)
    stored(FeatureStore(tmp_path), []).zero_()
    FeatureStore(tmp_path).kept("key", SHAPE).zero_()
    assert torch.equal(stored(FeatureStore(tmp_path), []), extracted())


def test_after_a_kill_it_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr("dalib.engine.features._SAVE_EVERY", 1)
    calls = []
    with pytest.raises(Killed):
        stored(FeatureStore(tmp_path), calls, killed_after=8)
    assert json.loads((tmp_path / "key" / "index.json").read_text())["done"] == 8
    assert torch.equal(stored(FeatureStore(tmp_path), calls), extracted())
    assert calls == [4, 8, 10]


@pytest.mark.parametrize("damage", ["short file", "long file", "no index", "bad index", "other shape"])
def test_what_is_damaged_is_extracted_anew(tmp_path, damage):
    calls = []
    stored(FeatureStore(tmp_path), calls)
    path, index = tmp_path / "key" / "features.f16", tmp_path / "key" / "index.json"
    if damage == "short file":
        path.write_bytes(path.read_bytes()[:-2])
    elif damage == "long file":
        path.write_bytes(path.read_bytes() + b"12")
    elif damage == "no index":
        index.unlink()
    elif damage == "bad index":
        index.write_text('{"shape": [10')
    else:
        index.write_text(json.dumps({"shape": [10, 6, 1], "done": 10}))
    for _ in range(2):  # the second time it is whole
        assert torch.equal(stored(FeatureStore(tmp_path), calls), extracted())
    assert calls == [4, 8, 10] * 2


def test_a_kill_before_the_first_rows_are_kept_leaves_what_is_listed_and_removed(tmp_path):
    with pytest.raises(Killed):
        stored(FeatureStore(tmp_path), [], killed_after=0)
    (left,) = FeatureStore(tmp_path).entries()
    assert not left.complete
    assert left.source == "ten images"
    assert FeatureStore(tmp_path).remove(["key"]) == left.bytes >= 10 * 2 * 3 * 2
    assert not (tmp_path / "key").exists()


def test_what_was_counted_before_a_file_was_cut_counts_no_more_after_a_kill(tmp_path):
    stored(FeatureStore(tmp_path), [])
    path = tmp_path / "key" / "features.f16"
    path.write_bytes(path.read_bytes()[:-2])
    (tmp_path / "key" / "rows-4.json").write_text(json.dumps({"shape": SHAPE, "done": 10}))
    with pytest.raises(Killed):  # once the file has its whole size again
        stored(FeatureStore(tmp_path), [], killed_after=4)
    calls = []
    assert torch.equal(stored(FeatureStore(tmp_path), calls), extracted())
    assert calls == [4, 8, 10]


def test_stored_features_are_listed_while_another_process_removes_a_file(tmp_path):
    stored(FeatureStore(tmp_path), [])
    (before,) = FeatureStore(tmp_path).entries()
    (tmp_path / "key" / "rows-0.json").symlink_to(tmp_path / "gone")  # is listed, and is not there when it is asked for
    assert FeatureStore(tmp_path).entries() == (before,)


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot keep 120 bytes of features here \(Not a directory\).*DALIB_CACHE"):
        stored(FeatureStore(tmp_path / "file"), [])


def test_the_key_depends_on_pixels_shape_and_everything_named():
    other = ROWS.clone()
    other[9, 2, 1, 1] += 1
    keys = [
        features_key(ROWS, "weights", 4),
        features_key(other, "weights", 4),
        features_key(ROWS.view(5, 6, 2, 2), "weights", 4),
        features_key(ROWS, "weights", 5),
    ]
    assert len(set(keys)) == 4
    assert keys[0] == features_key(ROWS.clone(), "weights", 4)


def test_weights_are_named_by_their_values():
    state = {"weight": torch.ones(2), "steps": torch.tensor(3)}
    same = {"weight": torch.ones(2), "steps": torch.tensor(3)}
    assert weights_fingerprint(state) == weights_fingerprint(same)
    same["weight"][1] = 2
    assert weights_fingerprint(state) != weights_fingerprint(same)
    assert weights_fingerprint(state) != weights_fingerprint({"other": torch.ones(2), "steps": torch.tensor(3)})


def test_several_processes_extract_what_one_does_also_after_a_kill(tmp_path):
    """Each its batches into one file, in any order; what one of them lacks is extracted by whoever needs all."""
    whole, store, calls = extracted(), FeatureStore(tmp_path), []

    def extract(into, start, on_batch):
        calls.append((start, len(into)))
        some = {"device": CPU, "seed": 0, "batch": 4, "begun": (into, start), "on_batch": on_batch}
        extract_features(mean_colour, ROWS[: len(into)], [plain, noisy], **some)

    for number in (2, 0):
        store.extract_part("k", SHAPE, extract, source="here", process=(number, 3), batch=4)
    store.extract_part("k", SHAPE, extract, source="here", process=(0, 3), batch=4)
    assert calls == [(8, 10), (0, 4)]
    assert not store.entries()[0].complete
    assert torch.equal(store.features("k", SHAPE, extract, source="here"), whole)
    assert calls[2:] == [(4, 10)]
    for number in range(3):
        store.extract_part("other", SHAPE, extract, source="here", process=(number, 3), batch=4)
    assert torch.equal(store.features("other", SHAPE, extract, source="here"), whole)
    assert calls[3:] == [(0, 4), (4, 8), (8, 10)]
    assert all(each.complete for each in store.entries())
    assert not [*tmp_path.rglob("rows-*")]
