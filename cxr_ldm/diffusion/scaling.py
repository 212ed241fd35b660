"""What the network's output F means, and how the estimate of x_0 is read from it.

Each estimate is affine in F; `gain` is its slope, by which an error of F becomes an error of x_0.
"""

from torch import Tensor


class Epsilon:
    """F predicts the noise (Ho et al. 2020, eq. 14)."""

    def target(self, x0: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        return noise

    def to_data(self, output: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """x_0 = (x_t - sigma F) / alpha; alpha must be above 0, which a zero terminal SNR would break."""
        return (x_t - sigma * output) / alpha

    def gain(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """|∂x_0 / ∂F|."""
        return sigma / alpha


class VPrediction:
    """F predicts v = alpha noise - sigma x_0 (Salimans & Ho 2022, section 4)."""

    def target(self, x0: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        return alpha * noise - sigma * x0

    def to_data(self, output: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """x_0 = (alpha x_t - sigma F) / (alpha² + sigma²); the divisor is 1 where variance is preserved."""
        return (alpha * x_t - sigma * output) / (alpha.square() + sigma.square())

    def gain(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """|∂x_0 / ∂F|."""
        return sigma / (alpha.square() + sigma.square())


class Velocity:
    """F predicts the direction from data to noise, noise - x_0 (Liu et al. 2023, eq. 1)."""

    def target(self, x0: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        return noise - x0

    def to_data(self, output: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """From x_t = alpha x_0 + sigma (F + x_0): x_0 = (x_t - sigma F) / (alpha + sigma)."""
        return (x_t - sigma * output) / (alpha + sigma)

    def gain(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """|∂x_0 / ∂F|."""
        return sigma / (alpha + sigma)
