"""Tokenizers on disk: a `tokenizer.model`, a `tokenizer.json` of byte-level BPE, or a GGUF file.

A folder's `tokenizer.model` comes first, as in LLaMA-1 and -2; else its `tokenizer.json`
(tokenizer_json.py). A GGUF file holds its tokenizer among its keys: byte-level BPE (`gpt2`) or
SentencePiece (`llama`), of which a whole `tokenizer.model` is made again, so that SentencePiece
itself reads it. Sources: ggml, docs/gguf.md; google/sentencepiece, sentencepiece_model.proto.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np

from goat.errors import UserError
from goat.files.atomic import write_bytes
from goat.files.bases import located
from goat.files.gguf import GGUF
from goat.files.sentencepiece_file import model_file, pieces_of, settings_of
from goat.files.tensors import write_json
from goat.files.tokenizer_json import (BPE, TOKENIZER_CONFIG, bpe, chat_template, from_json,
                                       save_json, settings_beside)
from goat.llama.bpe import ByteLevelBPE
from goat.llama.tokenizer import SentencePiece, Tokenizer

SENTENCEPIECE = "tokenizer.model"
NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = range(1, 7)  # of tokens; SentencePiece's numbers
# Names of pre-tokenizers in GGUF files that mean one of PATTERNS; see llama.cpp, llama-vocab.cpp.
SAME_AS = {"starcoder": "smollm", "refact": "smollm", "command-r": "smollm", "codeshell": "smollm",
           "exaone": "smollm", "minerva-7b": "smollm", "llama3": "llama-bpe",
           "llama-v3": "llama-bpe", "falcon3": "llama-bpe", "deepseek-r1-qwen": "qwen2"}


def open_tokenizer(path: str | os.PathLike) -> Tokenizer:
    """The tokenizer of a model folder, a GGUF file or "smollm2", or in a tokenizer's own file.

    Raises UserError when there is none, or it is damaged or of another kind.
    """
    path = located(path)
    if path.is_dir():
        for name in (SENTENCEPIECE, BPE):
            if (path / name).is_file():
                return open_tokenizer(path / name)
        raise UserError(f"{path}: no {SENTENCEPIECE} or {BPE} here; copy the base model's file "
                        "there")
    if path.suffix == ".gguf":
        return from_gguf(GGUF(path))
    if not path.is_file():
        raise UserError(f"{path}: no such file or folder")
    if path.suffix == ".json":
        return from_json(path)
    pieces, settings = SentencePiece(path.read_bytes(), path), settings_beside(path)
    pieces.chat_template = chat_template(settings, path.parent)
    if settings.get("add_bos_token") is False:
        pieces.bos_id = None
    return pieces


# ---- GGUF ----------------------------------------------------------------------------------------

def from_gguf(file: GGUF) -> Tokenizer:
    """The tokenizer among the keys of a GGUF file."""
    def get(key: str, kind: type, default: Any = None) -> Any:
        return file.get(f"tokenizer.ggml.{key}", kind, default)

    path, kind, tokens = file.path, get("model", str), file.metadata.get("tokenizer.ggml.tokens")
    if kind is None or not isinstance(tokens, list):
        raise UserError(f"{path}: no tokenizer inside (tokenizer.ggml.model and .tokens): take a "
                        "complete file of the model")
    if kind not in ("gpt2", "llama"):
        raise UserError(f"{path}: tokenizer.ggml.model {kind!r:.60} is not supported: gpt2 "
                        "(byte-level BPE) and llama (SentencePiece) are")
    embedding = file.tensors.get("token_embd.weight")
    types = file.metadata.get("tokenizer.ggml.token_type", np.full(len(tokens), NORMAL))
    if embedding and embedding.shape[0] != len(tokens) or not isinstance(types, np.ndarray) or \
            len(types) != len(tokens) or not all(isinstance(token, str) for token in tokens):
        raise UserError(f"{path}: tokenizer.ggml.tokens, its {len(tokens)} tokens and their types, "
                        f"do not fit the embedding {embedding and embedding.shape}")
    template = file.get("tokenizer.chat_template", str)
    if kind == "llama":
        pieces = from_pieces(file, tokens, types)
        pieces.chat_template = template
        if not get("add_bos_token", bool, True):
            pieces.bos_id = None
        return pieces
    pre = get("pre", str, "default")
    pre = SAME_AS.get(pre, pre)
    added = {tokens[i]: int(i) for i in np.flatnonzero((types == CONTROL) | (types == USER))}
    merges = file.metadata.get("tokenizer.ggml.merges")
    if not isinstance(merges, list) or not all(isinstance(pair, str) for pair in merges):
        raise UserError(f"{path}: tokenizer.ggml.merges is missing or damaged")
    adds_bos = get("add_bos_token", bool, pre == "llama-bpe")
    bos = get("bos_token_id", int) if adds_bos else None
    return bpe(path, [None if kind == UNUSED else token for token, kind in zip(tokens, types)],
               [tuple(pair.split(" ")) for pair in merges], added,
               {tokens[i] for i in np.flatnonzero(types == CONTROL)}, pre,
               whole_words=pre == "llama-bpe", composed=pre == "qwen2", bos_id=bos,
               eos_id=get("eos_token_id", int), chat_template=template)


def from_pieces(file: GGUF, tokens: list[str], types: np.ndarray) -> SentencePiece:
    """The SentencePiece tokenizer that a GGUF file describes.

    Some files call bos or eos a user's token (the <|im_end|> of many a Mistral), and the unknown
    one a control token: SentencePiece finds them only under their own types.
    """
    path, scores = file.path, file.metadata.get("tokenizer.ggml.scores")
    if not isinstance(scores, np.ndarray) or len(scores) != len(tokens):
        raise UserError(f"{path}: tokenizer.ggml.scores is missing or damaged")
    if types.dtype.kind not in "iu" or not np.isin(types, range(NORMAL, BYTE + 1)).all():
        raise UserError(f"{path}: tokenizer.ggml.token_type is damaged: 1 to {BYTE} are types")
    names, kinds = [], types.tolist()
    for which, default, own in (("unknown", 0, UNKNOWN), ("bos", 1, CONTROL), ("eos", 2, CONTROL)):
        place = file.get(f"tokenizer.ggml.{which}_token_id", int, default)
        if not 0 <= place < len(tokens):
            raise UserError(f"{path}: tokenizer.ggml.{which}_token_id {place} is no token")
        names.append(tokens[place])
        kinds[place] = own
    pieces = zip(tokens, scores.tolist(), kinds)
    data = model_file(pieces, names, file.get("tokenizer.ggml.add_space_prefix", bool, True))
    return SentencePiece(data, path)


# ---- writing -------------------------------------------------------------------------------------

def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write the tokenizer's files into a model folder."""
    if isinstance(tokenizer, SentencePiece):
        write_bytes(folder / SENTENCEPIECE, tokenizer.data)
        if tokenizer.bos_id is None or tokenizer.chat_template:
            write_json({"tokenizer_class": "LlamaTokenizer",
                        "add_bos_token": tokenizer.bos_id is not None,
                        "chat_template": tokenizer.chat_template}, folder / TOKENIZER_CONFIG)
        return
    assert isinstance(tokenizer, ByteLevelBPE)
    save_json(tokenizer, folder)


def gguf_keys(tokenizer: Tokenizer, size: int) -> dict[str, Any]:
    """The keys that describe a tokenizer in a GGUF file, for an embedding of `size` rows."""
    used = tokenizer.vocab_size
    keys: dict[str, Any] = {"add_bos_token": tokenizer.bos_id is not None,
                            "eos_token_id": tokenizer.eos_id}
    if tokenizer.bos_id is not None:
        keys["bos_token_id"] = tokenizer.bos_id
    if isinstance(tokenizer, SentencePiece):
        byte_pairs, space_first = settings_of(tokenizer.data)
        if not byte_pairs:
            raise UserError(f"{tokenizer.path}: llama.cpp's kind of SentencePiece merges pairs, "
                            "which this one does not: write a folder instead")
        tokens, scores, types = map(list, zip(*pieces_of(tokenizer.data)))
        if not tokenizer.exact:
            print(f"note: {tokenizer.path} rewrites texts (spaces, line ends), which a GGUF file "
                  "cannot tell: it reads them otherwise than they were learnt")
        if space_first and USER in types:
            print(f"note: {tokenizer.path} has tokens like {tokens[types.index(USER)]!r}, behind "
                  "which llama.cpp puts a space where SentencePiece puts none: it reads texts with "
                  "them otherwise than they were learnt")
        keys |= {"model": "llama", "pre": "default", "unknown_token_id": tokenizer.model.unk_id(),
                 "add_space_prefix": space_first, "scores": scores + [0.0] * (size - used)}
    else:
        assert isinstance(tokenizer, ByteLevelBPE)
        types = [UNUSED if token is None else NORMAL for token in tokenizer.tokens]
        for token, i in tokenizer.added.items():
            types[i] = CONTROL if token in tokenizer.special else USER
        tokens = [token or f"[unused {i}]" for i, token in enumerate(tokenizer.tokens)]
        keys |= {"model": "gpt2", "pre": tokenizer.pre,
                 "merges": [" ".join(pair) for pair in tokenizer.rank]}
    keys["tokens"] = tokens + [f"[unused {i}]" for i in range(used, size)]
    keys["token_type"] = types + [UNUSED] * (size - used)
    keys = {f"tokenizer.ggml.{key}": value for key, value in keys.items()}
    if tokenizer.chat_template:
        keys["tokenizer.chat_template"] = tokenizer.chat_template
    return keys
