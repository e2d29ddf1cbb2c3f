"""Search spaces: contract tests over every name, then what is particular to each."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nas.export import count, export_onnx, load_weights, reference_output
from nas.generators._unit import choices_at
from nas.precision import WithPrecision
from nas.spaces import Choice, Range, build, canonical, check, digest, find_space
from profiles.errors import InputError, TrialError
from profiles.registry import names


def random_choices(name: str, seed: int) -> dict[str, Any]:
    space, rng = find_space(name), random.Random(seed)
    described = [
        {"name": p.name, "values": p.values}
        if isinstance(p, Choice)
        else {"name": p.name, "low": p.low, "high": p.high, "log": p.log, "integer": p.integer}
        for p in space.parameters
    ]
    return choices_at(described, [rng.random() for _ in described])


@pytest.mark.parametrize("name", names("nas.spaces"))
@pytest.mark.parametrize("seed", range(4))
def test_random_choices_build_export_and_agree_with_torch(name: str, seed: int, tmp_path: Path) -> None:
    import onnxruntime

    space, choices = find_space(name), random_choices(name, seed)
    check(space, choices)
    assert canonical(space, canonical(space, choices)) == canonical(space, choices)
    assert digest(name, choices) == digest(name, canonical(space, choices))
    torch.manual_seed(seed)
    module = build(space, choices, (1, 8, 8), 10)
    export_onnx(module, tmp_path / "m.onnx", input_shape=(1, 8, 8))
    x = np.random.default_rng(seed).normal(size=(3, 1, 8, 8)).astype(np.float32)
    (answers,) = onnxruntime.InferenceSession(tmp_path / "m.onnx").run(["output"], {"input": x})
    expected = reference_output(module, x)
    assert answers.shape == expected.shape == (3, 10)
    assert np.abs(answers - expected).max() <= 1e-4 * np.abs(expected).max()
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]  # weights inside
    params, macs = count(module, (1, 8, 8))
    assert params == sum(p.numel() for p in module.parameters()) and macs > 0


@pytest.mark.parametrize("name", ["convnet", "mbconv", "kws", "vit"])
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 49, 10), (2, 3, 1)])
def test_any_image_and_number_of_classes_will_do(name: str, shape: tuple[int, ...]) -> None:
    module = build(find_space(name), random_choices(name, 1), shape, 7).eval()
    assert module(torch.zeros(2, *shape)).shape == (2, 7)
    with pytest.raises(TrialError, match=f"{name} takes inputs"):
        build(find_space(name), random_choices(name, 1), (64,), 7)


@pytest.mark.parametrize(
    ("name", "depth", "absent", "present"),
    [
        ("convnet", {"depth_3": 0}, {"expansion_3": 6}, {"expansion_2": 6}),
        (
            "mbconv",
            {"depth_2": 0},
            {"kernel_2": 7, "squeeze_2": True, "width_2": 1.5, "expansion_2": 6},
            {"width_1": 1.5},
        ),
        ("kws", {"depth": 2}, {"kernel_3": 5, "kernel_6": 5}, {"kernel_2": 5}),
        ("vit", {"depth": 3}, {"heads_4": 8, "mlp_ratio_8": 4}, {"heads_3": 8}),
    ],
)
def test_choices_of_layers_that_do_not_exist_do_not_count(
    name: str, depth: dict[str, Any], absent: dict[str, Any], present: dict[str, Any]
) -> None:
    """Equal networks, one digest; unlike ones, unlike digests."""
    space = find_space(name)
    first = {p.name: p.values[0] for p in space.parameters if isinstance(p, Choice)} | depth

    def tensors(choices: dict[str, Any]) -> list[Any]:
        return [(key, value.shape) for key, value in build(space, choices, (1, 8, 8), 10).state_dict().items()]

    for parameter, value in absent.items():
        assert digest(name, first | {parameter: value}) == digest(name, first)
        assert tensors(first | {parameter: value}) == tensors(first)
    for parameter, value in present.items():
        assert digest(name, first | {parameter: value}) != digest(name, first)


def test_attention_is_that_of_torch() -> None:
    from nas.spaces._attention import Attention

    torch.manual_seed(0)
    ours, theirs = Attention(5, 8, 2), torch.nn.MultiheadAttention(8, 2, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(ours.query_key_value.weight)
        theirs.in_proj_bias.copy_(ours.query_key_value.bias)
        theirs.out_proj.load_state_dict(ours.out.state_dict())
    x = torch.randn(3, 5, 8)
    assert torch.allclose(ours(x), theirs(x, x, x, need_weights=False)[0], atol=1e-6)


def test_mlp_is_the_space_of_the_tutorial() -> None:
    space = {p.name: p for p in find_space("mlp").parameters}
    for name in ("hidden_size_1", "hidden_size_2"):
        assert space[name] == Range(name, 16, 128, log=True, integer=True)
    assert space["learning_rate"] == Range("learning_rate", 1e-4, 1e-2, log=True)
    assert space["dropout"] == Range("dropout", 0.0, 0.5)
    assert space["batch_size"] == Choice("batch_size", (32, 64, 128, 256), ordered=True)
    assert (space["epochs"].low, space["epochs"].high) == (1, 4)  # type: ignore[union-attr]


def test_macs_by_hand() -> None:
    """A 3x3 convolution from 1 to 4 channels on 8 x 8, stride 1: 64 positions x 36; then 256 x 10."""
    module = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.Flatten(), torch.nn.Linear(256, 10))
    assert count(module, (1, 8, 8)) == (4 * 9 + 4 + 2560 + 10, 64 * 36 + 2560)


class OwnSpace:
    """What a user writes: build takes the choices alone."""

    parameters = (Choice("width", (4, 8)),)

    def build(self, choices: dict[str, Any]) -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, choices["width"]))


def test_a_build_that_takes_the_choices_alone() -> None:
    assert build(OwnSpace(), {"width": 4}, (1, 8, 8), 10)(torch.zeros(2, 1, 8, 8)).shape == (2, 4)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("choices", "words"),
    [({}, "width: missing"), ({"width": 5}, "given 5; accepted: one of 4, 8"), ({"width": 4, "x": 1}, "x: no such")],
)
def test_unfit_choices_are_named(choices: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        check(OwnSpace(), choices)  # type: ignore[arg-type]


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    module = torch.nn.Linear(2, 3)
    cases: list[tuple[Any, str]] = [
        ({"weight": torch.zeros(3, 2)}, "bias: missing"),
        ({"weight": torch.zeros(2, 2), "bias": torch.zeros(3)}, r"weight: given shape \(2, 2\); accepted: \(3, 2\)"),
        ({"weight": torch.zeros(3, 2), "bias": torch.zeros(3), "x": torch.zeros(1)}, "x: the network has no such"),
        ([1, 2], "given list"),
    ]
    for state, words in cases:
        torch.save(state, tmp_path / "w.pt")
        with pytest.raises(TrialError, match=words):
            load_weights(module, tmp_path / "w.pt")
    with pytest.raises(TrialError, match="no weights"):
        load_weights(module, tmp_path / "absent.pt")


def test_weights_are_never_unpickled(tmp_path: Path) -> None:
    """A file that would run code when unpickled is refused, and the code does not run."""
    import pickle

    class Bomb:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "it-ran",)

    (tmp_path / "w.pt").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(TrialError):
        load_weights(torch.nn.Linear(2, 3), tmp_path / "w.pt")
    assert not (tmp_path / "it-ran").exists()


@pytest.mark.parametrize(
    ("name", "values", "params", "macs"),
    [
        ("macro", "00000000", 387_882, 7_713_280),
        ("macro", "00000002", 1_219_370, 20_910_592),
        ("macro", "11111111", 1_588_874, 53_246_464),
        ("nb201", "avg_pool_3x3 nor_conv_1x1 skip_connect nor_conv_1x1 skip_connect skip_connect", 129_306, 15_647_360),
    ],
)
def test_networks_of_the_published_tables(name: str, values: str, params: int, macs: int) -> None:
    """Sizes as NAS-Bench-Macro and (0.12931 M and, without biases, 15.644 M) NAS-Bench-201 print them."""
    space = find_space(name)
    chosen = values.split() if " " in values else list(values)
    choices = dict(zip((p.name for p in space.parameters), chosen, strict=True))
    assert count(build(space, choices, (3, 32, 32), 10), (3, 32, 32)) == (params, macs)


def test_widths_of_mbconv_that_round_to_the_same_channels_are_one() -> None:
    """16 x 0.75 is 12 channels, rounded to 16 as 16 x 1 is; of 24, 0.5 and 0.75 are both 16; 40 and 80 have no such."""
    space = find_space("mbconv")
    first = {p.name: p.values[-1] for p in space.parameters if isinstance(p, Choice)}
    same = {1: {1.0: 0.75}, 2: {0.75: 0.5}, 3: {}, 4: {}}
    for stage, merged in same.items():
        for width in (0.5, 0.75, 1.0, 1.5):
            chosen: dict[str, Any] = first | {f"width_{stage}": width}
            kept = canonical(space, chosen)
            assert kept == chosen | {f"width_{stage}": merged.get(width, width)}
            assert repr(space.build(chosen, input_shape=(1, 8, 8), outputs=10)) == repr(
                space.build(kept, input_shape=(1, 8, 8), outputs=10)
            )


class Misbehaving(OwnSpace):
    def __init__(self, module: Any, canonical: Any = dict) -> None:
        self._module = module
        self.canonical = canonical

    def build(self, choices: dict[str, Any]) -> Any:
        return self._module


def test_a_space_that_misbehaves_is_one_line() -> None:
    def bad(choices: Any) -> Any:
        raise KeyError("a\nb")

    for module, words in (
        (None, "given NoneType; accepted: a torch.nn.Module"),
        (torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(3)), "1.weight: .* build it with fixed sizes"),
    ):
        with pytest.raises(TrialError, match=words):
            build(Misbehaving(module), {"width": 4}, (1, 8, 8), 10)
    for function, words in (
        (bad, r"the space's canonical failed: KeyError: 'a\\nb'"),
        (lambda choices: None, "the space's canonical failed: TypeError"),
        (lambda choices: {}, "choices: width: missing"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            canonical(WithPrecision(Misbehaving(None, function), ["fp32", "int8"]), {"width": 4, "precision": "fp32"})
        assert "\n" not in str(caught.value) and str(caught.value).count("canonical failed") < 2


class Fractions(OwnSpace):
    parameters = (Range("depth", 1.5, 3.5, integer=True),)  # type: ignore[assignment]


class Whole(OwnSpace):
    parameters = (Range("depth", 1.0, 3.0, integer=True),)  # type: ignore[assignment]


def test_a_range_of_whole_numbers_has_whole_ends() -> None:
    words = r"depth: given \(1\.5, 3\.5\); accepted: whole numbers, since integer is set"
    with pytest.raises(InputError, match=words):
        find_space(f"{__name__}:Fractions")
    assert find_space(f"{__name__}:Whole").parameters[0].name == "depth"
