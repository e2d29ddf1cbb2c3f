"""Networks for signals: convolutions along time, each halving the length, then the mean over time."""

from nas.spaces import Choice, Range


class Signals:
    parameters = (
        Choice("width", (4, 8, 16), ordered=True),
        Choice("kernel", (3, 5, 9), ordered=True),
        Range("depth", 1, 4, integer=True),
        Range("learning_rate", 3e-3, 3e-2, log=True),  # for the training, not for the network
    )

    def build(self, choices, *, input_shape, outputs):
        from torch import nn

        layers, inputs = [], input_shape[0]
        for _ in range(choices["depth"]):
            kernel = choices["kernel"]
            convolution = nn.Conv1d(inputs, choices["width"], kernel, stride=2, padding=kernel // 2)
            layers += [convolution, nn.BatchNorm1d(choices["width"]), nn.ReLU()]
            inputs = choices["width"]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(inputs, outputs))
