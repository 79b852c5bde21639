"""A `tokenizer.json` of byte-level BPE, read and written.

Beside it, `tokenizer_config.json` names bos and eos. Source: the tokenizers package.
"""

from pathlib import Path
from typing import Any

from goat.errors import UserError
from goat.files.atomic import write_bytes
from goat.files.tensors import read_json, write_json
from goat.llama.bpe import LLAMA_3, QWEN_2, ByteLevelBPE

BPE, TOKENIZER_CONFIG, CHAT = "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"
# The pre_tokenizer of a tokenizer.json
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
PRE_TOKENIZERS = {
    "gpt-2": [BYTES | {"use_regex": True}],
    "smollm": [{"type": "Digits", "individual_digits": True}, BYTES | {"use_regex": True}],
    **{name: [{"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated",
               "invert": False}, BYTES]
       for name, pattern in (("llama-bpe", LLAMA_3), ("qwen2", QWEN_2))}}


def from_json(file: Path) -> ByteLevelBPE:
    """The byte-level BPE of a `tokenizer.json`. Raises UserError for any other kind of tokenizer
    and for settings that would cut a text otherwise."""
    content = read_json(file)
    model = content.get("model")
    if not isinstance(model, dict) or model.get("type", "BPE") != "BPE" or any(
            model.get(key) for key in ("byte_fallback", "dropout", "continuing_subword_prefix",
                                       "end_of_word_suffix")):
        raise UserError(f"{file}: no byte-level BPE, which alone is read from this file: of "
                        f"LLaMA-1 and -2 and of Mistral copy the tokenizer.model there")
    pre = pre_tokenizer(content.get("pre_tokenizer"), file)
    normalizer = content.get("normalizer")
    if normalizer == {"type": "Sequence", "normalizers": []}:
        normalizer = None
    if normalizer not in (None, {"type": "NFC"}):
        raise UserError(f"{file}: the normalizer {normalizer!r:.80} is not supported: NFC is, or "
                        "none")
    try:
        id_of = {str(token): int(i) for token, i in model["vocab"].items()}
        added = {str(token["content"]): token for token in content.get("added_tokens") or ()}
        id_of |= {token: int(entry["id"]) for token, entry in added.items()}
        merges = [tuple(pair.split(" ") if isinstance(pair, str) else map(str, pair))
                  for pair in model["merges"]]
        stripping = [token for token, entry in added.items()
                     if entry.get("lstrip") or entry.get("rstrip") or entry.get("single_word")]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{file}: vocab, merges or added_tokens are damaged "
                        f"({type(error).__name__}: {error})")
    if stripping:
        raise UserError(f"{file}: the added token {stripping[0]!r} takes in spaces beside it "
                        "(lstrip, rstrip, single_word), which is not supported")
    size = 1 + max(id_of.values(), default=-1)
    if min(id_of.values(), default=-1) < 0 or size > 2 * len(id_of) + 4096:
        raise UserError(f"{file}: the vocabulary is damaged: {len(id_of)} tokens with ids up to "
                        f"{size - 1}")
    tokens: list[str | None] = [None] * size
    for token, i in id_of.items():
        tokens[i] = token
    settings, names = special_names(content, file)
    return bpe(file, tokens, merges, {token: id_of[token] for token in added},
               {token for token, entry in added.items() if entry.get("special")}, pre,
               whole_words=bool(model.get("ignore_merges")), composed=normalizer is not None,
               chat_template=chat_template(settings, file.parent),
               **{f"{which}_id": id_of.get(name, -1) if name else None
                  for which, name in names.items()})


def chat_template(settings: dict, folder: Path) -> str | None:
    """The chat template of a folder with these settings: text, the one called default of several,
    or a file of its own (newer)."""
    found = settings.get("chat_template")
    if isinstance(found, list):
        found = next((one.get("template") for one in found
                      if isinstance(one, dict) and one.get("name") == "default"), None)
    if found is None and (file := folder / CHAT).is_file():
        found = file.read_text(encoding="utf-8", errors="replace")
    return found if isinstance(found, str) else None


def pre_tokenizer(found: Any, file: Path) -> str:
    """The name of a `pre_tokenizer`; UserError for one that is not known."""
    parts = found.get("pretokenizers") if isinstance(found, dict) and \
        found.get("type") == "Sequence" else [found]
    if isinstance(parts, list) and all(isinstance(part, dict) for part in parts):
        plain = [{"use_regex": True} | part | {"trim_offsets": True}  # which changes no token
                 if part.get("type") == "ByteLevel" else part for part in parts]
        for name, known in PRE_TOKENIZERS.items():
            if plain == known:
                return name
    raise UserError(f"{file}: the pre_tokenizer {found!r:.300} is not supported; these are: "
                    f"{', '.join(PRE_TOKENIZERS)}")


def settings_beside(file: Path) -> dict:
    """What the `tokenizer_config.json` beside a tokenizer's file says; {} where there is none."""
    place = file.with_name(TOKENIZER_CONFIG)
    return read_json(place) if place.is_file() else {}


def special_names(content: dict, file: Path) -> tuple[dict, dict[str, str | None]]:
    """The settings in `tokenizer_config.json`, and which tokens are bos (if it is put before a
    text) and eos."""
    place, settings = file.with_name(TOKENIZER_CONFIG), settings_beside(file)
    bos, eos = (name.get("content") if isinstance(name := settings.get(f"{which}_token"), dict)
                else name for which in ("bos", "eos"))
    for name in (bos, eos):
        if not isinstance(name, str | None):
            raise UserError(f"{place}: bos_token or eos_token is {name!r:.60}, which is no text")
    if eos is None and (config := file.with_name("config.json")).is_file():
        ids = read_json(config).get("eos_token_id")
        wanted = ids[0] if isinstance(ids, list) and ids else ids
        eos = next((token["content"] for token in content.get("added_tokens") or ()
                    if token["id"] == wanted), None)
    if eos is None:
        raise UserError(f"{file}: which token ends a text? Name it as eos_token in {place}")
    processor = content.get("post_processor") or {}
    try:
        for step in processor.get("processors", [processor]):
            first: dict = next(iter(step.get("single") or ()), {})  # of a template: <bos> $A
            if "SpecialToken" in first:
                return settings, {"bos": str(first["SpecialToken"]["id"]), "eos": eos}
    except (AttributeError, TypeError, KeyError):
        raise UserError(f"{file}: the post_processor is damaged: {processor!r:.80}")
    return settings, {"bos": bos if settings.get("add_bos_token") else None, "eos": eos}


def bpe(path: Path, tokens: list[str | None], merges: list, added: dict[str, int],
        special: set[str], pre: str, **settings) -> ByteLevelBPE:
    """The tokenizer, if its parts fit each other."""
    known = set(filter(None, tokens))
    if len(known) != sum(token is not None for token in tokens) or not known:
        raise UserError(f"{path}: the vocabulary is damaged: a token is empty or stands in it "
                        "twice")
    for pair in merges:
        if len(pair) != 2 or not known.issuperset((*pair, "".join(pair))):
            raise UserError(f"{path}: the merge {pair!r:.80} is damaged: its parts or the whole "
                            "are no tokens")
    for which, does in (("eos", "ends"), ("bos", "begins")):
        i = settings[f"{which}_id"]
        if (i is not None or which == "eos") and not (
                isinstance(i, int) and 0 <= i < len(tokens) and tokens[i] is not None):
            raise UserError(f"{path}: the token that {does} a text, {i!r}, is not in the "
                            "vocabulary")
    return ByteLevelBPE(tokens, merges, added, pre, path, special=special, **settings)


def save_json(tokenizer: ByteLevelBPE, folder: Path) -> None:
    """Write the tokenizer's files into a model folder: those that it was read from, or new ones."""
    if tokenizer.path.suffix == ".json":
        for name in (BPE, TOKENIZER_CONFIG, CHAT):
            file = tokenizer.path if name == BPE else tokenizer.path.with_name(name)
            if file.is_file():
                write_bytes(folder / name, file.read_bytes())
        return
    names = {which: None if i is None else tokenizer.tokens[i]
             for which, i in (("bos", tokenizer.bos_id), ("eos", tokenizer.eos_id))}
    template = [{"Sequence": {"id": "A", "type_id": 0}}]
    if names["bos"]:
        template.insert(0, {"SpecialToken": {"id": names["bos"], "type_id": 0}})
    write_json({
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, "content": token, "single_word": False, "lstrip": False,
                          "rstrip": False, "normalized": False,
                          "special": token in tokenizer.special}
                         for token, i in tokenizer.added.items()],
        "normalizer": {"type": "NFC"} if tokenizer.composed else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": PRE_TOKENIZERS[tokenizer.pre]},
        "post_processor": {"type": "TemplateProcessing", "single": template,
                           "pair": [*template, {"Sequence": {"id": "B", "type_id": 1}}],
                           "special_tokens": {names["bos"]: {
                               "id": names["bos"], "ids": [tokenizer.bos_id],
                               "tokens": [names["bos"]]}} if names["bos"] else {}},
        "decoder": BYTES,
        "model": {"type": "BPE", "dropout": None, "unk_token": None,
                  "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False,
                  "ignore_merges": tokenizer.whole_words, "vocab": tokenizer.id_of,
                  "merges": list(map(list, tokenizer.rank))}}, folder / BPE)
    write_json({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": names["bos"],
                "eos_token": names["eos"], "add_bos_token": names["bos"] is not None,
                "clean_up_tokenization_spaces": False,
                **({"chat_template": tokenizer.chat_template} if tokenizer.chat_template else {})},
               folder / TOKENIZER_CONFIG)
