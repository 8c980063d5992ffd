"""Order and batches are pure functions of the step: each image once an epoch, nothing to save."""

import time
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dalib.augment.stored import RandomStoredViews, StoredView
from dalib.data.rows import Concatenated, Selected
from dalib.data.stream import DomainViews, Sampling, TwoDomainStream, indices_at, move_rows, permuted


def epoch(number: int, size: int, seed: int = 0) -> list[int]:
    return indices_at(number, size, batch=size, seed=seed).tolist()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000])
def test_each_image_comes_once_an_epoch(size):
    for number in range(4):
        assert sorted(epoch(number, size)) == list(range(size))


@pytest.mark.parametrize(("size", "batch"), [(1, 3), (2, 5), (7, 3), (64, 48), (1000, 64)])
def test_batches_are_full_and_run_across_the_end_of_an_epoch(size, batch):
    steps = -(-3 * size // batch)
    batches = [indices_at(step, size, batch, seed=5) for step in range(steps)]
    assert {tuple(each.shape) for each in batches} == {(batch,)}
    assert all(each.dtype == torch.int64 for each in batches)
    drawn = torch.cat(batches)[: 3 * size].view(3, size)
    assert all(sorted(row) == list(range(size)) for row in drawn.tolist())


def test_the_order_is_new_in_each_epoch():
    assert len({tuple(epoch(number, 64)) for number in range(20)}) == 20


def test_the_order_depends_on_the_seed():
    assert len({tuple(epoch(0, 64, seed)) for seed in range(20)}) == 20


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_together_see_what_one_rank_would_see(world):
    for step in range(6):
        ranks = [indices_at(step, 50, 8, seed=1, rank=rank, world=world) for rank in range(world)]
        assert torch.equal(torch.cat(ranks), indices_at(step, 50, 8 * world, seed=1))


def test_a_step_gives_the_same_images_whenever_and_however_often_it_is_asked():
    """Trap 20: a restarted training goes on in the order it was in, and does not shuffle from epoch 0 again."""
    forwards = [indices_at(step, 10, 4, seed=3).tolist() for step in range(12)]
    backwards = [indices_at(step, 10, 4, seed=3).tolist() for step in reversed(range(12))]
    assert forwards == backwards[::-1]
    assert forwards[5:] != forwards[:7]


def test_a_hundred_million_images_cost_no_more_than_a_few():
    size = 100_000_000
    indices_at(0, 10, 256, seed=0)
    before = time.perf_counter()
    drawn = torch.cat([indices_at(step, size, 256, seed=0) for step in (0, 1, 390_624, 390_625, 10**9)])
    assert time.perf_counter() - before < 1.0  # a shuffled list of this size takes seconds and 800 MB
    assert int(drawn.min()) >= 0
    assert int(drawn.max()) < size
    assert len(drawn.unique()) > 0.99 * len(drawn)


def test_the_order_that_is_kept_is_the_one_that_is_not(monkeypatch):
    kept = indices_at(3, 50, 20, seed=1)
    monkeypatch.setattr("dalib.data.stream.MOST_KEPT", 0)
    assert torch.equal(kept, indices_at(3, 50, 20, seed=1))


@pytest.mark.parametrize("size", [0, -1])
def test_no_images_are_refused(size):
    with pytest.raises(ValueError, match=f"size: .*got {size}"):
        indices_at(0, size, 4, seed=0)


@settings(deadline=None, max_examples=30, database=None)
@given(size=st.integers(1, 3000), key=st.integers(0, 2**63 - 1))
def test_permuted_takes_each_position_to_another_place(size, key):
    assert sorted(permuted(np.arange(size), size, key).tolist()) == list(range(size))


@pytest.mark.parametrize("size", [3, 4])
def test_every_order_of_a_few_is_about_as_frequent(size):
    orders = list(permutations(range(size)))
    draws = 60 * len(orders)
    seen = [tuple(permuted(np.arange(size), size, key).tolist()) for key in range(draws)]
    counts = np.array([seen.count(order) for order in orders])
    chi_square = ((counts - 60) ** 2 / 60).sum()
    freedom = len(orders) - 1
    assert chi_square < freedom + 5 * np.sqrt(2 * freedom)


def test_every_place_is_about_as_frequent_for_each_position():
    size, keys = 10, 1000
    placed = np.stack([permuted(np.arange(size), size, key) for key in range(keys)])
    counts = np.stack([np.bincount(column, minlength=size) for column in placed.T])
    expected = keys / size
    chi_square = ((counts - expected) ** 2 / expected).sum()
    freedom = (size - 1) ** 2
    assert chi_square < freedom + 5 * np.sqrt(2 * freedom)


def test_neighbours_do_not_stay_neighbours():
    order = permuted(np.arange(1000), 1000, key=1)
    assert (np.abs(np.diff(order)) == 1).mean() < 0.02
    assert abs(np.corrcoef(np.arange(1000), order)[0, 1]) < 0.15


CPU = torch.device("cpu")


def noisy(images: Tensor, generator: torch.Generator) -> Tensor:
    return images.float() + torch.rand(images.shape, generator=generator, device=images.device) / 2


def plain(images: Tensor, generator: torch.Generator) -> Tensor:
    return images.float()


def numbered(count: int) -> Tensor:
    """Images whose pixels all say the image's number."""
    return torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(count, 1, 2, 2).contiguous()


def stream(source=12, target=17, views=(noisy, noisy), source_view=noisy, common=None, device=CPU, **sampling):
    return TwoDomainStream(
        numbered(source),
        torch.arange(source) * 2,
        numbered(target),
        views=DomainViews(source_view, views, common),
        sampling=Sampling(**({"batch": 5, "seed": 0} | sampling)),
        device=device,
    )


def test_a_step_gives_the_same_batch_bit_for_bit():
    first, second = stream(), stream()
    for step in (4, 0, 3, 4):
        one, other = first.batch_at(step), second.batch_at(step)
        assert torch.equal(one.source, other.source)
        assert torch.equal(one.labels, other.labels)
        assert all(torch.equal(left, right) for left, right in zip(one.target, other.target, strict=True))


def test_the_batch_depends_on_step_seed_and_rank():
    batches = [stream().batch_at(0), stream().batch_at(1), stream(seed=1).batch_at(0), stream(rank=1).batch_at(0)]
    assert len({tuple(batch.source.flatten().tolist()) for batch in batches}) == 4
    assert len({tuple(batch.target[0].flatten().tolist()) for batch in batches}) == 4


def test_the_same_image_looks_different_at_each_step_and_on_each_rank():
    one = [stream(source=1, target=1, rank=rank, world=2).batch_at(step) for rank in (0, 1) for step in (0, 1)]
    assert len({tuple(batch.source.flatten().tolist()) for batch in one}) == 4
    assert len({tuple(view.flatten().tolist()) for batch in one for view in batch.target}) == 8


def test_target_views_show_the_same_images_differently():
    for step in range(4):
        student, teacher = stream().batch_at(step).target
        assert torch.equal(student.floor(), teacher.floor())
        assert (student != teacher).float().mean() > 0.9


def test_labels_are_those_of_the_source_images():
    for step in range(6):
        batch = stream().batch_at(step)
        assert torch.equal(batch.labels, batch.source[:, 0, 0, 0].floor().long() * 2)


def test_source_and_target_are_in_orders_of_their_own():
    batch = stream(source=20, target=20, batch=20).batch_at(0)
    assert not torch.equal(batch.source.floor(), batch.target[0].floor())


def test_no_target_is_read_when_no_view_is_wanted():
    class Unread:
        def __len__(self) -> int:
            return 3

        def __getitem__(self, indices):
            raise AssertionError("the target was read")

    alone = TwoDomainStream(
        numbered(4),
        torch.arange(4),
        Unread(),
        views=DomainViews(plain, ()),
        sampling=Sampling(batch=2, seed=0),
        device=CPU,
    )
    assert alone.batch_at(0).target == ()


@pytest.mark.parametrize(("views", "domains"), [((), 1), ((plain,), 2), ((plain, plain), 2)])
def test_images_per_step_counts_distinct_images_of_all_ranks(views, domains):
    assert stream(views=views, world=3).images_per_step == 5 * 3 * domains


def test_channels_last_is_the_memory_format_of_all_views():
    rgb = torch.zeros(6, 3, 4, 4, dtype=torch.uint8)
    batch = TwoDomainStream(
        rgb,
        torch.zeros(6, dtype=torch.int64),
        rgb,
        views=DomainViews(plain, (plain,)),
        sampling=Sampling(batch=2, seed=0),
        device=CPU,
        channels_last=True,
    ).batch_at(0)
    for views in (batch.source, *batch.target):
        assert views.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("labels", [0, 3, 5])
def test_another_number_of_labels_than_images_is_refused(labels):
    with pytest.raises(ValueError, match=f"labels: .*4 source images, got {labels}"):
        TwoDomainStream(
            numbered(4),
            torch.zeros(labels, dtype=torch.int64),
            numbered(4),
            views=DomainViews(plain, ()),
            sampling=Sampling(batch=2, seed=0),
            device=CPU,
        )


def test_an_empty_batch_is_refused():
    with pytest.raises(ValueError, match=r"batch: .*got 0"):
        stream(batch=0)


def test_what_views_have_in_common_is_drawn_once_for_each_image():
    def shifted(images: Tensor, generator: torch.Generator) -> Tensor:
        return images + 100 * torch.rand(len(images), 1, 1, 1, generator=generator)

    with_common = stream(views=(plain, noisy), common=shifted)
    batch = with_common.batch_at(2)
    student, teacher = batch.target
    assert ((teacher - student) >= 0).all()
    assert ((teacher - student) < 0.5).all()
    offset = (student - stream(views=(plain,)).batch_at(2).target[0])[:, 0, 0, 0]
    assert len(offset.unique()) == len(offset)  # every image its own
    assert torch.equal(student, with_common.batch_at(2).target[0])
    assert not torch.equal(student, with_common.batch_at(3).target[0])
    assert torch.equal(batch.source, stream(views=(plain, noisy)).batch_at(2).source)


def test_rows_of_stored_views_make_batches_of_features():
    features = torch.arange(17 * 4, dtype=torch.float16).view(17, 4, 1).expand(17, 4, 3).contiguous()
    two = TwoDomainStream(
        features,
        torch.arange(17),
        features,
        views=DomainViews(StoredView(0), (StoredView(0), StoredView(1)), RandomStoredViews(2)),
        sampling=Sampling(batch=5, seed=0),
        device=CPU,
        channels_last=True,
    )
    batch = two.batch_at(1)
    student, teacher = batch.target
    assert batch.source.shape == student.shape == teacher.shape == (5, 3)
    assert torch.equal(batch.source[:, 0].long() // 4, batch.labels)
    assert torch.equal(student // 4, teacher // 4)
    assert (student != teacher).all()


@pytest.mark.parametrize("selected", [False, True])
def test_rows_that_fit_are_moved_and_others_stay_as_they_are(selected):
    tensor = torch.arange(3000 * 4, dtype=torch.float32).to(torch.uint8).view(3000, 1, 2, 2)
    rows = Selected(tensor, torch.arange(2999, 0, -2)) if selected else tensor
    size = 4 * len(rows)
    there = move_rows(rows, torch.device("cpu"), at_most=size)
    assert torch.equal(there, rows[torch.arange(len(rows))])
    assert move_rows(rows, torch.device("cpu"), at_most=size - 1) is rows


def test_rows_that_are_no_tensor_are_not_moved():
    rows = Concatenated([torch.zeros(2, 1, 2, 2, dtype=torch.uint8)])
    assert move_rows(rows, torch.device("cpu"), at_most=1000) is rows
    nothing = Selected(rows, torch.arange(2))
    assert move_rows(nothing, torch.device("cpu"), at_most=1000) is nothing


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@needs_gpu
@pytest.mark.parametrize("fits", [True, False])
def test_on_a_gpu_batches_are_the_same_whether_images_live_there_or_are_sent(fits, monkeypatch):
    if not fits:
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (4, 4))
    device = torch.device("cuda")
    settings = {"views": (plain, plain), "source_view": plain}  # the generators of CPU and GPU draw other numbers
    there = stream(device=device, **settings)
    assert there.source.device.type == ("cuda" if fits else "cpu")
    batch, expected = there.batch_at(3), stream(**settings).batch_at(3)
    assert {tensor.device.type for tensor in (batch.source, batch.labels, *batch.target)} == {"cuda"}
    assert torch.equal(batch.source.cpu(), expected.source)
    assert torch.equal(batch.labels.cpu(), expected.labels)
    assert all(torch.equal(one.cpu(), other) for one, other in zip(batch.target, expected.target, strict=True))


@needs_gpu
def test_on_a_gpu_no_step_makes_the_host_wait():
    there = stream(device=torch.device("cuda"))
    there.batch_at(0)  # the first call loads kernels
    torch.cuda.set_sync_debug_mode("error")
    try:
        there.batch_at(1)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_images_apart_are_drawn_by_themselves_half_as_many_and_change_nothing_else():
    rows, view = torch.arange(30.0).view(30, 1, 1), StoredView(0)
    made = {
        name: TwoDomainStream(
            rows[:10],
            torch.arange(10),
            rows[10:20],
            views=DomainViews(view, (view, view)),
            sampling=Sampling(6, seed=1),
            device=torch.device("cpu"),
            outside=outside,
        )
        for name, outside in (("with", rows[20:]), ("without", None), ("none", rows[:0]))
    }
    with_them, without = made["with"].batch_at(3), made["without"].batch_at(3)
    assert with_them.outside.shape == (3, 1)
    assert ((with_them.outside >= 20) & (with_them.outside < 30)).all()
    assert [made[name].images_per_step for name in ("with", "without", "none")] == [2 * 6 + 3, 2 * 6, 2 * 6]
    assert without.outside is None
    assert made["none"].batch_at(3).outside is None
    assert torch.equal(with_them.source, without.source)
    assert torch.equal(with_them.target[0], without.target[0])
    seen = torch.cat([made["with"].batch_at(step).outside for step in range(10)]).flatten()
    assert sorted(seen.tolist()) == sorted([*range(20, 30)] * 3)


def test_a_batch_has_the_hints_of_its_target_images():
    hints = torch.arange(17.0)[:, None, None].expand(17, 1, 3)
    batch = stream(views=(plain,)).with_hints(hints).batch_at(2)
    assert batch.hints.shape == (5, 1, 3)
    assert torch.equal(batch.hints[:, 0, 0], batch.target[0][:, 0, 0, 0])
    assert stream().batch_at(0).hints is None
    with pytest.raises(ValueError, match="hints: expected one for each of the 17"):
        stream().with_hints(hints[:3])
