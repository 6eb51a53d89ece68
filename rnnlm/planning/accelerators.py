"""Accelerators by name, with the figures of their vendors' data sheets, without sparsity."""

from dataclasses import dataclass

from rnnlm.errors import UserError


@dataclass(frozen=True)
class Accelerator:
    """Hold the peaks of one device: FLOP/s, bytes/s and bytes.

    `fp32` is the peak of what jax computes for float32 products unless told otherwise: TensorFloat-32 on these GPUs,
    bfloat16 on TPUs (docs.jax.dev, "Matmul precision"). `link` is the bandwidth of a device in one direction to the
    `node` devices of its node or slice; `network` is that of a node to others, which a ring through all devices shares.
    `time_step` is an assumption: the seconds that one time step of one layer takes in one pass, beside its arithmetic
    and memory traffic.
    """

    name: str
    bf16: float
    fp32: float
    memory: float
    bandwidth: float
    link: float
    node: int
    network: float
    time_step: float

    def link_of(self, devices: int) -> float:
        """Return the bandwidth of the slowest link of a ring through so many devices."""
        return self.link if devices <= self.node else min(self.link, self.network)


# About five kernels run in a time step (a product, the gates, what the scan stores), each of about 4 microseconds with
# its launch. An empty step of a scan has been seen to take 8 (github.com/QuantEcon/lecture-python-programming, #437).
GPU_STEP = 20e-6
# A TPU runs the whole loop as one program.
TPU_STEP = 5e-6
# Eight adapters a node, of 400 Gb/s in NVIDIA's DGX H100 and H200, of 200 Gb/s in its DGX A100.
NDR, HDR = 8 * 50e9, 8 * 25e9

TABLE = (
    # NVIDIA H100 Tensor Core GPU data sheet, SXM5: 1,979 and 989 TFLOP/s with sparsity, which is twice the dense rate;
    # 80 GB, 3.35 TB/s, NVLink 900 GB/s in both directions together.
    Accelerator("H100", 989.5e12, 494.5e12, 80e9, 3.35e12, 450e9, 8, NDR, GPU_STEP),
    # NVIDIA H200 Tensor Core GPU data sheet, SXM: the peaks and links of the H100; 141 GB, 4.8 TB/s.
    Accelerator("H200", 989.5e12, 494.5e12, 141e9, 4.8e12, 450e9, 8, NDR, GPU_STEP),
    # NVIDIA A100 Tensor Core GPU data sheet, 80 GB SXM: 312 and 156 TFLOP/s, 2,039 GB/s, NVLink 600 GB/s.
    Accelerator("A100", 312e12, 156e12, 80e9, 2.039e12, 300e9, 8, HDR, GPU_STEP),
    # cloud.google.com/tpu/docs/v5e: 197 TFLOP/s, 16 GB, 819 GB/s, ICI 400 GB/s in both directions, slices up to 256.
    Accelerator("TPUv5e", 197e12, 197e12, 16e9, 0.819e12, 200e9, 256, 200e9, TPU_STEP),
    # cloud.google.com/tpu/docs/v5p: 459 TFLOP/s, 95 GiB, 2,765 GB/s, ICI 1,200 GB/s in both directions, slices up to
    # 6,144 chips.
    Accelerator("TPUv5p", 459e12, 459e12, 102e9, 2.765e12, 600e9, 6144, 600e9, TPU_STEP),
)
ACCELERATORS = {accelerator.name: accelerator for accelerator in TABLE}


def find(name: str) -> Accelerator:
    """Return an accelerator by its name, whatever its case. Raises UserError that names the known ones."""
    known = {key.lower(): accelerator for key, accelerator in ACCELERATORS.items()}
    plain = name.lower().replace(" ", "").replace("-", "").replace("_", "")
    if plain not in known:
        raise UserError(f"There is no accelerator {name!r} here: the known ones are {', '.join(ACCELERATORS)}.")
    return known[plain]
