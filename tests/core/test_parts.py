from dalib.core.parts import parts_that_add_up


def test_the_parts_are_those_at_the_head_that_add_up_to_the_loss_in_each_line():
    first = {"step": 25, "supervised": 1.0, "transport": 0.5, "sureness": 0.0, "loss": 1.5, "rate": 0.1}
    then = {**first, "supervised": 0.5, "sureness": 0.25, "loss": 1.0}
    assert parts_that_add_up([first]) == ["supervised", "transport", "sureness"], "one line cannot tell"
    assert parts_that_add_up([first, then]) == ["supervised", "transport"]


def test_without_a_loss_or_a_sum_there_are_none():
    assert parts_that_add_up([]) == parts_that_add_up([{"supervised": 1.0}]) == []
    assert parts_that_add_up([{"supervised": 1.0, "transport": 0.5, "loss": 7.0}]) == []
