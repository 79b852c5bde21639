"""LoRA adapters on disk, in PEFT's format: ours load in peft, and peft's load here.

A folder with `adapter_config.json` and `adapter_model.safetensors` (older: `adapter_model.bin`).
The tensors of one adapted layer are named

    base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight      (R, in)
    base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight      (out, R)

where the first `base_model.model.` stands for PEFT's wrapper and the second `model.` is the
LLaMA's own. The scaling is lora_alpha / r, or lora_alpha / sqrt(r) with `use_rslora`.

The mean of adapters that went on from each other, or one of them in a smaller file:
`python -m goat.files.adapter average A B --out DIR`, `… A --rank 16 --dtype bf16 --out DIR`
"""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from goat.cli import parser_for, refuse_below, run
from goat.device import DTYPES
from goat.errors import UserError
from goat.files.atomic import refuse_full
from goat.files.tensors import (checked, open_tensors, positive, read_json, same_names, write_json,
                                write_tensors)
from goat.llama.lora import LoRALinear, linear_layers, lora_layers
from goat.llama.model import Llama

PREFIX = "base_model.model."
CONFIG = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")  # in this order of preference
VALUE_HEAD = "value_head.safetensors"  # beside them where there is a value model; ours, not PEFT's

# What must have one of these values. A setting that stands neither here nor below may change the
# adapted model in ways that are not computed here: it must be null, false, 0 or empty.
PLAIN: dict[str, tuple] = {
    "peft_type": ("LORA",), "bias": ("none", None),
    # the other ways to start (pissa, olora, corda, loftq …) change the base's weights as well
    "init_lora_weights": (True, False, None, "gaussian", "orthogonal", "eva")}
CHOOSING = ("exclude_modules", "layers_to_transform", "layers_pattern")  # among the targets
READ = {"r", "lora_alpha", "lora_dropout", "use_rslora", "target_modules", *CHOOSING}
BOOKKEEPING = {"task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision",
               "inference_mode", "megatron_config", "megatron_core",
               "eva_config", "corda_config", "lora_ga_config",
               "qalora_group_size", "runtime_config", "ensure_weight_tying"}


def save_adapter(model: Llama, path: str | Path, base: str | Path) -> None:
    """Write the model's LoRA matrices as a PEFT folder, then read them back and compare.

    `base` is the name or folder of the base model, kept in the file for the reader's sake. Raises
    UserError for a model without LoRA and for one whose adapter is still all zero or not finite.
    """
    layers, folder = lora_layers(model), Path(path)
    factors = {name: (layer.lora_A.detach().cpu().contiguous(),
                      layer.lora_B.detach().cpu().contiguous()) for name, layer in layers.items()}
    refuse_useless(factors, "this model")
    config = config_of(model, layers, str(base))
    tensors = {f"{PREFIX}{name}.lora_{side}.weight": factor for name, pair in factors.items()
               for side, factor in zip("AB", pair)}
    write_tensors(tensors, folder / WEIGHTS[0])
    write_json(config, folder / CONFIG)
    written = {name: read() for name, read in open_tensors(folder / WEIGHTS[0]).items()}
    if written.keys() != tensors.keys() or not all(
            torch.equal(written[name], tensors[name]) for name in tensors):
        raise OSError(f"{folder / WEIGHTS[0]}: reads back differently; is the disk full or faulty?")


def config_of(model: Llama, layers: dict[str, LoRALinear], base: str) -> dict:
    """The `adapter_config.json` that describes these LoRA layers."""
    first = next(iter(layers.values()))
    settings = {(layer.rank, layer.alpha, layer.scaling) for layer in layers.values()}
    plain = math.isclose(first.scaling, first.alpha / first.rank)
    rslora = math.isclose(first.scaling, first.alpha / math.sqrt(first.rank)) and not plain
    if len(settings) > 1 or not (plain or rslora):
        raise UserError("a PEFT folder holds one rank, one alpha and a scaling of alpha / rank or "
                        f"alpha / sqrt(rank); the layers have (rank, alpha, scaling) {settings}")
    targets = sorted({name.rpartition(".")[2] for name in layers})
    if named(model, targets) != sorted(layers):
        targets = sorted(layers)  # not every layer of these kinds: give the full names
    return {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base,
        "r": first.rank, "lora_alpha": first.alpha, "lora_dropout": first.dropout,
        "use_rslora": rslora, "target_modules": targets, "bias": "none", "fan_in_fan_out": False,
        "init_lora_weights": True, "modules_to_save": None, "inference_mode": True,
    }


def load_adapter(model: Llama, path: str | Path) -> Llama:
    """Wrap the layers that the PEFT folder at `path` adapts; freeze the rest. Returns the model.

    The result computes what peft computes, or UserError says why it cannot: a setting outside
    plain LoRA, a target that is not in the model, names or shapes that do not fit, an adapter
    that is empty, all zero or not finite.
    """
    folder = Path(path)
    if lora_layers(model):
        raise UserError(f"{folder}: the model carries an adapter already; load it on the bare base")
    config = read_adapter_config(folder / CONFIG)
    weights = weights_file(folder)
    factors, linear = read_factors(model, config, weights), linear_layers(model)
    rank, alpha, dropout = config["r"], config["lora_alpha"], config.get("lora_dropout") or 0.0
    model.requires_grad_(False)
    for name, (a, b) in factors.items():
        layer = LoRALinear(linear[name], rank, alpha, dropout, scaling(config),
                           torch.Generator())  # draws an A to be overwritten, not globally
        layer.lora_A.data.copy_(a)
        layer.lora_B.data.copy_(b)
        model.set_submodule(name, layer.train(model.training))
    return model


def scaling(config: dict) -> float:
    """What BA is multiplied by."""
    rank = config["r"]
    return config["lora_alpha"] / (math.sqrt(rank) if config.get("use_rslora") else rank)


def has_value_head(folder: str | Path | None) -> bool:
    """Whether a value head lies beside the adapter in `folder`; None is no adapter."""
    return folder is not None and (Path(folder) / VALUE_HEAD).is_file()


def weights_file(folder: Path) -> Path:
    """The file of the matrices in a PEFT folder; UserError if there is none."""
    for name in WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise UserError(f"{folder}: neither {WEIGHTS[0]} nor {WEIGHTS[1]} is there")


def read_factors(model: Llama, config: dict, weights: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """The checked fp32 matrices (A, B) of each adapted layer; the file may hold nothing else.

    A plain list of `target_modules` says which layers these must be. Where they are chosen by an
    expression, exclusions or numbers of blocks, the names in the file say what peft has chosen.
    """
    readers = open_tensors(weights)
    if not readers:
        raise UserError(f"{weights}: the adapter is empty; it was not saved properly")
    linear, rank, targets = linear_layers(model), config["r"], config["target_modules"]
    for name, layer in linear.items():
        # peft stores a copy of an adapted `lm_head` beside the adapter; it must be the base's own
        copy = readers.pop(f"{PREFIX}{name}.base_layer.weight", None)
        if copy and not torch.equal(copy().to(layer.weight), layer.weight):
            raise UserError(f"{weights}: holds other base weights for {name} than this model's: it "
                            "was trained on another base, or trained the base too")
    if isinstance(targets, str) or any(config.get(key) not in (None, "", []) for key in CHOOSING):
        targets = sorted({key.removeprefix(PREFIX).rpartition(".lora_")[0] for key in readers})
    keys = {name: [f"{PREFIX}{name}.lora_{side}.weight" for side in "AB"]
            for name in named(model, targets)}
    same_names(readers, sum(keys.values(), []), str(weights),
               f"target_modules in {CONFIG} against the file")
    factors = {}
    for name, (key_a, key_b) in keys.items():
        a = checked(readers[key_a](), f"{weights}: {key_a}", (rank, linear[name].in_features))
        b = checked(readers[key_b](), f"{weights}: {key_b}", (linear[name].out_features, rank))
        factors[name] = a.float(), b.float()
    refuse_useless(factors, str(weights))
    return factors


def read_adapter_config(file: Path) -> dict:
    """The checked content of an `adapter_config.json`."""
    config = read_json(file)
    for key, value in config.items():
        if key in PLAIN:
            plain, way = value in PLAIN[key], f"{key} = {PLAIN[key][0]!r}"
        else:
            plain, way = key in READ or key in BOOKKEEPING or not value, f"without {key}"
        if not plain:
            raise UserError(f"{file}: {key} is {value!r}; only plain LoRA is supported, {way}")
    positive(config, file, "r")
    positive(config, file, "lora_alpha", kind=float)
    dropout = config.get("lora_dropout") or 0.0
    if not isinstance(dropout, (int, float)) or not 0 <= dropout < 1:
        raise UserError(f"{file}: lora_dropout must be in [0, 1), not {dropout!r}")
    targets = config.get("target_modules")
    listed = isinstance(targets, (str, list)) and all(isinstance(name, str) for name in targets)
    if not listed or not targets:
        raise UserError(f"{file}: target_modules must be a list of names or a regular expression, "
                        f"not {targets!r}")
    return config


def named(model: Llama, targets: Sequence[str]) -> list[str]:
    """The linear layers that these targets name by whole last parts (`q_proj`, `self_attn.q_proj`),
    sorted. Raises UserError for a target that names none, or a head that is the embedding too."""
    linear = linear_layers(model)
    found = {target: [name for name in linear if f".{name}".endswith(f".{target}")]
             for target in targets}
    if absent := [target for target, names in found.items() if not names]:
        known = sorted({name.rpartition(".")[2] for name in linear})
        raise UserError(f"target_modules: {', '.join(absent)} is no linear layer of this model, "
                        f"which has {', '.join(known)}")
    chosen = sorted({name for names in found.values() for name in names})
    if "lm_head" in chosen and model.config.tie_embeddings:
        raise UserError("target_modules: lm_head shares its weight with the embedding in this "
                        "model, so it cannot be adapted alone")
    return chosen


def refuse_useless(factors: dict[str, tuple[Tensor, Tensor]], where: str) -> None:
    """Raise UserError for an adapter that is empty, broken, or changes nothing at all."""
    if not factors:
        raise UserError(f"{where}: no LoRA layers; call add_lora first")
    broken = [name for name, pair in factors.items() if not all(f.isfinite().all() for f in pair)]
    if broken:
        raise UserError(f"{where}: the adapter of {broken[0]} is NaN or infinite; lower the "
                        "learning rate, or use bf16 instead of fp16")
    if not any(b.any() for _, b in factors.values()):
        raise UserError(f"{where}: every lora_B is zero, so the adapter changes nothing; "
                        "has it been trained?")


def average(folders: Sequence[Path], out: Path, dtype: torch.dtype = torch.float32,
            rank: int | None = None) -> None:
    """Write the mean of the LoRA matrices of several adapters as a new PEFT folder, and of their
    value heads where all have one, in numbers of `dtype` and, if given, cut to `rank`.

    It often answers better what none of them was taught ("model soups", Wortsman et al. 2022,
    arXiv 2203.05482). Means of A and of B belong together only where the adapters lie close to
    each other, as those do of which one was trained further from the other. Raises UserError for
    adapters of other settings, names or shapes than the first one's, for a rank above theirs, and
    for a full `out`.
    """
    refuse_full(out)
    configs = [read_adapter_config(folder / CONFIG) for folder in folders]
    for folder, config in zip(folders, configs):
        for key in sorted(READ):
            first, own = ((sorted(c[key]) if isinstance(c.get(key), list) else c.get(key)) or None
                          for c in (configs[0], config))  # absent, false, 0 and empty are the same
            if first != own:
                raise UserError(f"{folder / CONFIG}: {key} is {own!r}, but {first!r} in "
                                f"{folders[0]}; only adapters of equal settings have a mean")
    means = {WEIGHTS[0]: mean([weights_file(folder) for folder in folders])}
    if rank:
        means[WEIGHTS[0]], configs[0] = cut(means[WEIGHTS[0]], configs[0], rank)
    heads = [folder / VALUE_HEAD for folder in folders]
    if with_head := [head for head in heads if head.is_file()]:
        if with_head != heads:
            raise UserError(f"{with_head[0]}: not every adapter has a value head, so they have no "
                            "mean; average adapters that all have one, or none")
        means[VALUE_HEAD] = mean(heads)
    for name, tensors in means.items():
        write_tensors({key: tensor.to(dtype) for key, tensor in tensors.items()}, out / name)
    write_json(configs[0], out / CONFIG)


def mean(files: Sequence[Path]) -> dict[str, Tensor]:
    """The mean, in fp32, of tensor files that hold the same names and shapes."""
    sums: dict[str, Tensor] = {}
    for file in files:
        readers = open_tensors(file)
        same_names(readers, sums or readers, str(file), f"against {files[0]}")
        for name, read in readers.items():
            tensor = read()
            total = sums.get(name, torch.zeros(tensor.shape))
            sums[name] = total + checked(tensor, f"{file}: {name}", total.shape).float()
    return {name: total / len(files) for name, total in sums.items()}


def cut(tensors: dict[str, Tensor], config: dict, rank: int) -> tuple[dict[str, Tensor], dict]:
    """The adapter of this rank that is nearest: of each layer's scaling · BA the largest singular
    values (Eckart and Young 1936), half of each in A and half in B. Its scaling is 1.

    `tensors`: names in PEFT's form, A (R, in) and B (out, R); returns them with `rank` for R, and
    the config. Raises UserError for a rank above R or a layer's width, and for a broken adapter.
    """
    tensors, full = dict(tensors), [config["r"]]
    pairs = [(name, name.replace(".lora_A.", ".lora_B.")) for name in tensors if ".lora_A." in name]
    if not pairs or any(name_b not in tensors or [*tensors[name_a].shape[:-1]] != full
                        or [*tensors[name_b].shape[1:]] != full for name_a, name_b in pairs):
        raise UserError(f"--rank {rank}: the adapter's file does not hold matrices A and B of the "
                        f"rank {full[0]} that its {CONFIG} gives")
    most = min(size for pair in pairs for name in pair for size in tensors[name].shape)
    if rank > most:
        raise UserError(f"--rank {rank}: the adapter's rank or a layer's width is {most}; cut to "
                        "that or less")
    for name_a, name_b in pairs:
        # B = Q R and A.T = P S, so B A = Q (R S.T) P.T: only a small matrix is left to decompose
        (q, r), (p, s) = torch.linalg.qr(tensors[name_b]), torch.linalg.qr(tensors[name_a].T)
        u, values, v = torch.linalg.svd(scaling(config) * r @ s.T)
        root = values[:rank].sqrt()
        tensors[name_a] = root[:, None] * (v[:rank] @ p.T)
        tensors[name_b] = q @ u[:, :rank] * root
    return tensors, {**config, "r": rank, "lora_alpha": rank, "use_rslora": False}


def main(argv: list[str] | None = None) -> None:
    parser = parser_for("python -m goat.files.adapter", __doc__)
    averaging = parser.add_subparsers(dest="command", required=True).add_parser(
        "average", help="the mean of adapters that went on from each other")
    averaging.add_argument("adapters", nargs="+", help="PEFT folders; twice named counts twice")
    averaging.add_argument("--out", required=True, help="new folder for the mean")
    averaging.add_argument("--dtype", choices=DTYPES, default="fp32",
                           help="of the numbers in the file (default fp32; bf16 halves it)")
    averaging.add_argument("--rank", type=int,
                           help="cut to this rank: each layer keeps its largest singular values")
    args = parser.parse_args(argv)
    refuse_below(args, 1, "rank")
    average([Path(adapter) for adapter in args.adapters], Path(args.out), DTYPES[args.dtype],
            args.rank)
    print(f"{args.out}: the mean of {', '.join(args.adapters)}"
          f"{f', cut to rank {args.rank}' if args.rank else ''}")


if __name__ == "__main__":
    run(main)
