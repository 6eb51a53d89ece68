"""Fit a power law, with the confidence band that the scatter of its points allows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

LAW_POINTS = 4
"""Different x without which no law is fitted."""
CONFIDENCE = 0.95


@dataclass(frozen=True)
class PowerLaw:
    """Hold y = scale * x ^ -exponent, fitted by least squares of the logarithms, and how sure it is.

    `half_interval` is half the 95 % confidence interval of the exponent. It and the band take the points for
    independent, with errors of log y that are normal and of one variance.
    """

    scale: float
    exponent: float
    half_interval: float
    _deviation: float  # standard deviation of log y around the law, times Student's t
    _points: int
    _mean: float  # of log x
    _spread: float  # sum of the squared deviations of log x from its mean

    def __call__(self, x: ArrayLike) -> NDArray[np.float64]:
        """Return y at x."""
        return self.scale * np.asarray(x, np.float64) ** -self.exponent

    def band(self, x: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the ends of the 95 % confidence interval of the law at x, point by point."""
        distance = (np.log(x) - self._mean) ** 2 / self._spread
        factor = np.exp(self._deviation * np.sqrt(1 / self._points + distance))
        return self(x) / factor, self(x) * factor


def fit_power_law(x: Sequence[float], y: Sequence[float]) -> PowerLaw | None:
    """Fit a power law; None if fewer than LAW_POINTS x differ."""
    if len(set(x)) < LAW_POINTS:
        return None
    from scipy import stats

    log_x, log_y = np.log(x), np.log(y)
    slope, intercept = np.polyfit(log_x, log_y, 1)
    freedom = len(x) - 2
    residuals = log_y - (intercept + slope * log_x)
    student = stats.t.ppf((1 + CONFIDENCE) / 2, freedom)
    deviation = float(student * math.sqrt(np.sum(residuals**2) / freedom))
    mean, spread = float(log_x.mean()), float(np.sum((log_x - log_x.mean()) ** 2))
    return PowerLaw(math.exp(intercept), -float(slope), deviation / math.sqrt(spread), deviation, len(x), mean, spread)
