"""The versions that a bug report needs."""

from importlib.metadata import PackageNotFoundError
from types import SimpleNamespace

from dalib.core import versions


def test_a_package_without_metadata_and_a_driver_are_told(monkeypatch, tmp_path):
    def missing(name):
        raise PackageNotFoundError(name)

    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "version.py").write_text("__version__ = '2.14.1+cu130'\ncuda: Optional[str] = '13.0'\n")
    (tmp_path / "driver").write_text("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release\n")
    found = SimpleNamespace(submodule_search_locations=[str(tmp_path / "torch")])
    monkeypatch.setattr(versions, "find_spec", lambda name: found)
    monkeypatch.setattr(versions, "NVIDIA", tmp_path / "driver")
    monkeypatch.setattr(versions.platform, "system", lambda: "Linux")
    assert "\nCUDA 13.0, driver 580.65.06\n" in versions.describe_versions()
    monkeypatch.setattr(versions, "version", missing)
    assert "\ntorch is not installed\n" in versions.describe_versions()


def test_a_line_for_each_package_and_the_platform():
    names = [line.split(" ", 1)[0] for line in versions.describe_versions().splitlines()]
    assert names == ["dalib", "Python", "torch", "CUDA", "torchvision", "timm", "numpy", "platform"]


def test_a_build_without_cuda_is_told_as_such(monkeypatch, tmp_path):
    monkeypatch.setattr(versions, "find_spec", lambda name: None)
    assert "\nCUDA none, torch is built without\n" in versions.describe_versions()
    assert versions.cuda_of("cuda = '12.6'\nhip: Optional[str] = '6'\n") == "12.6"
    assert versions.cuda_of("hip: Optional[str] = '6'\n") is None


def test_a_machine_without_a_driver_is_told_as_such(monkeypatch, tmp_path):
    (tmp_path / "version.py").write_text("cuda: Optional[str] = '13.0'\n")
    monkeypatch.setattr(versions, "find_spec", lambda name: SimpleNamespace(submodule_search_locations=[str(tmp_path)]))
    monkeypatch.setattr(versions, "NVIDIA", tmp_path / "none")
    for system, said in (("Linux", "13.0, no NVIDIA driver"), ("Darwin", "13.0")):
        monkeypatch.setattr(versions.platform, "system", lambda system=system: system)
        assert f"\nCUDA {said}\n" in versions.describe_versions()
