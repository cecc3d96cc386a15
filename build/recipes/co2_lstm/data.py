"""Weekly CO2 at Mauna Loa: a year of it to look at, the next four weeks to foretell."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import statsmodels.api as sm

WINDOW = 52
HORIZON = 4
HELD_OUT_FROM = 1996  # the training knows nothing of what comes after
CALIBRATION = 256

Series = npt.NDArray[np.float32]


def split() -> tuple[tuple[Series, Series], tuple[Series, Series]]:
    """Return (training, held-out) pairs of windows [N, 52, 1] and what followed them [N, 4], in ppm.

    A window is held out when what follows it is; no training window or target reaches into the held-out years.
    """
    weekly = sm.datasets.co2.load_pandas().data["co2"].interpolate()
    values = weekly.to_numpy(np.float32)
    years = weekly.index.year.to_numpy()
    starts = np.arange(len(values) - WINDOW - HORIZON + 1)
    windows = np.stack([values[start : start + WINDOW] for start in starts])[..., None]
    targets = np.stack([values[start + WINDOW : start + WINDOW + HORIZON] for start in starts])
    held_out = years[starts + WINDOW] >= HELD_OUT_FROM
    train = years[starts + WINDOW + HORIZON - 1] < HELD_OUT_FROM
    return (windows[train], targets[train]), (windows[held_out], targets[held_out])


def evaluation() -> tuple[dict[str, Series], Series]:
    """Return the held-out windows and what followed them."""
    windows, targets = split()[1]
    return {"series": windows}, targets


def calibration() -> dict[str, Series]:
    """Return training windows for INT8 ranges, from all years alike."""
    windows = split()[0][0]
    return {"series": windows[:: max(1, len(windows) // CALIBRATION)][:CALIBRATION]}
