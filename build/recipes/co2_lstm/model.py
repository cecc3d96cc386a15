"""An LSTM that foretells how a series goes on from its last value."""

from __future__ import annotations

from torch import Tensor, nn


class ForecastLSTM(nn.Module):
    """Values [N, T, 1] to the next ones [N, horizon]; the window is scaled by itself, so no level is learnt."""

    def __init__(self, width: int, horizon: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.lstm = nn.LSTM(1, width, num_layers=2, batch_first=True)
        self.head = nn.Linear(width, horizon)

    def forward(self, series: Tensor) -> Tensor:
        """Return the next values, in the unit of the series."""
        last = series[:, -1:, :]
        states, _ = self.lstm((series - last) / self.scale)
        return last[:, :, 0] + self.scale * self.head(states[:, -1])


def forecast_lstm(width: int = 48, horizon: int = 4, scale: float = 3.0) -> nn.Module:
    """Return the untrained network; ``scale`` is about the yearly swing."""
    return ForecastLSTM(width, horizon, scale)
