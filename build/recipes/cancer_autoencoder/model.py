"""An autoencoder whose reconstruction error is an anomaly score."""

from __future__ import annotations

from torch import Tensor, nn

FEATURES = 30


class ScoringAutoencoder(nn.Module):
    """Raw measurements [N, 30] to scaled ones [N, 30], their reconstruction [N, 30] and a score [N, 1]."""

    def __init__(self, width: int, code: int) -> None:
        super().__init__()
        self.scale = nn.BatchNorm1d(FEATURES, momentum=None, affine=False)
        self.encoder = nn.Sequential(nn.Linear(FEATURES, width), nn.ReLU(), nn.Linear(width, code))
        self.decoder = nn.Sequential(nn.Linear(code, width), nn.ReLU(), nn.Linear(width, FEATURES))

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Return the reconstruction, in standard deviations, and its mean square error as the score."""
        scaled = self.scale(features)
        reconstruction = self.decoder(self.encoder(scaled))
        score = (reconstruction - scaled).square().mean(dim=1, keepdim=True)
        return {"reconstruction": reconstruction, "score": score}


def scoring_autoencoder(width: int = 256, code: int = 6) -> nn.Module:
    """Return the untrained network."""
    return ScoringAutoencoder(width, code)
