"""How well is a network's latency predicted from a few measured ones? On every device of the table of NAS-Bench-201."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

from benchmarks.exact import cells
from nas.cost_models import Network
from nas.networks import operations_of
from nas.predict import COVERAGE, Prediction, Predictor
from nas.spaces import find_space

SAMPLE = 250  # networks of the table, the same for all devices
MEASURED = (10, 50)
SEEDS = 3  # which of them are measured
WANTED = {10: 0.92, 50: 0.94}  # mean Spearman
SHAPE, CLASSES = (3, 32, 32), 10

Array = npt.NDArray[np.float64]


def take() -> list[str]:
    table, parameters = cells()
    rows = np.sort(np.random.default_rng(0).choice(len(table), SAMPLE, replace=False))
    names = [parameter["name"] for parameter in parameters]
    space = find_space("nb201")
    chosen = table.loc[rows, names].to_dict("records")
    networks = [Network.of(operations_of(space, {str(k): v for k, v in c.items()}, SHAPE, CLASSES)) for c in chosen]
    devices = [str(name) for name in table.columns if str(name).startswith("lat_")]
    found = {
        device: [_judged(networks, table.loc[rows, device].to_numpy(float), n) for n in MEASURED] for device in devices
    }
    means = [np.mean([each[place] for each in found.values()], axis=0) for place in range(len(MEASURED))]
    columns = " | ".join(f"Spearman, {n} | within 10 % | interval holds | its width | given" for n in MEASURED)
    return [
        "# Predicted latencies",
        "",
        "`python -m benchmarks.bench predict`: latencies of NAS-Bench-201 networks on the settings of devices in",
        f"`benchmarks/tables`, predicted by `nas/predict.py` from {' and '.join(map(str, MEASURED))} measured ones.",
        f"{SAMPLE} networks were drawn, the same for all devices; {SEEDS} draws. Judged are the",
        f"{SAMPLE - max(MEASURED)} that are measured in neither case.",
        f"Interval: of {100 * COVERAGE:.0f} %; its width is upper end / lower end, the median. Given: the share of",
        "networks that got a value; the others were called too far from what was measured, and are not judged.",
        "",
        *(
            f"Mean Spearman over the devices after {n} measurements: **{mean[0]:.3f}** (wanted: {WANTED[n]})."
            for n, mean in zip(MEASURED, means, strict=True)
        ),
        "",
        f"| device | {columns} |",
        "|---|" + "---|" * 5 * len(MEASURED),
        *(f"| {device.removeprefix('lat_')} | {_cells(each)} |" for device, each in found.items()),
        f"| **mean** | {_cells(means)} |",
    ]


def _judged(networks: list[Network], values: Array, n: int) -> Array:
    """(5,): Spearman, share within 10 %, share inside the interval, its width, share that got a value."""
    rows = []
    for seed in range(SEEDS):
        order = np.random.default_rng(seed).permutation(len(networks))
        known, others = order[:n], order[max(MEASURED) :]
        predictor = Predictor([networks[row] for row in known], values[known].tolist())
        predicted = predictor.predict([networks[row] for row in others])
        rows.append(_scores(predicted, values[others]))
    mean: Array = np.mean(rows, axis=0)
    return mean


def _scores(predicted: list[Prediction], truth: Array) -> list[float]:
    pairs = [(p.value, p.low, p.high, t) for p, t in zip(predicted, truth, strict=True) if p.value is not None]
    value, low, high, true = np.array(pairs, float).T
    return [
        float(spearmanr(value, true).statistic),
        float((np.abs(value / true - 1) <= 0.1).mean()),
        float(((low <= true) & (true <= high)).mean()),
        float(np.median(high / low)),
        len(pairs) / len(predicted),
    ]


def _cells(scores: list[Array]) -> str:
    return " | ".join(
        f"{rank:.3f} | {near:.2f} | {held:.2f} | {wide:.2f} | {given:.2f}" for rank, near, held, wide, given in scores
    )
