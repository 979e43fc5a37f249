"""What an estimate says of five small trainings, and what they take; prints a line of JSON a case, then a table.

    python benchmarks/estimate.py --model smollm2-135m --out estimate.json

Each case is measured and estimated in one process, and trained and evaluated in another, on a text of made-up words.
Memory is the peak of that process's resident memory. Times are those of a clock, or with ``--processor-time`` those for
which the processes had a processor: what one thread takes on a machine that nobody else uses, for machines that others
use too. ``error`` is estimated / taken − 1. ``start`` is taken from a training that is nearly nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import semascope  # noqa: F401  # before PyTorch, as the command has it: it says how OpenMP's threads wait

# isort: split
from semascope.config import EvaluationConfig, ModelConfig, RunConfig
from semascope.estimate import estimate, measure_here
from semascope.models.skeleton import Skeleton
from semascope.runs import Run
from semascope.sae import MATRYOSHKA_PREFIXES
from semascope.text import CorpusConfig

# Layer, variant, features, tokens, batch, and whether activations are kept.
CASES: dict[str, tuple[int, dict[str, Any], int, int, int, bool]] = {
    "topk": (4, {"variant": "topk"}, 8_192, 12_288, 1024, False),
    "topk, wide, kept": (0, {"variant": "topk"}, 65_536, 5_120, 1024, True),
    "batchtopk, deep": (12, {"variant": "batchtopk", "prefixes": MATRYOSHKA_PREFIXES}, 4_096, 8_192, 1024, False),
    "jumprelu": (2, {"variant": "jumprelu"}, 8_192, 8_192, 512, False),
    "gated": (1, {"variant": "gated"}, 16_384, 8_192, 2048, True),
}
NOTHING = (0, {"variant": "topk", "k": 4}, 64, 1024, 256, False)


def settings(model: str, text: Path, case: tuple[int, dict[str, Any], int, int, int, bool]) -> RunConfig:
    """Of a case."""
    layer, variant, features, tokens, batch, kept = case
    return RunConfig.model_validate(
        {
            "model": ModelConfig(name=model),
            "site": f"resid_post.{layer}",
            "corpus": CorpusConfig(source=str(text), context_tokens=128),
            "training": {"variant": variant, "features": features, "tokens": tokens, "batch_tokens": batch},
            "keep_activations": kept,
            "evaluation": EvaluationConfig(tokens=1024, ce_tokens=512),
        }
    )


def in_a_process(task: str, config: RunConfig, *more: str) -> tuple[str, float, float, float]:
    """What it prints; seconds by the clock, seconds that it had a processor, and the most bytes that it held."""
    started = time.perf_counter()
    command = [sys.executable, __file__, "--task", task, "--settings", config.model_dump_json(), *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        printed = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"'{task}' failed")
    return printed, time.perf_counter() - started, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024.0


def task(name: str, config: RunConfig, start: float, *, processor_time: bool) -> None:
    """What the other processes do."""
    if name == "estimate":
        clock = time.process_time if processor_time else time.perf_counter
        model = Skeleton.load(config.model.name)
        print(json.dumps(estimate(config, model, measure_here(config, model, start=start, clock=clock)).as_json()))
        return
    with tempfile.TemporaryDirectory() as folder:
        run = Run.begin(folder, config)
        run.train()
        run.evaluate()


def compared(name: str, config: RunConfig, start: float, options: argparse.Namespace) -> dict[str, Any]:
    """One case, estimated and taken."""
    flags = ["--processor-time"] if options.processor_time else []
    said = json.loads(in_a_process("estimate", config, "--start", str(start), *flags)[0])
    _, clock, processor, memory = in_a_process("train", config)
    seconds = processor if options.processor_time else clock
    return {
        "case": name,
        "seconds_estimated": round(said["total_seconds"], 1),
        "seconds_taken": round(seconds, 1),
        "seconds_error": round(said["total_seconds"] / seconds - 1, 3),
        "gb_estimated": round(said["peak_memory"] / 1e9, 2),
        "gb_taken": round(memory / 1e9, 2),
        "gb_error": round(said["peak_memory"] / memory - 1, 3),
        "peak_stage": said["peak_stage"],
        "stages": {stage: round(taken, 1) for stage, taken in said["seconds"].items()},
        "step_factor": said["step_factor"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--case", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--processor-time", action="store_true")
    parser.add_argument("--out", type=Path, help="a file for the JSON")
    for hidden in ("--task", "--settings", "--start"):
        parser.add_argument(hidden, default="0", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task != "0":
        config = RunConfig.model_validate_json(options.settings)
        task(options.task, config, float(options.start), processor_time=options.processor_time)
        return
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "texts.jsonl"
        words, draw = [f"word{i}" for i in range(3000)], random.Random(0)
        text.write_text("\n".join(json.dumps({"text": " ".join(draw.choices(words, k=200))}) for _ in range(600)))
        _, clock, processor, _ = in_a_process("train", settings("tiny", text, NOTHING))
        start = processor if options.processor_time else clock
        rows: list[dict[str, Any]] = []
        for name in options.case:
            rows.append(compared(name, settings(options.model, text, CASES[name]), start, options))
            print(json.dumps(rows[-1]), flush=True)
    if options.out:
        found = {"load": os.getloadavg()[0], "start": round(start, 1), "cases": rows}
        options.out.write_text(json.dumps(found, indent=2))
    show(rows)


def show(rows: Sequence[dict[str, Any]]) -> None:
    """The cases as a table."""
    print(f"{'':20}{'seconds':>10} {'taken':>7} {'error':>7}{'GB':>8} {'taken':>7} {'error':>7}")
    for row in rows:
        print(
            f"{row['case']:20}{row['seconds_estimated']:>10} {row['seconds_taken']:>7} {row['seconds_error']:>+7.0%}"
            f"{row['gb_estimated']:>8} {row['gb_taken']:>7} {row['gb_error']:>+7.0%}"
        )


if __name__ == "__main__":
    main()
