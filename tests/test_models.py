"""The reference models: their published size, and that every one of them can be exported and answers as torch does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch

from devices.engines._torch_program import inputs_of
from nas import models
from nas.export import count, reference_output
from profiles.errors import InputError

# Figures with BatchNorm's statistics, as Keras counts them, and multiply-accumulates. The first four: MLPerf Tiny's own
# models; MACs of the autoencoder are those of its dense layers. MobileNetV2: Keras' figure, and 300 M in the paper.
# ViT-Ti: timm's and DeiT's own figure; its MACs leave attention's own products out.
PUBLISHED = {
    "resnet8": (78_666, 12_501_632),
    "dscnn": (24_908, 2_656_768),
    "mobilenetv1_025": (221_794, 7_489_664),
    "autoencoder": (269_992, 264_192),
    "mobilenetv2": (3_538_984, 300_774_272),
    "vit_tiny": (5_717_416, 1_074_851_328),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_model_has_its_published_size(name: str) -> None:
    module, input_shape = models.build(name)
    statistics = sum(buffer.numel() for key, buffer in module.named_buffers() if "running" in key)
    parameters, macs = count(module, input_shape)
    assert (parameters + statistics, macs) == PUBLISHED[name]


@pytest.mark.parametrize("name", models.names())
def test_both_files_of_a_model_answer_as_it_does(name: str, tmp_path: Path) -> None:
    module, input_shape = models.build(name)
    x = np.random.default_rng(0).standard_normal((2, *input_shape)).astype(np.float32)
    expected = reference_output(module, x)
    assert expected.std() > 0.1  # it tells inputs apart
    session = ort.InferenceSession(models.onnx_file(name, tmp_path), providers=["CPUExecutionProvider"])
    tolerance = 1e-4 * float(np.abs(expected).max())
    np.testing.assert_allclose(session.run(None, {"input": x})[0], expected, rtol=0, atol=tolerance)
    exported = torch.export.load(models.program_file(name, tmp_path))
    assert [one.name for one in inputs_of(exported)] == ["input"]  # whatever the network calls it
    program = exported.module()
    for batch in (1, 2):  # the batch axis stays free
        answer = program(torch.from_numpy(x[:batch])).detach().numpy()
        np.testing.assert_allclose(answer, expected[:batch], rtol=0, atol=tolerance)


def test_a_model_is_the_same_each_time_and_leaves_the_random_state_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = models.onnx_file("dscnn", tmp_path / "a")
    assert torch.rand(1) == expected
    assert first.read_bytes() == models.onnx_file("dscnn", tmp_path / "b").read_bytes()
    first.write_bytes(b"kept")
    assert models.onnx_file("dscnn", tmp_path / "a").read_bytes() == b"kept"  # not exported twice


def test_an_unknown_model_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no model named 'resnet9'; there are: autoencoder, dscnn, .*resnet8"):
        models.onnx_file("resnet9", tmp_path)
