"""What all tests share."""

import gc
import inspect
import os
import sys
from collections.abc import Iterator

import pytest

from dalib.commands import main
from dalib.commands.arguments import first_look, names_of, preset_in
from dalib.commands.parser import make_parser
from shaded_images import write_shades

OF_POSIX = (
    *("os.mkfifo", "symlink_to(", ".chmod(", "os.kill(", "send_signal(", "signal.SIG", "SIGKILL", "preexec_fn"),
    *("resource.", "os.geteuid", "os.fork", "openpty", "/proc/", "/dev/", "shlex.", "os.umask"),
)
"""Words of tests that need what Windows lacks: pipes and links in folders, rights of files, signals to processes."""


LONGEST = (
    *("run/test_export.py", "run/test_resume.py", "sklearn/test_linear.py", "run/test_judge.py"),
    *(
        "commands/test_photos.py",
        "sklearn/test_estimator.py",
        "commands/test_joined_statistics.py",
        "run/test_train.py",
    ),
)
"""Files of tests that take longest. They come first, so that no process is alone with one in the end."""


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[object]:
    """Collects without the garbage collector, hides from it what was collected, and lets it run more seldom.

    Modules and tests stay until the end. To walk through them again and again takes a third of the collection's time,
    and a twentieth of that of the tests. What tests make is freed without it, but for circles.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(10_000, 10, 10)  # in place of 700 objects
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest files first, and leaves out, on Windows, what only a POSIX system can do.

    The library itself has no such list.
    """
    items.sort(key=lambda item: not item.nodeid.partition("::")[0].endswith(LONGEST))
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


@pytest.fixture(autouse=True, scope="session")
def nothing_waits_for_the_disk():
    """A run waits for the disk some eighty times, so that it survives a power cut, which no test is."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", lambda file: None)
        yield


@pytest.fixture(autouse=True, scope="session")
def parsers_are_made_once():
    """Command lines with the same defaults share a parser: to make that of ``train`` takes as long as a small training.

    One that refused a command line, or left with the help, is not used again.
    """
    kept = {}

    def kept_parser(arguments=None):
        given = arguments or []
        if given[:1] not in (["train"], ["checks"]):
            return make_parser(arguments)  # in a moment
        key = tuple(given[:1])
        if (preset := preset_in(given)) is not None:  # which gives the defaults of what the arguments do not name
            named = first_look(given, "--preset", "--config")
            key += (preset, named.preset is None, named.config is None, *sorted(names_of(given)))
        parser = kept.pop(key, None)
        if parser is None:
            parser = make_parser(arguments)
            parse = parser.parse_args

            def parse_args(arguments):
                parsed = parse(arguments)
                kept[key] = parser
                return parsed

            parser.parse_args = parse_args
        return parser

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(main, "make_parser", kept_parser)
        yield


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Folders of small noisy images: source/dark, source/light, target, test/dark; a module's own, to be changed."""
    root = tmp_path_factory.mktemp("images")
    write_shades(root, {"source/dark": 60, "source/light": 190, "target": 120, "test/dark": 60}, count=10, size=16)
    return root
