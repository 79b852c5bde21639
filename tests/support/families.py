"""A small model of each family that is read, and a byte-level vocabulary. Nothing here is a test.

The merges are counted on a sentence, as Sennrich et al. do: the commonest pair first.
"""

from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path

from goat.llama.attention import RopeScaling
from goat.llama.bpe import CHARACTERS, ByteLevelBPE, merged
from support.tiny import tiny_config

TEXT = ("What is 397 x 4429? The answer of the sum is 12 and the other one is 34.\n"
        "Natalia sold 48/2 clips in May, and those who know her can't wait for what's next.\n") * 2
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]  # the last one ends a text
FAMILIES = {
    "llama": tiny_config(hidden_dim=64, rope_theta=500.0),
    "llama 3": tiny_config(hidden_dim=64, rope_theta=5e5, rope_scaling=RopeScaling(4.0),
                           tie_embeddings=True),
    "mistral": tiny_config(hidden_dim=64, head_dim=16, sliding_window=32, max_positions=32),
    "qwen 2": tiny_config(hidden_dim=64, rope_theta=500.0, qkv_bias=True, norm_eps=1e-6)}


def bpe(pre="smollm", missing=(), merges=60, **settings) -> ByteLevelBPE:
    """A vocabulary of all bytes but the `missing` ones and a few merges."""
    learnt = counted(merges)
    tokens = [*SPECIAL, *(c for b, c in sorted(CHARACTERS.items()) if b not in missing)]
    tokens += dict.fromkeys(map("".join, learnt))
    return ByteLevelBPE(tokens, learnt, {token: i for i, token in enumerate(SPECIAL)}, pre,
                        Path("tiny.gguf"), special=set(SPECIAL), eos_id=2, **settings)


@cache
def counted(merges: int) -> list[tuple[str, str]]:
    symbols = [[CHARACTERS[b] for b in word.encode()]
               for word in TEXT.replace(" ", "\0 ").split("\0")]
    learnt = []
    for _ in range(merges):
        counts = Counter(pair for word in symbols for pair in pairwise(word)
                         if not any(c.isdigit() for c in pair[0] + pair[1]))
        learnt.append(max(counts, key=lambda pair: (counts[pair], pair)))
        symbols = [merged(word, learnt[-1]) for word in symbols]
    return learnt
