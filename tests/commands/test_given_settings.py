import pytest

from dalib.commands.given_settings import configurations_in, settings_in, values_by_place


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("seed: 3\nviews:\n  flip: false\n")
    return str(path)


def test_a_file_stands_there_with_its_settings_and_the_last_value_holds(file):
    given = settings_in(["train", "--seed", "1", "--config", file, "--views.flip", "never", "--strict"])
    assert given == {"seed": "3", "views.flip": "never", "strict": ""}
    assert configurations_in(["train", "--config", file, f"--config={file}"]) == [file, file]


@pytest.mark.parametrize("content", [None, "- a\n", "a: [\n"])
def test_a_file_without_settings_is_named_itself(content, tmp_path):
    path = tmp_path / "empty.yaml"
    if content is not None:
        path.write_text(content)
    assert settings_in(["train", f"--config={path}"]) == {"config": str(path)}


def test_a_group_of_settings_is_read_and_a_switch_takes_no_value():
    assert values_by_place(["train", "--strict", "--views", "{flip: true}", "--seed=1"]) == {
        1: {"strict": ""},
        3: {"views.flip": "true"},
        4: {"seed": "1"},
    }


def test_several_targets_of_a_file_are_one_setting(tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text("source: s\ntarget: {day: a, night: b}\noptimizer: {lr: 0.1}\n")
    given = settings_in(["train", "--config", str(file)])
    assert given == {"optimizer.lr": "0.1", "source": "s", "target": '{"day": "a", "night": "b"}'}
