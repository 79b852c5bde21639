"""What each byte of a training step is for, predicted before anything is loaded.

`plan` adds up, from the dimensions alone, the weights, gradients and optimizer state (exact), the
tensors that the backward pass needs (exact: what autograd saves, operation by operation, in
model.py, attention.py and kernels.py of goat/llama and in train.py) and the short-lived ones at the
worst moment (an estimate). `Ledger.table` prints it, `largest` finds the largest micro-batch that
fits.

Why a linear layer is cheap under LoRA: its weight is frozen, and the gradient of its input,
W^T G, does not need the input. So the block's big products save nothing; what remains is what
the norms, the LoRA matrices, the attention and the gated MLP need. `block_saved` is that list.

Units: GB = 1e9 bytes, GiB = 2^30 bytes = 1.074 GB.
"""

from bisect import bisect_left
from dataclasses import dataclass, replace

import torch

from goat.llama.attention import WIDTH
from goat.llama.lora import ALL_TARGETS, ATTENTION_TARGETS
from goat.llama.kernels import PIECE, round_up
from goat.llama.model import LlamaConfig
from goat.training.batches import Batch

GB, GIB = 10 ** 9, 2 ** 30
CARD = int(21.5 * GIB)  # what a 24 GB card leaves after the driver's and the display's share
LIBRARIES = 32 << 20  # the matrix library's own buffers on a GPU

# The published dimensions, for plans without any weights
PRESETS = {
    name: LlamaConfig(vocab, dim, hidden, layers, heads, kv_heads, head_dim=dim // heads,
                      max_positions=context, tie_embeddings=tied, qkv_bias=name.startswith("qwen"))
    for name, vocab, dim, hidden, layers, heads, kv_heads, context, tied in (
        ("smollm2", 49152, 576, 1536, 30, 9, 3, 8192, True),
        ("qwen2.5-0.5b", 151936, 896, 4864, 24, 14, 2, 32768, True),
        ("llama-3.2-1b", 128256, 2048, 8192, 16, 32, 8, 131072, True),
        ("qwen2.5-1.5b", 151936, 1536, 8960, 28, 12, 2, 131072, True),
        ("llama-7b", 32000, 4096, 11008, 32, 32, 32, 2048, False),
        ("mistral-7b", 32000, 4096, 14336, 32, 32, 8, 32768, False),
        ("qwen2.5-7b", 152064, 3584, 18944, 28, 28, 4, 131072, False),
        ("llama-3.1-8b", 128256, 4096, 14336, 32, 32, 8, 131072, False),
        ("llama-13b", 32000, 5120, 13824, 40, 40, 40, 2048, False))}


@dataclass(frozen=True)
class Workload:
    """What a training step is made of. `rank` 0 means that every weight learns, without LoRA.

    Tokens lie end to end; attention alone sees them as a rectangle of rows.
    """

    rank: int = 64
    targets: tuple[str, ...] = ATTENTION_TARGETS
    dropout: float = 0.05
    micro_batch: int = 16  # rows of one forward pass
    length: int = 512  # tokens of the longest
    computed: float = 1.0  # tokens, as a share of that rectangle
    counting: float = 1.0  # those beyond the last attention, which counts for answers only
    int8: bool = False
    checkpointing: bool = False  # recompute each block in the backward pass
    dtype: torch.dtype = torch.bfloat16
    fused: bool = True  # a GPU's attention and dropout, which save less than a CPU's
    adapted_head: bool = False  # `lm_head` is among the layers that learn
    muon: bool = False  # one fp32 moment for each weight of the blocks instead of AdamW's two

    @property
    def learns_head(self) -> bool:
        return self.rank == 0 or self.adapted_head

    @property
    def places(self) -> int:
        """Of the rectangle."""
        return self.micro_batch * self.width

    @property
    def width(self) -> int:
        return round_up(self.length, WIDTH)

    @property
    def N(self) -> int:
        """Tokens that are computed."""
        return round(self.micro_batch * self.length * self.computed)

    @property
    def W(self) -> int:
        """Tokens that go beyond the last attention and get logits."""
        return round(self.micro_batch * self.length * self.counting)


def of_batch(workload: Workload, batch: Batch) -> Workload:
    """The workload with the sizes of one batch."""
    rows, length = len(batch.lengths), max(batch.lengths)
    return replace(workload, micro_batch=rows, length=length,
                   computed=len(batch.tokens) / (rows * length),
                   counting=len(batch.counts) / (rows * length))


@dataclass(frozen=True)
class Ledger:
    """Bytes by purpose: what stays for the whole run, what autograd saves, what comes and goes."""

    config: LlamaConfig
    workload: Workload
    state: dict[str, int]
    saved: dict[str, int]
    passing: dict[str, int]

    @property
    def rows(self) -> dict[str, int]:
        return {**self.state, **self.saved, **self.passing}

    @property
    def total(self) -> int:
        return sum(self.rows.values())

    def fits(self, card: int = CARD) -> bool:
        return self.total <= card

    def table(self, card: int = CARD) -> str:
        """The ledger in lines, with the headroom under `card` bytes and the largest that fits."""
        s = self.workload
        targets = ", ".join((*s.targets, *["lm_head"] * s.adapted_head))
        adapter = f"LoRA r {s.rank} on {targets}" if s.rank else "every weight learns"
        block = sum(block_saved(self.config, s, grad_in=True).values())  # of any but the first
        if s.checkpointing:
            block = s.N * self.config.dim * s.dtype.itemsize
        lines = [f"{self.config.n_layers} layers of width {self.config.dim}; {adapter}; "
                 f"{s.micro_batch} x {s.length} tokens a pass; "
                 f"checkpointing {'on' if s.checkpointing else 'off'}",
                 f"(GB = 10^9 bytes, GiB = 2^30 bytes; a block keeps {block / GB:.3f} GB)"]
        rows = self.rows | {"total": self.total,
                            f"headroom under {card / GIB:.1f} GiB": card - self.total}
        lines += [f"{name:<52}{n / GB:>9.3f} GB" for name, n in rows.items()]
        for on in (False, True):
            rows_fit = largest(self.config, replace(s, checkpointing=on), card)
            lines.append(f"largest that fits, checkpointing {'on: ' if on else 'off:'}"
                         f" {rows_fit} x {s.length} tokens" if rows_fit else
                         f"not even one row of {s.length} tokens fits, checkpointing "
                         f"{'on' if on else 'off'}")
        return "\n".join(lines)


def plan(config: LlamaConfig, s: Workload) -> Ledger:
    """The ledger of a training step."""
    wide = s.dtype.itemsize
    learns = s.rank == 0 or bool(s.targets)  # does a block learn anything?
    if s.checkpointing:  # a block keeps its input only; the last one also what counts behind it
        inputs = config.n_layers * s.N * config.dim + s.W * config.dim
        saved = {"saved: inputs of the blocks": inputs * wide}
    else:
        # the first block's input needs a gradient only where the embedding learns
        blocks = [block_saved(config, s, learns and (s.rank == 0 or i > 0),
                              last=i == config.n_layers - 1) for i in range(config.n_layers)]
        saved = {f"saved: {name}": sum(block[name] for block in blocks) for name in blocks[0]}
    # what all blocks share, `Rows`: rotary tables, places, the bias
    saved["saved: rows"] = ((2 * s.N * config.head_dim + s.width ** 2) * wide
                            + 8 * (s.N + s.places))
    saved["saved: final norm"] = norm_saved(config, s, s.W, learns)
    saved[f"saved: head, {s.W:,} positions"] = head_saved(config, s)
    return Ledger(config, s, state(config, s), saved, {
        "short-lived tensors at the worst moment (estimate)": worst_moment(config, s),
        "the matrix library's workspace (estimate)": LIBRARIES if s.fused else 0})


def largest(config: LlamaConfig, s: Workload, card: int = CARD) -> int:
    """The largest micro-batch (rows) that fits under `card` bytes; 0 if not even one row does."""
    return bisect_left(range(1, 1 << 32), True, key=lambda rows: not plan(
        config, replace(s, micro_batch=rows)).fits(card))


def room(where: torch.device, card: float | None = None) -> int:
    """Bytes that a card of so many GiB leaves, or this one, or a 24 GB one if there is none: of all
    the same share."""
    whole = torch.cuda.mem_get_info(where)[1] if where.type == "cuda" else 24 * GIB
    return int(card * GIB if card else whole) * CARD // (24 * GIB)


def layer_sizes(config: LlamaConfig) -> dict[str, tuple[int, int]]:
    """(in, out) of each linear layer of a block."""
    q, kv = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    C, hidden = config.dim, config.hidden_dim
    return {"q_proj": (C, q), "k_proj": (C, kv), "v_proj": (C, kv), "o_proj": (q, C),
            "gate_proj": (C, hidden), "up_proj": (C, hidden), "down_proj": (hidden, C)}


def state(config: LlamaConfig, s: Workload) -> dict[str, int]:
    """Weights, gradients and optimizer state (AdamW: two fp32 moments for each learning weight;
    Muon: one)."""
    layers, wide = config.n_layers, s.dtype.itemsize
    sizes = layer_sizes(config)
    linear = layers * sum(i * o for i, o in sizes.values())
    tables = 1 if config.tie_embeddings else 2
    others = tables * config.vocab_size * config.dim + (2 * layers + 1) * config.dim
    if config.qkv_bias:
        others += layers * sum(sizes[name][1] for name in ("q_proj", "k_proj", "v_proj"))
    adapter = layers * s.rank * sum(sum(sizes[target]) for target in s.targets)
    head = s.adapted_head * s.rank * (config.dim + config.vocab_size)  # of the LoRA of lm_head
    kind = str(s.dtype).removeprefix("torch.")
    stored, each = ("int8", 1) if s.int8 else (kind, wide)
    rows = {f"weights of the blocks, {stored}": linear * each}
    if s.int8:
        rows["their scales, float32"] = 4 * layers * sum(o for _, o in sizes.values())
    rows[f"embedding, head, norms and biases, {kind}" if config.qkv_bias else
         f"embedding, head and norms, {kind}"] = others * wide
    learning = adapter + head if s.rank else linear + others
    if s.rank:
        rows["LoRA weights, float32"] = 4 * learning
    elif wide < 4:
        rows["master copies of the weights, float32"] = 4 * learning
        rows[f"gradients of one pass, {kind}"] = wide * learning
    rows["gradients, float32"] = 4 * learning
    rows["optimizer moments, float32"] = 8 * learning - 4 * s.muon * (adapter if s.rank else linear)
    return rows


def norm_saved(config: LlamaConfig, s: Workload, tokens: int, grad_in: bool) -> int:
    """An RMSNorm keeps its input and, in fp32, 1 / rms."""
    return grad_in * tokens * (config.dim * s.dtype.itemsize + 4)


def inputs_saved(config: LlamaConfig, s: Workload, learning: list[str], tokens: int,
                 grad_in: bool) -> int:
    """What layers that learn and read the same input keep: this input, once for all of them, and
    under LoRA each a mask of its dropout, the input of B, and casts of A and B."""
    if not learning:
        return 0
    wide, sizes = s.dtype.itemsize, layer_sizes(config)
    size_in = sizes[learning[0]][0]
    saved = tokens * size_in * wide
    for target in learning:
        if s.rank and s.dropout > 0:
            saved += tokens * size_in * (1 if s.fused else wide)
        # A's cast serves the input's gradient; in fp32 there is none
        saved += s.rank * (tokens + sizes[target][1] + (grad_in and wide < 4) * size_in) * wide
    return saved


def block_saved(config: LlamaConfig, s: Workload, grad_in: bool,
                last: bool = False) -> dict[str, int]:
    """Bytes that autograd keeps for one block, by part. `grad_in`: its input needs a gradient.

    (Under LoRA that is so for every block but the first, which reads the frozen embedding.)
    """
    full, N, behind = s.rank == 0, s.N, s.W if last else s.N
    learns = {target: full or target in s.targets for target in ALL_TARGETS}
    # which of the block's values need a gradient
    q, k, v = (grad_in or learns[target] for target in ("q_proj", "k_proj", "v_proj"))
    middle = grad_in or any(learns[target] for target in ATTENTION_TARGETS)
    gate, up = middle or learns["gate_proj"], middle or learns["up_proj"]
    inputs = sum(inputs_saved(config, s, [t for t in group if learns[t]], tokens, wants)
                 for group, tokens, wants in (
                     (("q_proj", "k_proj", "v_proj"), N, grad_in),
                     (("o_proj",), N, q or k or v),
                     (("gate_proj", "up_proj"), behind, middle),
                     (("down_proj",), behind, gate or up)))
    return {
        "norms": norm_saved(config, s, N, grad_in) + norm_saved(config, s, behind, middle),
        "inputs of the layers that learn" if full else "LoRA": inputs,
        "attention": attention_saved(config, s, q, k, v),
        # silu keeps the gate; the product keeps both factors
        "MLP": behind * config.hidden_dim * s.dtype.itemsize * (gate + gate + up),
    }


def attention_saved(config: LlamaConfig, s: Workload, q: bool, k: bool, v: bool) -> int:
    """Bytes for one block's attention; q, k, v say which of the three need a gradient."""
    wide, M = s.dtype.itemsize, s.places
    q_out, kv_out = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    if s.fused:  # q, k, v, the output, one fp32 log-sum for each row of scores, 24 bytes of state
        kept = M * (2 * q_out + 2 * kv_out) * wide + 4 * M * config.n_heads + 24
        return kept if q or k or v else 0
    factors = k * q_out + q * kv_out  # q for the gradient of k, and k for that of q
    values = (q or k) * kv_out
    probabilities = (q or k or v) * config.n_heads * s.width
    return M * (factors + values + probabilities) * wide


def head_saved(config: LlamaConfig, s: Workload) -> int:
    """The positions and, of a frozen head, the gradient of its input; of one that learns, its input
    and, in fp32, the log-softmax, the labels, and what the embedding was given if all learns."""
    saved = s.W * (config.dim * s.dtype.itemsize + 8)
    if s.learns_head:
        saved += s.W * (4 * config.vocab_size + 8) + 4
    return saved + 8 * s.N * (s.rank == 0)


def worst_moment(config: LlamaConfig, s: Workload) -> int:
    """The most that short-lived tensors add to all that is saved, as measured by following every
    tensor of a step (tests/training/test_memory.py). Five moments may be the worst.

    In the loss: two fp32 tensors of the logits, which a frozen head has of PIECE tokens only. Then,
    each time with what was saved behind it gone: in the backward of the last norm, 12 bytes for
    each of its entries; in the last block and in the one before, the gradients around the MLP (with
    int8 and the 16-bit copy of its largest weight), and under checkpointing the block's
    activations, which have been recomputed; and in the last block's attention, where few answers
    leave little behind it, two gradients of the scores or, where these are never made, those of q,
    k, v, the output and the input.
    """
    wide, C, hidden, P = s.dtype.itemsize, config.dim, config.hidden_dim, s.W
    copy = wide * max(i * o for i, o in layer_sizes(config).values()) if s.int8 else 0
    down = [target for target in s.targets if target == "down_proj"]

    def around_mlp(tokens: int) -> int:
        used_up = inputs_saved(config, s, down, tokens, True)  # the first that is let go
        return wide * tokens * C + max(3 * tokens * hidden * wide - used_up,
                                       copy + tokens * (hidden + 2 * C) * wide)

    last, before = (sum(block_saved(config, s, True, last=end).values()) for end in (True, False))
    gone = head_saved(config, s)
    scores = P if s.learns_head else min(P, PIECE)
    moments = [8 * scores * config.vocab_size + P * C * wide, 12 * P * C - gone]
    gone += norm_saved(config, s, P, grad_in=True)
    inside = s.N * C * wide  # a block's input: saved before, not recomputed
    if s.checkpointing:
        return max(*moments, last + around_mlp(P) - gone - inside,
                   before + around_mlp(s.N) - gone - 2 * inside)
    learns = [t for t in ("q_proj", "k_proj", "v_proj") if not s.rank or t in s.targets]
    front = (attention_saved(config, s, True, True, True) + norm_saved(config, s, s.N, True)
             + inputs_saved(config, s, learns, s.N, True))
    vectors = (config.n_heads + config.n_kv_heads) * config.head_dim
    here = s.places * wide * (2 * config.n_heads * s.width + vectors)
    if s.fused:
        here = s.places * wide * 2 * vectors + inside
    return max(*moments, around_mlp(P) - gone, around_mlp(s.N) - gone - last,
               here - gone - (last - front))
