"""What `capture` gives, in which order, what it refuses, and that it leaves no hook behind."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from speechprobe.extractors import capture


@dataclass
class Output:
    count: int
    hidden: Tensor


class Wrapped(nn.Module):
    """Gives its tensor out inside a container."""

    def __init__(self, wrap):
        super().__init__()
        self.wrap = wrap

    def forward(self, x):
        return self.wrap(x)


class Unwrap(nn.Module):
    """Runs a module that gives out a container, and gives out the plain tensor."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        self.inner(x)
        return x


class OutOfOrder(nn.Module):
    """Registers its layers in another order than it runs them, and passes one by keyword."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(3, 2)
        self.first = nn.Linear(4, 3)
        self.unused = nn.Linear(4, 4)

    def forward(self, x):
        return self.last(input=torch.relu(self.first(x)))


class Reused(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(self.layer(x))


@pytest.fixture
def stack():
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Linear(5, 6), nn.Tanh())
    return nn.Sequential(OrderedDict(stem=nn.Linear(4, 5), body=inner, head=nn.Linear(6, 2))).eval()


@pytest.fixture
def x():
    return torch.randn(3, 4, generator=torch.Generator().manual_seed(1))


def n_hooks(network):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules())


def test_values_are_what_the_modules_return(stack, x):
    with capture(stack, "**") as captured:
        output = stack(x)
    stem = stack.stem(x)
    expected = {"stem": stem, "body.0": stack.body[0](stem), "body.1": stack.body(stem)}
    expected |= {"body": stack.body(stem), "head": output}
    assert list(captured) == list(expected)
    for layer, value in expected.items():
        torch.testing.assert_close(captured[layer], value, rtol=0, atol=0)
        assert not captured[layer].requires_grad


def test_a_lone_star_is_the_direct_children(stack, x):
    with capture(stack, "*") as captured:
        stack(x)
    assert list(captured) == ["stem", "body", "head"]


def test_layers_come_in_firing_order_whatever_was_registered_or_asked_first(x):
    network = OutOfOrder().eval()
    with capture(network, ["last", "first"]) as captured:
        network(x)
    assert list(captured) == ["first", "last"]


def test_input_is_what_goes_into_the_module_by_position_or_keyword(x):
    network = OutOfOrder().eval()
    with capture(network, ["last:input", "first:input", "first"]) as captured:
        network(x)
    torch.testing.assert_close(captured["first:input"], x)
    torch.testing.assert_close(captured["last:input"], torch.relu(captured["first"]))
    assert list(captured) == ["first:input", "first", "last:input"]


def test_patterns_take_input_behind_them(stack, x):
    with capture(stack, "body.*:input") as captured:
        stack(x)
    torch.testing.assert_close(captured["body.0:input"], stack.stem(x))
    assert list(captured) == ["body.0:input", "body.1:input"]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda x: (x, x + 1),
        lambda x: [None, x],
        lambda x: {"hidden": x, "other": x + 1},
        lambda x: Output(3, x),
        lambda x: (None, {"a": [Output(1, x)]}, x + 1),
    ],
    ids=["tuple", "list", "mapping", "dataclass", "nested"],
)
def test_containers_are_unwrapped_to_their_first_tensor(wrap, x):
    network = Unwrap(Wrapped(wrap)).eval()
    with capture(network, "inner") as captured:
        network(x)
    torch.testing.assert_close(captured["inner"], x)


def test_a_layer_without_tensor_is_refused(x):
    network = Unwrap(Wrapped(lambda x: ("text", 3))).eval()
    with pytest.raises(TypeError, match="'inner' gives out no tensor but tuple"), \
            capture(network, "inner"):  # fmt: skip
        network(x)
    assert not n_hooks(network)


def test_reduce_is_given_the_layer_and_replaces_the_tensor(stack, x):
    with capture(stack, ["stem", "head"], lambda layer, t: (layer, tuple(t.shape))) as captured:
        stack(x)
    assert captured == {"stem": ("stem", (3, 5)), "head": ("head", (3, 2))}


def test_reduce_sees_a_layer_before_a_later_one_writes_into_it(x):
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(inplace=True)).eval()
    with torch.inference_mode(), capture(network, "0", lambda _, t: t.clone()) as captured:
        network(x)
    with torch.inference_mode():
        expected = network[0](x)
    torch.testing.assert_close(captured["0"], expected)
    assert (captured["0"] < 0).any()


def test_no_hook_is_left_after_success_and_they_are_there_inside(stack, x):
    with capture(stack, "**"):
        assert n_hooks(stack) == 5
        stack(x)
    assert not n_hooks(stack)


def test_no_hook_is_left_after_an_error_inside_the_block_which_is_passed_on(stack):
    with pytest.raises(KeyError, match="mine"), capture(stack, "**"):
        raise KeyError("mine")
    assert not n_hooks(stack)


def test_no_hook_is_left_after_an_error_in_reduce(stack, x):
    def broken(layer, tensor):
        raise ZeroDivisionError(layer)

    with pytest.raises(ZeroDivisionError, match="stem"), capture(stack, "**", broken):
        stack(x)
    assert not n_hooks(stack)


def test_a_users_own_hook_survives(stack, x):
    seen = []
    handle = stack.stem.register_forward_hook(lambda *_: seen.append(1))
    with capture(stack, "**"):
        stack(x)
    stack(x)
    handle.remove()
    assert len(seen) == 2


def test_captures_may_be_nested_and_repeated(stack, x):
    with capture(stack, "stem") as outer, capture(stack, ["stem", "head"]) as inner:
        stack(x)
    torch.testing.assert_close(outer["stem"], inner["stem"])
    with capture(stack, "stem") as again:
        stack(x)
    torch.testing.assert_close(again["stem"], outer["stem"])


def test_a_module_that_is_used_twice_is_ambiguous(x):
    network = Reused().eval()
    with pytest.raises(RuntimeError, match="'layer' fired more than once"), \
            capture(network, "layer"):  # fmt: skip
        network(x)
    assert not n_hooks(network)


def test_two_passes_in_one_block_are_ambiguous(stack, x):
    with pytest.raises(RuntimeError, match="more than once"), capture(stack, "stem"):
        stack(stack(x)[:, :1].expand(-1, 4))


def test_a_module_that_does_not_run_is_an_error(x):
    network = OutOfOrder().eval()
    with pytest.raises(RuntimeError, match=r"1 of 3 layers did not fire: \['unused'\]"), \
            capture(network, "*"):  # fmt: skip
        network(x)


@pytest.mark.parametrize("part", ["", "body.1"])
def test_train_mode_of_the_network_or_of_a_part_is_refused(stack, part):
    stack.get_submodule(part).train()
    with pytest.raises(ValueError, match="train mode.*eval"), capture(stack, "stem"):
        raise AssertionError("the block must not run")
    assert not n_hooks(stack)


def test_data_parallel_is_refused(stack):
    with pytest.raises(ValueError, match=r"DataParallel.*module\.module"), \
            capture(nn.DataParallel(stack).eval(), "**"):  # fmt: skip
        raise AssertionError("the block must not run")


@pytest.mark.parametrize("pattern", ["bdy.0", "body.9", "stam:input"])
def test_an_unknown_layer_lists_near_names(stack, pattern):
    near = "stem" if "st" in pattern else "body.0"
    with pytest.raises(ValueError, match=rf"no layer matches.*{near}"), capture(stack, pattern):
        raise AssertionError("the block must not run")


def test_asking_for_no_layer_is_an_error(stack):
    with pytest.raises(ValueError, match="no layer"), capture(stack, []):
        raise AssertionError("the block must not run")
