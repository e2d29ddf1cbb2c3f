"""What an exported file is: one input and output with a free batch axis, folded, whole or absent, and silent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from nas.export import count, export_onnx, load_weights, reference_output
from profiles.errors import TrialError


def network() -> nn.Module:
    layers = [nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(144, 3))


def test_the_graph_has_the_promised_form(tmp_path: Path) -> None:
    export_onnx(network(), tmp_path / "m.onnx", input_shape=(1, 8, 8))
    model = onnx.load(tmp_path / "m.onnx")
    onnx.checker.check_model(model, full_check=True)
    (source,), (answer,) = model.graph.input, model.graph.output
    shape = [d.dim_param or d.dim_value for d in source.type.tensor_type.shape.dim]
    assert (source.name, shape) == ("input", ["batch", 1, 8, 8])
    shape = [d.dim_param or d.dim_value for d in answer.type.tensor_type.shape.dim]
    assert (answer.name, shape) == ("output", ["batch", 3])
    assert not {node.op_type for node in model.graph.node} & {"BatchNormalization", "Dropout"}


def test_the_module_keeps_its_mode_and_the_file_its_bytes(tmp_path: Path) -> None:
    module = network().train()
    module[1].eval()
    export_onnx(module, tmp_path / "a.onnx", input_shape=(1, 8, 8))
    export_onnx(module, tmp_path / "b.onnx", input_shape=(1, 8, 8))
    count(module, (1, 8, 8))
    reference_output(module, np.zeros((1, 1, 8, 8), np.float32))
    assert module.training and module[0].training and not module[1].training
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


class TwoOutputs(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x, x


class NotInOnnx(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.qr(x.flatten(1).unsqueeze(2))[0].squeeze(2)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (nn.Linear(3, 2), r"does not accept inputs \(2, 1, 8, 8\)"),
        (TwoOutputs(), "given tuple for 2 inputs; accepted: one tensor, batch first"),
        (nn.Flatten(0), r"given \(128,\) for 2 inputs"),
        (NotInOnnx(), "export to ONNX failed"),
    ],
)
def test_what_cannot_be_exported_is_one_line_and_no_file(module: nn.Module, words: str, tmp_path: Path) -> None:
    with pytest.raises(TrialError, match=words) as caught:
        export_onnx(module, tmp_path / "m.onnx", input_shape=(1, 8, 8))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_printed(root: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from torch import nn; from nas.export import export_onnx;"
        "export_onnx(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), Path(sys.argv[1]), input_shape=(4,))"
    )
    environment = os.environ | {"PYTHONPATH": str(root)}
    command = [sys.executable, "-c", code, str(tmp_path / "m.onnx")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_transposed_and_grouped_convolutions_are_counted() -> None:
    """4 x 4 positions x 2 x (3 x 2 x 2) = 384 for the transposed one; 8 x 8 x 6 x 9 for the depthwise one after it."""
    module = nn.Sequential(nn.ConvTranspose2d(2, 3, 2, stride=2), nn.Conv2d(3, 6, 3, padding=1, groups=3))
    assert count(module, (2, 4, 4)) == (2 * 3 * 4 + 3 + 6 * 9 + 6, 384 + 64 * 6 * 9)


class Crossed(nn.Module):
    """5 tokens of width 4, from 10 numbers, look at 3 of widths 6 and 7, named and in another order."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.batch_first = batch_first
        self.attention = nn.MultiheadAttention(4, 2, kdim=6, vdim=7, batch_first=batch_first)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        key, value = x.new_ones(len(x), 3, 6), x.new_ones(len(x), 3, 7)
        query = x.repeat(1, 2).reshape(-1, 5, 4)
        if not self.batch_first:
            query, key, value = (one.transpose(0, 1) for one in (query, key, value))
        mixed, _ = self.attention(query, value=value, key=key, need_weights=False)
        return mixed if self.batch_first else mixed.transpose(0, 1)


@pytest.mark.parametrize("batch_first", [True, False])
def test_the_projections_of_torchs_own_attention_are_counted(batch_first: bool) -> None:
    """Query and output: 5 x 4 x 4 each; key: 3 x 6 x 4; value: 3 x 7 x 4."""
    assert count(Crossed(batch_first), (10,))[1] == 2 * 80 + 72 + 84


class Itself(nn.MultiheadAttention):
    def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return super().forward(x, x, x)[0]


def test_attention_that_is_called_otherwise_is_no_error() -> None:
    assert count(nn.Sequential(Itself(4, 2, batch_first=True), nn.Linear(4, 3)), (5, 4))[1] == 5 * 4 * 3


def test_an_encoder_of_torch_costs_what_the_same_layers_do() -> None:
    """Of 7 tokens of width 8: 3 x 8 x 8 and 8 x 8 for its attention, 8 x 16 twice for its perceptron."""
    encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    assert count(encoder, (7, 8))[1] == 7 * (4 * 8 * 8 + 2 * 8 * 16)


def test_channels_last_weights_load_into_a_plain_network(tmp_path: Path) -> None:
    module = network().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    torch.save(module.state_dict(), tmp_path / "w.pt")
    plain = network()
    load_weights(plain, tmp_path / "w.pt")
    x = np.random.default_rng(0).normal(size=(2, 1, 8, 8)).astype(np.float32)
    assert np.allclose(reference_output(plain, x), reference_output(module, x), atol=1e-6)


class Narrow(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1).to(torch.bfloat16)


def test_a_network_that_fails_is_a_failed_trial_for_whoever_asks_it() -> None:
    module = nn.Linear(5, 2)
    with pytest.raises(TrialError, match=r"does not accept inputs \(3, 4\): RuntimeError"):
        reference_output(module, np.zeros((3, 4), np.float32))
    with pytest.raises(TrialError, match=r"does not accept inputs \(1, 4\): RuntimeError"):
        count(module, (4,))
    with pytest.raises(TrialError, match="given tuple for 1 inputs; accepted: one tensor"):
        count(TwoOutputs(), (4,))
    with pytest.raises(TrialError, match=r"given torch\.bfloat16; accepted: float32"):
        reference_output(Narrow(), np.zeros((3, 4), np.float32))
