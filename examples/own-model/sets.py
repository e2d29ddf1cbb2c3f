"""Vibrations of a bearing, made up: noise, a hum, and in half of them a knock that comes back."""

import numpy as np

from nas.data import Dataset


def bearings(rows=1500, length=256, noise=0.5):
    random = np.random.default_rng(0)  # the same arrays each time: every training job calls this
    knocks = random.integers(0, 2, rows)
    time = np.arange(length)
    hum = np.sin(2 * np.pi * (time * random.uniform(0.01, 0.05, (rows, 1)) + random.uniform(0, 1, (rows, 1))))
    since = (time + random.integers(0, 64, (rows, 1))) % 64  # samples since the last knock
    ringing = 3 * np.exp(-since / 12) * np.cos(2 * np.pi * since / 5)
    x = hum + knocks[:, None] * ringing + random.normal(0, noise, (rows, length))
    x, y = x.astype(np.float32)[:, None, :], knocks.astype(np.int64)
    train, val, test = np.split(np.arange(rows), [rows * 6 // 10, rows * 8 // 10])
    return Dataset(
        x_train=x[train], y_train=y[train],
        x_val=x[val], y_val=y[val],
        x_test=x[test], y_test=y[test],
        task="classification",
        outputs=2,
    )  # fmt: skip
