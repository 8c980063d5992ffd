"""The choice of a device, and what a Mac's GPU lacks, as far as that can be tried where there is none."""

import contextlib
import os
import subprocess
import sys
import time

import pytest
import torch
from torch.nn import functional as F

from dalib.core import devices
from dalib.core.devices import (
    choose_device,
    describe_device,
    global_generators_restored,
    grid_sample,
    memory_format,
    on_cpu_where_missing,
    seconds_of,
    wait_for,
)
from dalib.core.errors import UserError

CPU, MPS = torch.device("cpu"), torch.device("mps")


def machine(monkeypatch: pytest.MonkeyPatch, cuda: int = 0, mps: bool = False) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setenv(devices.FALLBACK, "1")


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [(1, True, "cuda"), (2, False, "cuda"), (0, True, "mps"), (0, False, "cpu")],
)
def test_auto_prefers_cuda_to_mps_to_the_cpu(monkeypatch, cuda, mps, expected):
    machine(monkeypatch, cuda, mps)
    assert choose_device("auto") == torch.device(expected)
    assert choose_device("cpu") == CPU


def test_each_of_several_processes_has_its_gpu_and_a_mac_computes_on_the_cpu(monkeypatch):
    machine(monkeypatch, cuda=2)
    assert [str(choose_device("auto", local_rank=rank, processes=3)) for rank in range(3)] == [
        "cuda:0",
        "cuda:1",
        "cuda:0",
    ]
    assert str(choose_device("cuda:1", local_rank=0, processes=2)) == "cuda:1"
    machine(monkeypatch, mps=True)
    assert choose_device("auto", processes=2) == CPU
    with pytest.raises(UserError, match="device='mps': 2 processes cannot share the GPU of a Mac; start one, or use"):
        choose_device("mps", processes=2)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mps", "device='mps': torch finds no GPU of a Mac here, .* use device='cpu'"),
        ("cuda", "device='cuda': torch finds no CUDA GPU here; use device='cpu'"),
        ("meta", "device='meta': expected auto, cpu, cuda or mps"),
        ("tpu", "device='tpu': expected auto, cpu, cuda or mps"),
        (None, "device=None: expected auto, cpu, cuda or mps"),
        ("", "expected auto, cpu, cuda or mps"),
    ],
)
def test_devices_that_are_not_here_are_refused(monkeypatch, name, words):
    machine(monkeypatch)
    with pytest.raises(UserError, match=words):
        choose_device(name)


def test_numbers_of_gpus_that_are_not_here_are_refused(monkeypatch):
    machine(monkeypatch, cuda=1, mps=True)
    with pytest.raises(UserError, match="expected at most cuda:0, the last of the GPUs"):
        choose_device("cuda:1")
    with pytest.raises(UserError, match="expected mps, a Mac has one GPU"):
        choose_device("mps:1")
    assert choose_device("mps") == choose_device("mps:0") == MPS


def test_torch_that_started_without_the_fallback_is_told(monkeypatch, capsys):
    machine(monkeypatch, mps=True)
    choose_device("auto")
    assert capsys.readouterr().out == ""
    monkeypatch.delenv(devices.FALLBACK)
    assert choose_device("mps") == MPS
    assert "torch started without PYTORCH_ENABLE_MPS_FALLBACK=1" in capsys.readouterr().out


@pytest.mark.parametrize(("first", "expected"), [("", "1"), ("import torch", "None")])
def test_importing_dalib_on_macos_asks_torch_to_fall_back_unless_torch_has_started(first, expected):
    program = (
        f"import os, sys; {first}\nsys.platform = 'darwin'\nimport dalib\nprint(os.environ.get({devices.FALLBACK!r}))"
    )
    environment = {name: value for name, value in os.environ.items() if name != devices.FALLBACK}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == [expected], done.stderr


@pytest.mark.parametrize(
    ("name", "numbers"),
    [("cpu", []), ("cuda", [0]), ("cuda:1", [1]), ("mps", [0])],
)
def test_generators_of_the_device_itself_are_restored(name, numbers, monkeypatch):
    forked = []

    def fork_rng(devices, *, device_type="cuda"):  # the default of torch 2.11, whatever the machine has
        forked.append((devices, device_type))
        return contextlib.nullcontext()

    monkeypatch.setattr(torch.random, "fork_rng", fork_rng)
    with global_generators_restored(torch.device(name)):
        pass
    assert forked == [(numbers, name.split(":")[0])]


def test_a_global_generator_is_given_back_as_it_was():
    before = torch.get_rng_state()
    with global_generators_restored(CPU):
        torch.rand(3)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_the_loop_takes_from_a_device():
    assert memory_format(MPS) == torch.contiguous_format
    assert memory_format(CPU) == memory_format(torch.device("cuda")) == torch.channels_last
    wait_for(CPU)
    assert describe_device(MPS) == "GPU of this Mac (mps)"
    assert describe_device(CPU).startswith("CPU, ")


@pytest.fixture
def lacking(monkeypatch):
    """The CPU stands for a device that lacks something."""
    monkeypatch.setattr(devices, "LACKING", ("cpu",))
    monkeypatch.setattr(devices, "_told", set())


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("MPS: Unsupported Border padding mode"),
        NotImplementedError("The operator 'aten::lerp' is not currently implemented for the MPS device"),
    ],
)
def test_a_missing_operation_runs_on_the_cpu_and_is_named_once(lacking, capsys, error):
    tried = []

    def compute(values):
        tried.append(values)
        if len(tried) == 1:
            raise error
        return values.square().sum()

    values = torch.arange(3.0, requires_grad=True)
    for _ in range(2):
        on_cpu_where_missing("squares", compute, values).backward()
    assert torch.equal(values.grad, torch.tensor([0.0, 4.0, 8.0]))
    assert len(tried) == 3  # it is asked for once
    assert capsys.readouterr().out.count("note: cpu has no squares: it runs on the CPU, which is slower") == 1


def test_other_errors_of_an_operation_are_errors(lacking):
    def compute(values):
        raise RuntimeError("sizes do not match")

    with pytest.raises(RuntimeError, match="sizes do not match"):
        on_cpu_where_missing("squares", compute, torch.zeros(1))


@pytest.mark.parametrize("padding", ["border", "reflection", "zeros"])
def test_sampling_is_that_of_torch(padding):
    images, grid = torch.randn(2, 3, 5, 5), torch.rand(2, 4, 4, 2) * 3 - 1.5
    expected = F.grid_sample(images, grid, mode="bilinear", padding_mode=padding, align_corners=False)
    assert torch.equal(grid_sample(images, grid, padding), expected)


def test_the_time_of_a_call_is_the_median_after_one_that_warms_up():
    pauses = iter([0.2, 0.01, 0.3, 0.02])

    def call() -> None:
        time.sleep(next(pauses))

    assert 0.02 <= seconds_of(call, CPU, least=3, most=0.0) < 0.15
    assert next(pauses, None) is None
