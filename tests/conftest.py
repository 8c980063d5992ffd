"""What all tests share."""

import inspect
import sys

import numpy as np
import pytest
from PIL import Image

OF_POSIX = (
    *("os.mkfifo", "symlink_to(", ".chmod(", "os.kill(", "send_signal(", "signal.SIG", "SIGKILL", "preexec_fn"),
    *("resource.", "os.geteuid", "os.fork", "openpty", "/proc/", "/dev/", "shlex.", "os.umask"),
)
"""Words of tests that need what Windows lacks: pipes and links in folders, rights of files, signals to processes."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leaves out, on Windows, what only a POSIX system can do; the library itself has no such list."""
    if sys.platform != "win32":
        return
    for item in items:
        text = inspect.getsource(item.function) if isinstance(item, pytest.Function) else ""
        if found := next((word for word in OF_POSIX if word in text), None):
            item.add_marker(pytest.mark.skip(reason=f"{found}: not on Windows"))


@pytest.fixture(autouse=True, scope="session")
def cache_folder(tmp_path_factory):
    """Decoded images and features of the tests are not kept among the user's."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("DALIB_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Folders of small noisy images: source/dark, source/light, target, test/dark; a module's own, to be changed."""
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for number in range(10):
        for place, shade in (("source/dark", 60), ("source/light", 190), ("target", 120), ("test/dark", 60)):
            path = root / place / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.clip(rng.normal(shade, 30, (16, 16, 3)), 0, 255).astype(np.uint8)).save(path)
    return root
