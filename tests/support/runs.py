"""Short training runs for the tests: their flags, what they log and leave. Nothing here is a test.

alpha is never the rank, so that a forgotten scaling shows.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
BASE = ROOT / "goat" / "base"
SHARED = ROOT.parent / "shared" / "data"  # data sets that tests use where they are there


def flags(base, rows, out, *more) -> list[str]:
    rank = [] if "--full" in more else ["--lora-r", "4", "--lora-alpha", "12"]
    return ["--base", str(base), "--data", str(rows), "--out", str(out), "--dtype", "fp32",
            "--device", "cpu", *rank, "--batch", "16", "--micro-tokens", "256", "--max-steps", "6",
            "--lr", "1e-2", "--warmup", "2", "--log-every", "1", *more]


def run_script(arguments: list[str], **more) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "train.py", *arguments], cwd=ROOT, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **more)


def log(out) -> list[dict]:
    path = Path(out) / "log.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [record for record in map(json.loads, lines) if "loss" in record]


def adapter(out) -> bytes:
    return (Path(out) / "adapter" / "adapter_model.safetensors").read_bytes()


def stop_after_first(save):
    """`save`, a `RunFolder.save_state`, that ends the run behind its first state."""
    def saving(self, state):
        save(self, state)
        raise KeyboardInterrupt
    return saving
