"""A space of 120 choices, and two made-up metrics of its networks: a deep ``mbconv``, block by block.

    stem       3x3 convolution to 16 channels with stride 2, for inputs of 3 x 64 x 64
    stage i    a 1x1 convolution to 16, 24, 40, 80, 112 channels, with stride 2 but in the first; then 6 blocks
    block b    an inverted residual: `kernel_b` (0: there is no such block), `expansion_b`, `squeeze_b`, `activation_b`
    head       mean over the positions, one linear layer

``values`` is what a search gets for a network. Both metrics are functions of what the network computes, read from its
operations, but for some 16 % of the score's variance among random networks, which no feature tells: it goes with which
blocks follow which.

    ms      over operations: 0.01 ms each, and the larger of its multiply-accumulates at 8 G/s (grouped convolutions at
            1 G/s) and its results at 2 G elements/s; so it is neither additive in the choices nor linear in them
    score   depth, resolution by resolution, with diminishing returns, and the receptive field, likewise
"""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nas.graph import Operation
from nas.spaces import Choice, Choices

if TYPE_CHECKING:
    from torch import nn

CHANNELS, BLOCKS = (16, 24, 40, 80, 112), 6
INPUT = (3, 64, 64)
OUTPUTS = 10
_KERNELS = (0, 3, 5, 7)
_COUNT = len(CHANNELS) * BLOCKS


def _block(number: int) -> list[Choice]:
    return [
        Choice(f"kernel_{number}", _KERNELS, ordered=True),
        Choice(f"expansion_{number}", (1, 2, 3, 4, 6), ordered=True),
        Choice(f"squeeze_{number}", (False, True)),
        Choice(f"activation_{number}", ("relu", "hardswish", "silu")),
    ]


parameters = tuple(parameter for number in range(_COUNT) for parameter in _block(number))


def canonical(choices: Choices) -> Choices:
    """A block that is not there has no other choices: they are given as the first of their lists."""
    result = dict(choices)
    for number in range(_COUNT):
        if choices[f"kernel_{number}"] == 0:
            result |= {other.name: other.values[0] for other in _block(number)[1:]}
    return result


def build(choices: Choices) -> nn.Module:
    from torch import nn

    from nas.spaces._blocks import ACTIVATIONS, convolution, inverted_residual

    layers: list[nn.Module] = [*convolution(INPUT[0], CHANNELS[0], 3, stride=2), nn.ReLU()]
    before = CHANNELS[0]
    for stage, channels in enumerate(CHANNELS):
        layers += [*convolution(before, channels, 1, stride=2 if stage else 1), nn.ReLU()]
        before = channels
        for number in range(stage * BLOCKS, (stage + 1) * BLOCKS):
            if choices[f"kernel_{number}"]:
                layers.append(
                    inverted_residual(
                        channels,
                        channels,
                        kernel=int(choices[f"kernel_{number}"]),
                        expansion=int(choices[f"expansion_{number}"]),
                        stride=1,
                        activation=ACTIVATIONS[str(choices[f"activation_{number}"])],
                        squeeze=bool(choices[f"squeeze_{number}"]),
                    )
                )
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, OUTPUTS))


def values(choices: Choices) -> dict[str, float]:
    from nas.networks import operations_of

    operations = operations_of(space, choices, INPUT, OUTPUTS)
    return {"score": _score(choices, operations), "ms": _ms(operations)}


def _ms(operations: Sequence[Operation]) -> float:
    total = 0.0
    for operation in operations:
        rate = 1e6 if operation.kind.endswith("grouped") else 8e6  # multiply-accumulates a ms
        total += 0.01 + max(operation.macs / rate, operation.elements / 2e6)
    return total


def _score(choices: Choices, operations: Sequence[Operation]) -> float:
    """About 0.5 to 0.95."""
    macs: dict[int, float] = {}
    for operation in operations:
        if operation.positions:
            macs[operation.positions] = macs.get(operation.positions, 0.0) + operation.macs
    capacity = sum(1 - np.exp(-value / 4e6) for value in macs.values()) / (len(CHANNELS) + 1)
    kernels = [int(choices[f"kernel_{number}"]) for number in range(_COUNT)]
    field = sum(max(kernel - 1, 0) * 2 ** (number // BLOCKS + 1) for number, kernel in enumerate(kernels))
    of_pairs = _pairs()
    of_order = sum(
        of_pairs[at, _KERNELS.index(one), _KERNELS.index(next_one)]
        for at, (one, next_one) in enumerate(itertools.pairwise(kernels))
    )
    return float(0.5 + 0.3 * capacity + 0.1 * (1 - np.exp(-field / 400)) + 0.006 * of_order / np.sqrt(_COUNT))


@functools.cache
def _pairs() -> npt.NDArray[np.float64]:
    """What block b + 1 adds after block b, by the kernels of both: fixed random numbers."""
    return np.random.default_rng(120).standard_normal((_COUNT - 1, len(_KERNELS), len(_KERNELS)))


space = sys.modules[__name__]
