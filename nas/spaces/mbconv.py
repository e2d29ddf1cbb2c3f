"""``mbconv``: MobileNetV3- and EfficientNet-style networks for any input shape (C, H, W).

    stem     3x3 convolution to 16 channels, with stride `stem_stride`
    stage i  `depth_i` inverted-residual blocks of `width_i` x 16, 24, 40, 80 channels, rounded to multiples of 8;
             stages 2 to 4 halve the resolution; depth 0 leaves a stage out, its stride included
    head     mean over the positions, one linear layer

A block: 1x1 to `expansion_i` x its input (left out where that is 1), depthwise `kernel_i` x `kernel_i`,
squeeze-and-excitation where `squeeze_i`, 1x1 back; each convolution with BatchNorm, which the export folds;
`activation` after the first two; a shortcut where input and output have one shape. Howard et al. 2019,
arXiv:1905.02244; Tan and Le 2019, arXiv:1905.11946. Not theirs: the wide 1x1 convolution before the classifier.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nas.spaces import Choice, Choices, Value

if TYPE_CHECKING:
    from torch import nn

STEM = 16
CHANNELS = (16, 24, 40, 80)  # of a stage at width 1
WIDTHS = (0.5, 0.75, 1.0, 1.5)


def _stage(number: int) -> list[Choice]:
    return [
        Choice(f"depth_{number}", (1, 2, 3, 4) if number == 1 else (0, 1, 2, 3, 4), ordered=True),
        Choice(f"kernel_{number}", (3, 5, 7), ordered=True),
        Choice(f"expansion_{number}", (1, 3, 4, 6), ordered=True),
        Choice(f"width_{number}", WIDTHS, ordered=True),
        Choice(f"squeeze_{number}", (False, True)),
    ]


parameters = (
    Choice("stem_stride", (1, 2), ordered=True),
    Choice("activation", ("relu", "hardswish", "silu")),
    *(parameter for number in range(1, len(CHANNELS) + 1) for parameter in _stage(number)),
)


def canonical(choices: Choices) -> Choices:
    """A stage of depth 0 has no other choices: they are given as the first of their lists. A width is given as the
    first of its list with as many channels.
    """
    result = dict(choices)
    for number in range(1, len(CHANNELS) + 1):
        width = f"width_{number}"
        channels = _channels(number, choices[width])
        result[width] = next(other for other in WIDTHS if _channels(number, other) == channels)
        if choices[f"depth_{number}"] == 0:
            result |= {other.name: other.values[0] for other in _stage(number)[1:]}
    return result


def _channels(number: int, width: Value) -> int:
    """Of stage ``number``, which counts from 1."""
    return max(8, round(CHANNELS[number - 1] * float(width) / 8) * 8)


def build(choices: Choices, *, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """Input (N, C, H, W) float32, output (N, ``outputs``): logits, or targets of a regression.

    Raises ValueError on an input that is not (C, H, W).
    """
    from torch import nn

    from nas.spaces._blocks import ACTIVATIONS, convolution, inverted_residual

    if len(input_shape) != 3:
        raise ValueError(f"mbconv takes inputs (channels, height, width), given {input_shape}")
    activation = ACTIVATIONS[str(choices["activation"])]
    layers: list[nn.Module] = [*convolution(input_shape[0], STEM, 3, stride=int(choices["stem_stride"])), activation()]
    channels = STEM
    for number in range(1, len(CHANNELS) + 1):
        wide = _channels(number, choices[f"width_{number}"])
        for block in range(int(choices[f"depth_{number}"])):
            layers.append(
                inverted_residual(
                    channels,
                    wide,
                    kernel=int(choices[f"kernel_{number}"]),
                    expansion=int(choices[f"expansion_{number}"]),
                    stride=2 if block == 0 and number > 1 else 1,
                    activation=activation,
                    squeeze=bool(choices[f"squeeze_{number}"]),
                )
            )
            channels = wide
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, outputs))
