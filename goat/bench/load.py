"""Reading a model beside transformers: `python -m goat.bench load [--base MODEL]`.

Seconds and peak memory of fresh processes, one after another: the settings and the tokenizer alone,
the whole model in fp32, and with its blocks in 8 bits; and transformers' own reading of the same
file. Then the loss of a short English text by both, and how far their logits differ (Frobenius
norm). With the rows of q and k in the wrong order SmolLM2's loss would be about 2 higher.
"""

import subprocess
import sys

import torch
import torch.nn.functional as F

from goat.bench.peers import installed
from goat.cli import parser_for, refuse_below
from goat.errors import UserError
from goat.files.bases import SMOLLM2, located
from goat.files.checkpoint import load_model, read_config
from goat.files.vocabulary import open_tokenizer

TEXT = ("The old lighthouse keeper climbed the stairs every evening to light the lamp. Ships far "
        "out at sea could see its beam and knew that the rocks were near. When the storm came, he "
        "stayed awake all night.")
OURS = "import torch, goat\nfrom goat.files.checkpoint import read_config\n"
THEIRS = "import torch\nfrom transformers import AutoModelForCausalLM\n"
TIMED = """import resource, sys, time
began = time.perf_counter()
{}
print(time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
      * (1 if sys.platform == "darwin" else 1024))  # bytes there, KiB on Linux"""


def main(argv: list[str] | None = None) -> None:
    parser = parser_for("python -m goat.bench load", __doc__)
    parser.add_argument("--base", default=SMOLLM2, help=f"folder or GGUF file (default {SMOLLM2})")
    parser.add_argument("--rounds", type=int, default=3, help="the best counts (default 3)")
    args = parser.parse_args(argv)
    refuse_below(args, 1, "rounds")
    base = located(args.base)
    read_config(base)  # refuses what is no model
    named = {"gguf_file": base.name} if base.is_file() else {}
    place = str(base.parent if named else base)
    path = repr(str(base))
    cases = {
        "settings and tokenizer": (OURS, f"read_config({path}); goat.Tokenizer({path})"),
        "fp32": (OURS, f"goat.load_model({path}, dtype=torch.float32)"),
        "8 bits": (OURS, f"goat.load_model({path}, dtype=torch.float32, int8=True)")}
    if peers := installed("transformers", "gguf"):
        cases["transformers, fp32"] = (THEIRS, f"AutoModelForCausalLM.from_pretrained({place!r}, "
                                       f"dtype=torch.float32, **{named!r})")
    print(f"{base}, {torch.get_num_threads()} threads, torch {torch.__version__}, best of "
          f"{args.rounds}\n\n{'':24}{'seconds':>9}{'peak MB':>9}")
    for name, (imports, action) in cases.items():
        runs = [timed(imports + TIMED.format(action)) for _ in range(args.rounds)]
        print(f"{name:24}{min(seconds for seconds, _ in runs):9.2f}"
              f"{min(peak for _, peak in runs) / 1e6:9.0f}", flush=True)
    ids = torch.tensor([open_tokenizer(base).encode(TEXT)])
    ours = logits(load_model(base, dtype=torch.float32), ids)
    print(f"\nloss of a text of {ids.size(1)} tokens: {loss(ours, ids):.5f}", end="")
    if not peers:
        print("\ntransformers and gguf, to compare with: pip install -r tests/requirements.txt")
        return
    from transformers import AutoModelForCausalLM

    theirs = logits(AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32, **named), ids)
    print(f", by transformers {loss(theirs, ids):.5f}; their logits differ by "
          f"{(ours - theirs).norm() / theirs.norm():.1e}")


def timed(code: str) -> tuple[float, float]:
    """(seconds, peak bytes) of a fresh process. Raises UserError with the last line of one that
    fails."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"a fresh process failed: {done.stderr.strip().rpartition(chr(10))[2]}")
    seconds, peak = map(float, done.stdout.split()[-2:])
    return seconds, peak


@torch.no_grad()
def logits(model, ids: torch.Tensor) -> torch.Tensor:
    found = model.eval()(ids)
    return getattr(found, "logits", found)[0]


def loss(of: torch.Tensor, ids: torch.Tensor) -> float:
    return F.cross_entropy(of[:-1], ids[0, 1:]).item()
