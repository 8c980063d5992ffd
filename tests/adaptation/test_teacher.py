import copy
import io
import math
import threading

import numpy as np
import pytest
import torch
import torch.distributed as dist
from timm.layers import DropPath
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.profiler import ProfilerActivity, profile
from torchvision.ops import StochasticDepth

from dalib.adaptation.self_ensemble import ImageClassifier
from dalib.adaptation.teacher import EmaTeacher, bare_module, stop_dropout


def scalar(value: float) -> nn.Linear:
    layer = nn.Linear(1, 1, bias=False)
    fill(layer, value)
    return layer


@torch.no_grad()
def fill(module: nn.Module, value: float) -> None:
    for parameter in module.parameters():
        parameter.fill_(value)


def two_layers() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))


def with_statistics(mean: float, variance: float, batches: int) -> nn.BatchNorm1d:
    norm = nn.BatchNorm1d(3)
    norm.running_mean.fill_(mean)
    norm.running_var.fill_(variance)
    norm.num_batches_tracked.fill_(batches)
    return norm


@pytest.fixture
def process_group(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def compiled(model: nn.Module) -> nn.Module:
    return torch.compile(model, backend="eager")


WRAPPERS = {
    "plain": lambda model: model,
    "compiled": compiled,
    "data parallel": nn.DataParallel,
    "distributed": nn.parallel.DistributedDataParallel,
    "compiled distributed": lambda model: compiled(nn.parallel.DistributedDataParallel(model)),
    "distributed compiled": lambda model: nn.parallel.DistributedDataParallel(compiled(model)),
    "compiled twice": lambda model: compiled(nn.DataParallel(compiled(model))),
}
every_wrapper = pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS.keys())


# --- the equation


def test_updates_follow_the_equation_by_hand():
    student = scalar(0.0)
    teacher = EmaTeacher(student, alpha=0.9)
    for value, expected in [(1.0, 0.1), (2.0, 0.29), (4.0, 0.661)]:
        fill(student, value)
        teacher.update()
        assert teacher.module.weight.item() == pytest.approx(expected)
    assert teacher.updates == 3


def test_the_teacher_starts_as_a_copy_that_shares_nothing():
    student = two_layers()
    teacher = EmaTeacher(student, 0.9)
    for name, parameter in student.named_parameters():
        average = teacher.module.get_parameter(name)
        assert torch.equal(average, parameter)
        assert average.data_ptr() != parameter.data_ptr()


@pytest.mark.parametrize(("alpha", "expected"), [(0.0, 1.0), (1.0, 0.0)])
def test_alpha_0_copies_the_student_and_alpha_1_ignores_it(alpha, expected):
    student = scalar(0.0)
    teacher = EmaTeacher(student, alpha)
    fill(student, 1.0)
    teacher.update()
    assert teacher.module.weight.item() == expected


@pytest.mark.parametrize("alpha", [-0.1, 1.1, math.nan, math.inf])
def test_an_alpha_outside_0_and_1_is_refused(alpha):
    with pytest.raises(ValueError, match="alpha: expected a decay"):
        EmaTeacher(scalar(0.0), alpha)
    teacher = EmaTeacher(scalar(0.0), 0.9)
    with pytest.raises(ValueError, match="alpha: expected a decay"):
        teacher.set_alpha(alpha)
    assert teacher.alpha == 0.9


def test_set_alpha_holds_from_the_next_update_on():
    student = scalar(0.0)
    teacher = EmaTeacher(student, 0.9)
    fill(student, 1.0)
    teacher.update()
    teacher.set_alpha(0.5)
    teacher.update()
    assert teacher.module.weight.item() == pytest.approx(0.5 * 0.1 + 0.5)


@pytest.mark.parametrize(("alpha", "expected"), [(0.9, [1.0, 1.5, 2.0, 2.5]), (0.5, [1.0, 1.5, 2.25, 3.125])])
def test_the_warm_up_is_a_running_mean_until_it_meets_alpha(alpha, expected):
    student = scalar(100.0)
    teacher = EmaTeacher(student, alpha, warmup=True)
    got = []
    for value in (1.0, 2.0, 3.0, 4.0):
        fill(student, value)
        teacher.update()
        got.append(teacher.module.weight.item())
    assert got == pytest.approx(expected)


def test_a_thousand_updates_stay_near_a_float64_average():
    rng, alpha = np.random.default_rng(0), 0.99
    weights = rng.normal(size=(8, 8))
    student = nn.Linear(8, 8, bias=False)
    student.weight.data.copy_(torch.from_numpy(weights))
    teacher = EmaTeacher(student, alpha)
    average = student.weight.detach().double().numpy()
    for _ in range(1000):
        weights = weights + 0.01 * rng.normal(size=weights.shape)
        student.weight.data.copy_(torch.from_numpy(weights))
        teacher.update()
        average = alpha * average + (1 - alpha) * student.weight.detach().double().numpy()
    np.testing.assert_allclose(teacher.module.weight.numpy(), average, atol=1e-5)


# --- pairing


def test_parameters_are_paired_by_name_whatever_their_order():
    student = nn.ModuleDict({"first": nn.Linear(2, 2), "second": nn.Linear(2, 2)})
    teacher = EmaTeacher(student, 0.5)
    fill(teacher.module, 0.0)
    student["first"] = student.pop("first")
    assert list(student) == ["second", "first"]
    fill(student["first"], 2.0)
    fill(student["second"], 4.0)
    teacher.update()
    assert (teacher.module["first"].weight == 1.0).all()
    assert (teacher.module["second"].weight == 2.0).all()


def test_a_parameter_replaced_by_a_new_object_is_followed():
    student = scalar(0.0)
    teacher = EmaTeacher(student, 0.5)
    student.weight = nn.Parameter(torch.ones(1, 1))
    teacher.update()
    assert teacher.module.weight.item() == 0.5


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda student: student.add_module("extra", nn.Linear(2, 2)), "extra.weight"),
        (lambda student: student.__delitem__(1), "1.weight"),
        (lambda student: student.__setitem__(1, nn.Linear(2, 3)), "1.weight"),
        (lambda student: student.__setitem__(1, nn.Linear(2, 1)), "1.weight"),
    ],
    ids=["a layer more", "a layer less", "a wider layer", "a layer that would broadcast"],
)
def test_a_student_that_changed_its_shape_is_refused_by_name_and_the_teacher_kept(change, named):
    student = two_layers()
    teacher = EmaTeacher(student, 0.5)
    before = [parameter.clone() for parameter in teacher.module.parameters()]
    change(student)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1.0)
    with pytest.raises(RuntimeError, match=named.replace(".", r"\.")):
        teacher.update()
    assert teacher.updates == 0
    assert all(map(torch.equal, teacher.module.parameters(), before))


# --- pairing is kept between updates, and found anew after a change


def trained_together(student: nn.Module, alpha: float = 0.5, **settings) -> EmaTeacher:
    """A teacher that has been updated, so that what it paired is kept."""
    teacher = EmaTeacher(student, alpha, **settings)
    teacher.update()
    return teacher


def test_an_update_after_the_first_puts_no_names_together(monkeypatch):
    teacher = trained_together(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))

    def refuse(*args, **kwargs):
        raise AssertionError("names were asked for")

    for name in ("named_parameters", "named_buffers", "named_modules", "state_dict"):
        monkeypatch.setattr(nn.Module, name, refuse)
    teacher.update()
    assert teacher.updates == 2


def replace_parameter(student: nn.Module) -> None:
    student[1].weight = nn.Parameter(torch.empty(2, 2))


def replace_data(student: nn.Module) -> None:
    student[1].weight.data = torch.empty(2, 2)


def replace_layer(student: nn.Module) -> None:
    student[1] = nn.Linear(2, 2)


def swap_layers(student: nn.Module) -> None:
    student[0], student[1] = student[1], student[0]


def load_by_assignment(student: nn.Module) -> None:
    student.load_state_dict(two_layers().state_dict(), assign=True)


def cast_to_half_precision(student: nn.Module) -> None:
    student[1].to(torch.bfloat16)


CHANGES = (replace_parameter, replace_data, replace_layer, swap_layers, load_by_assignment, cast_to_half_precision)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("side", ["student", "teacher"])
def test_a_change_after_an_update_is_followed(change, side):
    student = two_layers()
    teacher = trained_together(student)
    change(student if side == "student" else teacher.module)
    for layer, (old, new) in enumerate([(0.0, 2.0), (4.0, 8.0)]):
        fill(teacher.module[layer], old)
        fill(student[layer], new)
    teacher.update()
    averages = [parameter.detach().mean().item() for parameter in teacher.module.parameters()]
    assert averages == [1.0, 1.0, 6.0, 6.0]


def widen_in_place(student: nn.Module) -> None:
    student[1].weight.data = torch.ones(3, 2)


def narrow_in_place(student: nn.Module) -> None:
    student[1].weight.data = torch.ones(1, 2)


def rename_layer(student: nn.Module) -> None:
    student.add_module("last", student.pop(1))


def move_bias(student: nn.Module) -> None:
    student[0].register_parameter("shift", student[1].bias)
    del student[1].bias


def turn_bias_into_a_buffer(student: nn.Module) -> None:
    bias = student[1].bias
    del student[1].bias
    student[1].register_buffer("bias", bias.detach())


def add_buffer(student: nn.Module) -> None:
    student[1].register_buffer("scale", torch.ones(2))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (widen_in_place, "1.weight"),
        (narrow_in_place, "1.weight"),
        (rename_layer, "last.weight"),
        (move_bias, "0.shift"),
        (turn_bias_into_a_buffer, "1.bias"),
        (add_buffer, "1.scale"),
    ],
)
def test_a_change_after_an_update_that_leaves_no_pair_is_refused_and_the_teacher_kept(change, named):
    student = two_layers()
    teacher = trained_together(student)
    before = [parameter.clone() for parameter in teacher.module.parameters()]
    change(student)
    fill(student, 7.0)
    for _ in range(2):  # the second time as the first
        with pytest.raises(RuntimeError, match=named.replace(".", r"\.")):
            teacher.update()
    assert teacher.updates == 1
    assert all(map(torch.equal, teacher.module.parameters(), before))


def test_a_layer_tied_after_an_update_is_refused_for_the_parameter_that_is_gone():
    student = two_layers()
    teacher = trained_together(student)
    student[1].weight = student[0].weight
    with pytest.raises(RuntimeError, match=r"only the teacher has \['1\.weight'\]"):
        teacher.update()


def test_buffers_replaced_after_an_update_are_copied():
    student = nn.BatchNorm1d(3)
    teacher = trained_together(student, buffers="copy")
    student.running_mean = torch.full((3,), 4.0)
    teacher.update()
    assert teacher.module.running_mean.tolist() == [4.0] * 3


def test_modules_that_hold_each_other_are_visited_once():
    student = two_layers()
    student[0].add_module("neighbour", student[1])
    student[1].add_module("neighbour", student[0])
    teacher = trained_together(student)
    fill(teacher.module, 0.0)
    fill(student, 1.0)
    teacher.update()
    assert {float(parameter.mean()) for parameter in teacher.module.parameters()} == {0.5}


def test_a_copy_of_a_teacher_follows_its_own_student():
    teacher = trained_together(scalar(0.0))
    twin = copy.deepcopy(teacher)
    fill(twin._student, 1.0)
    twin.update()
    teacher.update()
    assert (twin.module.weight.item(), teacher.module.weight.item()) == (0.5, 0.0)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(3, 3), nn.Linear(3, 3)
        self.decoder.weight = self.encoder.weight


def test_tied_parameters_stay_tied_and_are_averaged_once():
    student = Tied()
    teacher = EmaTeacher(student, 0.5)
    fill(teacher.module, 0.0)
    fill(student, 1.0)
    teacher.update()
    assert teacher.module.decoder.weight is teacher.module.encoder.weight
    assert (teacher.module.encoder.weight == 0.5).all()


class MixedTypes(nn.Module):
    floating = (torch.float32, torch.float64, torch.bfloat16, torch.float16)

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.ParameterList(nn.Parameter(torch.zeros(2, dtype=dtype)) for dtype in self.floating)
        self.count = nn.Parameter(torch.tensor([1, 2]), requires_grad=False)
        self.register_buffer("calls", torch.tensor(3))
        self.register_buffer("seen", torch.tensor([True, False]))


def test_each_dtype_is_averaged_in_itself_and_whole_numbers_are_copied():
    student = MixedTypes()
    teacher = EmaTeacher(student, 0.75, buffers="ema")
    fill(student.weights, 2.0)
    student.count.copy_(torch.tensor([6, 7]))
    student.calls.fill_(8)
    student.seen.fill_(True)
    teacher.update()
    assert [average.dtype for average in teacher.module.weights] == list(MixedTypes.floating)
    assert [average.tolist() for average in teacher.module.weights] == [[0.5, 0.5]] * 4
    assert teacher.module.count.tolist() == [6, 7]
    assert teacher.module.calls.item() == 8
    assert teacher.module.seen.tolist() == [True, True]


def test_a_student_cast_to_half_precision_leaves_the_average_in_float32():
    student = scalar(0.0)
    teacher = EmaTeacher(student, 0.99)
    student.to(torch.bfloat16)
    fill(student, 1.0)
    teacher.update()
    assert teacher.module.weight.dtype == torch.float32
    assert teacher.module.weight.item() == pytest.approx(0.01)


# --- memory


def allocated_bytes(function) -> int:
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        function()
    return sum(max(0, event.self_cpu_memory_usage) for event in profiler.events())


def test_update_makes_no_second_copy_of_the_weights():
    student = nn.Sequential(*(nn.Linear(128, 128) for _ in range(4)))
    teacher = EmaTeacher(student, 0.9)
    addresses = [parameter.data_ptr() for parameter in teacher.module.parameters()]
    weights = sum(parameter.nbytes for parameter in student.parameters())
    assert allocated_bytes(lambda: [parameter + 1 for parameter in student.parameters()]) >= weights
    assert allocated_bytes(teacher.update) < weights / 100
    assert [parameter.data_ptr() for parameter in teacher.module.parameters()] == addresses


# --- wrapped students


@every_wrapper
@pytest.mark.usefixtures("process_group")
def test_a_wrapped_students_teacher_is_bare_and_follows_it(wrap):
    student = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    wrapped = wrap(student)
    teacher = EmaTeacher(wrapped, 0.5)
    assert bare_module(wrapped) is student
    assert type(teacher.module) is nn.Sequential
    assert teacher.state_dict().keys() == student.state_dict().keys()

    before = teacher.module[0].weight.clone()
    wrapped(torch.randn(5, 4)).square().sum().backward()
    torch.optim.SGD(wrapped.parameters(), lr=0.1).step()
    teacher.update()
    torch.testing.assert_close(teacher.module[0].weight, (before + student[0].weight) / 2)
    assert not torch.equal(teacher.module[0].weight, before)
    assert teacher(torch.randn(5, 4)).shape == (5, 3)


def test_a_student_compiled_in_place_can_be_followed():
    student = nn.Linear(4, 3)
    student.compile(backend="eager")
    student(torch.randn(2, 4))
    teacher = EmaTeacher(student, 0.5)
    assert teacher.state_dict().keys() == student.state_dict().keys()
    x = torch.randn(2, 4)
    torch.testing.assert_close(teacher(x), student(x).detach())


def test_module_is_the_teacher_itself_and_not_an_inner_layer_called_module():
    student = nn.Module()
    student.module = nn.Linear(2, 2)
    assert EmaTeacher(student, 0.9).state_dict().keys() == {"module.weight", "module.bias"}


# --- buffers


@pytest.mark.parametrize(
    ("buffers", "mean", "variance", "batches"), [("own", 0.0, 1.0, 3), ("copy", 4.0, 9.0, 7), ("ema", 1.0, 3.0, 7)]
)
def test_statistics_after_an_update_are_exactly_as_promised(buffers, mean, variance, batches):
    student = with_statistics(0.0, 1.0, 3)
    teacher = EmaTeacher(student, 0.75, buffers=buffers)
    student.load_state_dict(with_statistics(4.0, 9.0, 7).state_dict())
    teacher.update()
    norm = teacher.module
    assert norm.running_mean.tolist() == [mean] * 3
    assert norm.running_var.tolist() == [variance] * 3
    assert norm.num_batches_tracked.item() == batches
    assert norm.num_batches_tracked.dtype == torch.int64


def test_own_statistics_come_from_what_the_teacher_sees():
    student = nn.BatchNorm1d(3)
    teacher = EmaTeacher(student, 0.9).train()
    x = torch.randn(6, 3) + 5
    teacher(x)
    student(x - 10)
    teacher.update()
    torch.testing.assert_close(teacher.module.running_mean, 0.1 * x.mean(dim=0))
    assert teacher.module.num_batches_tracked.item() == 1


@pytest.mark.parametrize("buffers", ["own", "copy", "ema"])
def test_an_attention_mask_of_minus_infinity_stays_one(buffers):
    student = scalar(0.0)
    student.register_buffer("causal_mask", torch.tensor([0.0, -math.inf]))
    teacher = EmaTeacher(student, 0.9, buffers=buffers)
    teacher.update()
    assert teacher.module.causal_mask.tolist() == [0.0, -math.inf]


@pytest.mark.parametrize("buffers", ["student", "", None])
def test_an_unknown_treatment_of_buffers_is_refused(buffers):
    with pytest.raises(ValueError, match="buffers: expected one of"):
        EmaTeacher(scalar(0.0), 0.9, buffers=buffers)


# --- copying students


def old_weight_norm() -> nn.Linear:
    return nn.utils.weight_norm(nn.Linear(3, 2, bias=False))


def new_weight_norm() -> nn.Linear:
    return parametrizations.weight_norm(nn.Linear(3, 2, bias=False))


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated:FutureWarning")
@pytest.mark.parametrize("make", [old_weight_norm, new_weight_norm])
def test_the_magnitude_and_direction_of_normalised_weights_are_averaged(make):
    student, x = make(), torch.randn(5, 3)
    start = [parameter.detach().clone() for parameter in student.parameters()]
    student(x).square().sum().backward()
    teacher = EmaTeacher(student, 0.5)
    torch.optim.SGD(student.parameters(), lr=0.1).step()
    magnitude, direction = ((old + new.detach()) / 2 for old, new in zip(start, student.parameters(), strict=True))
    teacher.update()
    weight = magnitude * direction / direction.norm(dim=1, keepdim=True)
    torch.testing.assert_close(teacher(x), x @ weight.T)


def test_a_student_that_cannot_be_copied_is_refused_with_advice():
    student = nn.Linear(2, 2)
    student.lock = threading.Lock()
    with pytest.raises(TypeError, match=r"copy\.deepcopy\(Linear\) failed .*__deepcopy__"):
        EmaTeacher(student, 0.9)


@pytest.mark.parametrize("model", [None, two_layers().forward, EmaTeacher(two_layers(), 0.9)])
def test_a_student_that_is_no_module_is_refused(model):
    with pytest.raises(TypeError, match=r"model: expected a torch\.nn\.Module, the student, got "):
        EmaTeacher(model, 0.9)


# --- no gradient


def test_outputs_carry_no_gradient_even_to_an_input_that_wants_one():
    teacher = EmaTeacher(two_layers(), 0.9)
    assert not teacher(torch.randn(3, 2, requires_grad=True)).requires_grad
    assert not any(parameter.requires_grad for parameter in teacher.module.parameters())


@pytest.mark.parametrize("frozen", [False, True])
def test_backward_never_reaches_the_teacher_whatever_is_frozen(frozen):
    student, x = two_layers(), torch.randn(3, 2)
    student[0].requires_grad_(not frozen)
    teacher = EmaTeacher(student, 0.9)
    student[0].requires_grad_(frozen)
    F.mse_loss(student(x), teacher(x) + 1).backward()
    teacher.update()
    assert student[1].weight.grad is not None
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in teacher.module.parameters())


# --- modes


@pytest.mark.parametrize("mode", [True, False])
def test_train_and_eval_return_the_teacher_and_reach_every_submodule(mode):
    teacher = EmaTeacher(two_layers().train(not mode), 0.9)
    assert all(module.training is not mode for module in teacher.module.modules())
    assert (teacher.train() if mode else teacher.eval()) is teacher
    assert all(module.training is mode for module in teacher.module.modules())
    assert teacher.train(not mode) is teacher
    assert all(module.training is not mode for module in teacher.module.modules())


def classifier() -> ImageClassifier:
    backbone = nn.Conv2d(3, 4, 3)
    backbone.out_features = 4
    return ImageClassifier(backbone, num_classes=31, bottleneck_dim=256)


def test_the_example_of_the_readme_runs():
    student = classifier().to("cpu")
    teacher = EmaTeacher(student, 0.9)
    x = torch.randn(2, 3, 8, 8)
    predictions, features = teacher(x)
    teacher.update()
    assert predictions.shape == (2, 31)
    assert features.shape == (2, 256)
    assert teacher.eval()(x).shape == (2, 31)


def test_keyword_arguments_reach_the_forward():
    bilinear = nn.Bilinear(2, 2, 1)
    x, y = torch.randn(3, 2), torch.randn(3, 2)
    torch.testing.assert_close(EmaTeacher(bilinear, 0.9)(input1=x, input2=y), bilinear(x, y).detach())


# --- checkpoints


def test_the_state_loads_into_another_teacher_through_a_file():
    student, x = classifier(), torch.randn(4, 3, 8, 8)
    teacher = EmaTeacher(student, 0.5)
    teacher(x)
    fill(student, 0.3)
    teacher.update()
    file = io.BytesIO()
    torch.save(teacher.state_dict(), file)
    file.seek(0)
    other = EmaTeacher(classifier(), 0.5)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert other.module.bottleneck[1].num_batches_tracked.item() == 1
    assert torch.equal(other.eval()(x), teacher.eval()(x))


def test_a_students_own_state_loads_into_the_teacher():
    student, other = classifier(), classifier()
    teacher = EmaTeacher(other, 0.5)
    teacher.load_state_dict(student.state_dict())
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(teacher.eval()(x), student.eval()(x))


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"weight": torch.zeros(1, 1), "bias": torch.zeros(1)},
        {"module.weight": torch.zeros(1, 1)},
        {"weight": torch.zeros(2, 1)},
    ],
    ids=["missing", "unexpected", "prefixed", "another shape"],
)
def test_a_state_of_other_keys_or_shapes_is_refused(state):
    with pytest.raises(RuntimeError, match=r"weight|bias"):
        EmaTeacher(scalar(0.0), 0.9).load_state_dict(state)


def test_alpha_1_keeps_the_teacher_even_from_a_student_that_diverged():
    student = nn.Linear(2, 2)
    teacher = EmaTeacher(student, 1.0)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    student.weight.data.fill_(float("inf"))
    teacher.update()
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())


def test_dropout_of_whole_paths_stops_with_the_rest():
    layers = nn.Sequential(nn.Dropout(0.5), DropPath(0.5), StochasticDepth(0.5, "row"), nn.BatchNorm1d(2)).train()
    stop_dropout(layers)
    assert [each.training for each in layers] == [False, False, False, True]
