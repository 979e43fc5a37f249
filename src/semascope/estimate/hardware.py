"""What computers can do: published figures of common GPUs, and the shares of them that are taken for granted.

The peaks are those of NVIDIA's data sheets (dense, without sparsity; links in one direction, half of what the sheets
add up). Nothing here was measured. What is reached of the peaks is assumed: three quarters of a matrix product's, nine
tenths of the memory's bandwidth, and half for a language model's forward pass; the cache gives rows that many use 1.8
times as fast as memory gives them. On an H100 these make 740 TFLOP/s, 3.0 and 5.5 TB/s, the numbers behind the table in
docs/ARCHITECTURE.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from semascope.errors import ConfigError

PRODUCT_SHARE, MEMORY_SHARE, MODEL_SHARE, CACHE_FACTOR, LINK_SHARE = 0.75, 0.9, 0.5, 1.8, 0.8
# The start of the kernels of one block of a model, which a small model waits for, in seconds.
BLOCK_LAUNCH = 1e-4
# Between machines: one port of 400 Gbit/s for each GPU. A disk, or a share of one: what a fast SSD writes.
NETWORK = 50e9
DISK = 1e9
GPUS_PER_MACHINE = 8


@dataclass(frozen=True, slots=True)
class Hardware:
    """How fast one process computes and how much memory it has: what is reached, not the peaks.

    ``memory``: bytes for one process. Operations a second: ``products`` of the encoder's product in training, ``full``
    of a float32 product, ``model`` of a language model's forward pass. Bytes a second: ``streamed`` of arrays that are
    read or written once, ``gathered`` of rows that many entries of the codes use, ``searched`` of pre-activations,
    ``link`` between processes of one machine, ``network`` between machines, ``disk``. ``launch``: seconds that a block
    of a model costs however little it has to do. ``step_factor``: how much longer a training step takes than its parts.
    ``start``: seconds until a command begins to work. ``processes``: how many share one machine; ``on_gpu``: whether
    each has a GPU.
    """

    name: str
    memory: float
    products: float
    full: float
    model: float
    streamed: float
    gathered: float
    searched: float
    link: float
    network: float = NETWORK
    disk: float = DISK
    launch: float = 0.0
    step_factor: float = 1.0
    start: float = 15.0
    processes: int = GPUS_PER_MACHINE
    on_gpu: bool = True
    measured: bool = False


@dataclass(frozen=True, slots=True)
class Sheet:
    """A data sheet: TFLOP/s of bfloat16, TF32 and float32; gigabytes; GB/s of memory and of a link in one direction."""

    bfloat16: float
    tf32: float
    float32: float
    memory: float
    bandwidth: float
    link: float

    def hardware(self, name: str) -> Hardware:
        """What is reached of it. PyTorch multiplies float32 without TF32 unless it is told to."""
        streamed = self.bandwidth * 1e9 * MEMORY_SHARE
        return Hardware(
            name=name,
            memory=self.memory * 1e9,
            products=self.bfloat16 * 1e12 * PRODUCT_SHARE,
            full=self.float32 * 1e12 * PRODUCT_SHARE,
            model=self.bfloat16 * 1e12 * MODEL_SHARE,
            streamed=streamed,
            gathered=streamed * CACHE_FACTOR,
            searched=streamed * CACHE_FACTOR,
            link=self.link * 1e9 * LINK_SHARE,
            network=NETWORK * LINK_SHARE,
            launch=BLOCK_LAUNCH,
        )


# NVIDIA's data sheets of A100 (2021), H100 and H200 (SXM), L4, L40S, and the white papers of GA102 and AD102. Where
# there is no NVLink the link is PCIe 4.0 with 16 lanes.
SHEETS: dict[str, Sheet] = {
    "h200": Sheet(989.4, 494.7, 66.9, 141, 4800, 450),
    "h100": Sheet(989.4, 494.7, 66.9, 80, 3350, 450),
    "a100-80g": Sheet(312, 156, 19.5, 80, 2039, 300),
    "a100-40g": Sheet(312, 156, 19.5, 40, 1555, 300),
    "l40s": Sheet(362, 183, 91.6, 48, 864, 32),
    "l4": Sheet(121, 60, 30.3, 24, 300, 32),
    "rtx4090": Sheet(165.2, 82.6, 82.6, 24, 1008, 32),
    "rtx3090": Sheet(71, 35.6, 35.6, 24, 936, 32),
}

HERE = "here"


def known_gpu(name: str) -> Hardware:
    """A GPU by its name. Raises ConfigError for one that is not in the table."""
    sheet = SHEETS.get(name.lower().replace("_", "-"))
    if sheet is None:
        raise ConfigError(
            f"there are no figures for the hardware '{name}': choose '{HERE}' (this machine, measured) or one of "
            f"{', '.join(SHEETS)}"
        )
    return sheet.hardware(name.lower())
