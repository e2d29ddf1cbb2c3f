"""A Gaussian process over networks: their choices and their features, one metric a model.

The covariance of two networks is a sum, so that the data say which part matters:

    a radial kernel on choices, a length scale each; for unordered choices a Hamming kernel
    a radial kernel on features, one length scale for all: a scale each was worse below 40 observations
    a linear kernel on features: what grows with each operation, as latency and energy do
    a linear kernel on what other devices or earlier studies lead to expect, where there are some (``nas.warm_start``)

Log-normal priors keep it sane while there are more features than observations. Length scales are expected to grow
with the root of the number of dimensions, as distances do (Hvarfner et al. 2024, arXiv:2402.02229); the prior of the
noise is BoTorch's.
"""

from __future__ import annotations

import math
import warnings

import numpy as np
import numpy.typing as npt
import torch
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from gpytorch.constraints import GreaterThan
from gpytorch.kernels import Kernel
from gpytorch.mlls import ExactMarginalLogLikelihood
from gpytorch.priors import LogNormalPrior

Array = npt.NDArray[np.float64]
_ITERATIONS = 50


class NetworkKernel(Kernel):
    """Inputs (n, choice columns + features + transferred columns). ``owner``: for each choice column, which choice it
    belongs to."""

    def __init__(self, owner: list[int], features: int, transferred: int = 0) -> None:
        super().__init__()
        self.owner = torch.tensor(owner, dtype=torch.long)
        self.columns = len(owner)
        self.n_features, self.transferred = features, transferred
        choices = max(owner, default=-1) + 1
        if choices:
            self._positive("choice_scale", choices, math.log(choices) / 2)
            self._positive("choice_variance", 1, -1.0)
        if features:
            self._positive("feature_scale", 1, math.log(features) / 2)
            self._positive("feature_variance", 1, -1.0)
            self._positive("linear_variance", 1, -1.0)
        if transferred:  # expected to tell as much as all of the metric's spread
            self._positive("transfer_variance", 1, 0.0)

    def _positive(self, name: str, size: int, log_median: float) -> None:
        """A positive parameter whose prior is log-normal with a spread of one unit of the logarithm."""
        start = math.exp(log_median)
        self.register_parameter(name, torch.nn.Parameter(torch.full((size,), start, dtype=torch.float64)))
        self.register_constraint(name, GreaterThan(1e-4, transform=None, initial_value=start))
        self.register_prior(f"{name}_prior", LogNormalPrior(log_median, 1.0), name)

    def forward(self, x1: torch.Tensor, x2: torch.Tensor, diag: bool = False, **params: object) -> torch.Tensor:
        columns = self.columns
        total = torch.zeros((), dtype=x1.dtype)
        if columns:
            scale = self.choice_scale[self.owner]
            total = total + self.choice_variance * _radial(x1[..., :columns] / scale, x2[..., :columns] / scale, diag)
        if self.n_features:
            end = columns + self.n_features
            f1, f2 = x1[..., columns:end], x2[..., columns:end]
            total = total + self.feature_variance * _radial(f1 / self.feature_scale, f2 / self.feature_scale, diag)
            total = total + self.linear_variance * _linear(f1, f2, diag) / self.n_features
        if self.transferred:
            t1, t2 = x1[..., -self.transferred :], x2[..., -self.transferred :]
            total = total + self.transfer_variance * _linear(t1, t2, diag) / self.transferred
        return total


def _linear(x1: torch.Tensor, x2: torch.Tensor, diag: bool) -> torch.Tensor:
    return (x1 * x2).sum(-1) if diag else x1 @ x2.transpose(-1, -2)


def _radial(x1: torch.Tensor, x2: torch.Tensor, diag: bool) -> torch.Tensor:
    if diag:
        return torch.exp(-0.5 * (x1 - x2).square().sum(-1))
    squared = x1.square().sum(-1, keepdim=True) + x2.square().sum(-1).unsqueeze(-2) - 2 * x1 @ x2.transpose(-1, -2)
    return torch.exp(-0.5 * squared.clamp_min(0.0))


class Surrogate:
    """Fitted to ``x`` (n, columns) and ``y`` (n,), in units of its own: y is centred and scaled within.

    ``variances`` (n,): those of the measurements, or ``None``: learnt.
    """

    def __init__(
        self, x: Array, y: Array, variances: Array | None, owner: list[int], features: int, transferred: int = 0
    ) -> None:
        self._owner, self._features, self._transferred = owner, features, transferred
        self._fit(x, y, variances)
        self.condition(x, y, variances)

    def _fit(self, x: Array, y: Array, variances: Array | None) -> None:
        self._centre, self._unit = float(y.mean()), float(y.std()) or 1.0
        targets = torch.tensor((y - self._centre) / self._unit).unsqueeze(-1)
        noise = None if variances is None else torch.tensor(variances / self._unit**2).clamp_min(1e-6).unsqueeze(-1)
        kernel = NetworkKernel(self._owner, self._features, self._transferred)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._model = SingleTaskGP(
                torch.tensor(x), targets, noise, covar_module=kernel, outcome_transform=None, input_transform=None
            )
            mll = ExactMarginalLogLikelihood(self._model.likelihood, self._model)
            # It may stop at _ITERATIONS: an optimum to the last digit is not needed.
            fit_gpytorch_mll(
                mll, optimizer_kwargs={"options": {"maxiter": _ITERATIONS}}, warning_handler=lambda _: True
            )

    def condition(self, x: Array, y: Array, variances: Array | None) -> None:
        """Take these observations instead, with the hyperparameters as they are."""
        with torch.no_grad():
            self._x = torch.tensor(x)
            self._mean = self._model.mean_module.constant
            targets = torch.tensor((y - self._centre) / self._unit) - self._mean
            if variances is None:
                noise = self._model.likelihood.noise.expand(len(x))
            else:
                noise = torch.tensor(variances / self._unit**2).clamp_min(1e-6)
            covariance = self._model.covar_module(self._x).to_dense() + torch.diag(noise)
            self._factor = torch.linalg.cholesky(covariance + 1e-8 * torch.eye(len(x), dtype=torch.float64))
            self._weights = torch.cholesky_solve(targets.unsqueeze(-1), self._factor).squeeze(-1)

    def predict(self, x: Array) -> tuple[Array, Array]:
        """Mean and standard deviation (n,) of the metric without its noise."""
        with torch.no_grad():
            points = torch.tensor(x)
            kernel = self._model.covar_module
            cross = kernel(self._x, points).to_dense()
            mean = self._mean + self._weights @ cross
            explained = torch.linalg.solve_triangular(self._factor, cross, upper=False).square().sum(0)
            prior = kernel(points, diag=True)
            sd = (prior - explained).clamp_min(1e-10).sqrt()
        return (mean * self._unit + self._centre).numpy(), (sd * self._unit).numpy()
