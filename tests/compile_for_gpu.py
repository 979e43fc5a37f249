"""Compiles every Triton kernel for an H100, as it is launched at a realistic size; needs Triton, and no GPU.

    python tests/compile_for_gpu.py

`test_kernels_triton` runs it in a process of its own, in which Triton is not told to interpret.
"""

from typing import Any

from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile

from semascope.kernels import triton_loops, triton_select

H100 = GPUTarget("cuda", 90, 32)
SUMS = "*i64 *i64 *i64 *fp32 *fp32 *i64 *fp32 *i64 *fp32 *i64 *fp32 *fp32 i32 i32"
MOMENTS = {"BETA1": 0.9, "BETA2": 0.999, "LOG_BETA1": -0.105, "LOG_BETA2": -0.001, "EPSILON": 1e-8}
ADAM = "*i64 *fp32 *fp32 *fp32 *fp32 *i32 *fp32 i32 i32 fp32 fp32 fp32"

# Each kernel with the types of its arguments and its constants.
CASES: list[tuple[Any, str, dict[str, Any]]] = [
    *(
        (triton_loops.weighted_sums, SUMS, {"EXTRA": extra, "DOTS": dots, "ENTRIES": 8, "COLUMNS": 512})
        for extra in (False, True)
        for dots in (False, True)
    ),
    (triton_loops.pair_dots, "*i64 *i64 *fp32 *fp32 *fp32 i32 i32", {"ENTRIES": 32, "COLUMNS": 64}),
    (triton_loops.group_sums, "*i64 *fp32 *fp32", {"ENTRIES": 32}),
    (triton_loops.merge_repeats, "*i64 *i64 *i64 *fp32 i32", {"ENTRIES": 2, "COLUMNS": 1024}),
    (triton_loops.adam, ADAM, {**MOMENTS, "UNIT": True, "ROWS": 1, "COLUMNS": 4096}),
    (triton_loops.adam, ADAM, {**MOMENTS, "UNIT": False, "ROWS": 128, "COLUMNS": 1}),
    *(
        (
            triton_select.keep_largest,
            f"*{pre} *{kind} *{kind} *i32 *i32 *{kind} i32 i32 i32 i32",
            {"BITS": int(kind[2:]), "ROWS": 1, "TILE": 2048, "CAPACITY": 256},
        )
        for pre, kind in (("bf16", "fp32"), ("fp32", "fp32"), ("fp64", "fp64"))
    ),
    (
        triton_select.finish_largest,
        "*fp32 *i64 *i32 *fp32 *i64 i32 i32 i32",
        {"BITS": 32, "ROWS": 16, "CAPACITY": 128},
    ),
    (triton_select.collect_above, "*bf16 *fp32 *fp32 *i64 *i64 *fp32 *i64 i32 i32 i32", {"TILE": 2048}),
]


def main() -> None:
    assert not knobs.runtime.interpret, "TRITON_INTERPRET is set"
    for kernel, types, constants in CASES:
        names = [name for name in kernel.arg_names if name not in constants]
        signature = dict(zip(names, types.split(), strict=True)) | dict.fromkeys(constants, "constexpr")
        compiled = compile(ASTSource(kernel, signature, constants), target=H100, options={"enable_fp_fusion": True})
        print(kernel.__name__, constants, "shared memory:", compiled.metadata.shared, "bytes")


if __name__ == "__main__":
    main()
