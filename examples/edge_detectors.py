"""Edges out of photographs: the exercise of Andrew Ng's notes, with the dictionary that they describe.

    python examples/edge_detectors.py --out edge_detectors.png

"Sparse autoencoder" (CS294A lecture notes, 2011) ends with an exercise: learn 25 sigmoid units from 10,000 patches of
natural images, 8 × 8 pixels each, with ρ = 0.01, λ = 1e-4, β = 3 and 400 iterations of L-BFGS, and draw the input that
each unit likes best. The units find edges. This does it with Semascope's `kl` variant and photographs that come out of
a pinned package; it takes less than a minute.

N patches, D pixels of a patch, F units.
"""

from __future__ import annotations

import argparse
import io
import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from semascope.packages import Package, fetch
from semascope.sae import KL, KLConfig, Moment, build

Photograph = NDArray[np.float64]

SCIKIT_IMAGE = Package(
    "scikit-image",
    "0.26.0",
    "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
    tag="cp311-cp311-manylinux_2_28_x86_64",
)
PHOTOGRAPHS = ("astronaut.png", "camera.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")

SIDE = 8
UNITS, PATCHES, ITERATIONS = 25, 10_000, 400
RHO, LAMBDA, BETA = 0.01, 1e-4, 3.0
# Cycles a pixel above which nothing is left: there photographs hold more noise than edges.
FINEST_DETAIL = 0.2
# Whitening takes a photograph for periodic, which its borders are not.
BORDER = 8
# Grey values end within 0.5 ± 0.2. The notes have 0.5 ± 0.4 behind a sigmoid, whose slope there is ¼, so that decoder
# weights are four times those of a linear output such as ours and their decay, against the squared error, sixteen
# times. With half the range it is that of the encoder that is sixteen times as strong: together as much as there.
RANGE = 0.2


def photographs() -> list[Photograph]:
    """Six photographs that scikit-image ships, in grey values from 0 to 1."""
    with zipfile.ZipFile(fetch(SCIKIT_IMAGE)) as wheel:
        files = [io.BytesIO(wheel.read(f"skimage/data/{name}")) for name in PHOTOGRAPHS]
    return [np.asarray(Image.open(file).convert("L"), dtype=np.float64) / 255 for file in files]


def whitened(photograph: Photograph) -> Photograph:
    """All frequencies equally strong, up to the finest detail: the exercise's own images come like this.

    The filter is ``f · exp(−(f / f₀)⁴)``, against a photograph's amplitudes of about 1/f (Olshausen and Field, 1997).
    """
    rows, columns = (np.fft.fftfreq(length) for length in photograph.shape)
    frequencies = np.hypot(rows[:, None], columns)
    response = frequencies * np.exp(-((frequencies / FINEST_DETAIL) ** 4))
    filtered = np.fft.ifft2(np.fft.fft2(photograph) * response).real
    return filtered / filtered.std()


def patches(images: Sequence[Photograph], count: int, *, seed: int = 0) -> Tensor:
    """Square patches [N, D] from random places, as the exercise prepares them.

    Each without its mean, cut off at three standard deviations of them all, and brought into the range around 0.5.
    """
    generator = np.random.default_rng(seed)
    found_ND = np.empty((count, SIDE * SIDE))
    for patch_D in found_ND:
        image = images[generator.integers(len(images))]
        top, left = (generator.integers(BORDER, length - BORDER - SIDE + 1) for length in image.shape)
        patch_D[:] = image[top : top + SIDE, left : left + SIDE].ravel()
    found_ND -= found_ND.mean(axis=1, keepdims=True)
    limit = 3 * found_ND.std()
    return torch.from_numpy(0.5 + RANGE * found_ND.clip(-limit, limit) / limit)


@dataclass(frozen=True)
class Learned:
    """A trained autoencoder and what it came to. ``terms``: the parts of ``cost``, as the notes write them."""

    autoencoder: KL
    cost: float
    terms: dict[str, float]
    mean_activations_F: Tensor
    unexplained: float

    @property
    def filters_FD(self) -> Tensor:
        """The input of norm 1 that each unit likes best: ``x_j = W_ij / √(Σ_j W_ij²)``."""
        return torch.nn.functional.normalize(self.autoencoder.W_enc_FD.detach())


def learn(x_ND: Tensor, *, units: int = UNITS, iterations: int = ITERATIONS, seed: int = 0) -> Learned:
    """Minimise ``½ ‖x − x̂‖² + λ/2 ‖W‖² + β Σ KL(ρ ‖ ρ̂)``, the mean over all patches at once, with L-BFGS."""
    # The variant has ‖x − x̂‖² where the notes have half of it, so the other terms count twice; and it divides all of
    # them by the variance, which is multiplied back below.
    config = KLConfig(
        l0=None, rho=RHO, cutoff=0.0, coefficient=2 * BETA, weight_decay=2 * LAMBDA, auxiliary_coefficient=0.0
    )
    autoencoder = build(config, width=x_ND.shape[1], features=units).double()
    assert isinstance(autoencoder, KL)
    autoencoder.initialize(x_ND, x_ND, torch.Generator().manual_seed(seed))
    variance = (x_ND - x_ND.mean(dim=0)).square().sum(dim=1).mean()
    optimizer = torch.optim.LBFGS(
        autoencoder.parameters(),
        max_iter=iterations,
        max_eval=2 * iterations,
        tolerance_grad=1e-9,
        tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )

    def cost() -> Tensor:
        optimizer.zero_grad()
        total = 0.5 * variance * autoencoder.loss(x_ND, Moment()).total
        total.backward()
        return total

    optimizer.step(cost)  # pyright: ignore[reportArgumentType]
    losses = autoencoder.loss(x_ND, Moment())
    codes = losses.codes
    sums_F = x_ND.new_zeros(units).index_add_(0, codes.feature_ids, codes.values)
    return Learned(
        autoencoder,
        cost=(0.5 * variance * losses.total).item(),
        terms={name: (0.5 * variance * term).item() for name, term in losses.terms.items()},
        mean_activations_F=sums_F / len(x_ND),
        unexplained=(losses.squared_error / len(x_ND) / variance).item(),
    )


def draw(filters_FD: Tensor, file: Path) -> None:
    """The filters as small pictures side by side, each in its own range of greys."""
    across = math.ceil(math.sqrt(len(filters_FD)))
    figure = Figure(figsize=(4, 4), layout="constrained")
    panels = figure.subplots(math.ceil(len(filters_FD) / across), across, squeeze=False).ravel()
    for panel in panels:
        panel.axis("off")
    for panel, filter_D in zip(panels, filters_FD, strict=False):
        strongest = filter_D.abs().max().item()
        panel.imshow(filter_D.view(SIDE, SIDE).numpy(), cmap="gray", vmin=-strongest, vmax=strongest)
    figure.savefig(file, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("edge_detectors.png"))
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    x_ND = patches([whitened(photograph) for photograph in photographs()], PATCHES, seed=options.seed)
    print(f"{len(x_ND):,} patches of {SIDE} × {SIDE} pixels out of {len(PHOTOGRAPHS)} photographs")
    learned = learn(x_ND, seed=options.seed)
    terms = ", ".join(f"{name} {value:.4f}" for name, value in learned.terms.items())
    lowest, highest = learned.mean_activations_F.aminmax()
    print(f"cost {learned.cost:.4f}: {terms}")
    print(f"mean activations {lowest:.4f} to {highest:.4f}, asked for {RHO}")
    print(f"reconstruction error {learned.unexplained:.3f} of the variance")
    draw(learned.filters_FD, options.out)
    print(f"{UNITS} units drawn in {options.out}")


if __name__ == "__main__":
    main()
