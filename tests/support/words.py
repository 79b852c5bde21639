"""A tokenizer for the tests, one letter a token, and decoding at its plainest. Nothing here is a
test."""

import torch

SPECIAL = 3  # unk, bos, eos


class Letters:
    """Ids 3, 4, … stand for a, b, …; like `Tokenizer` as far as decoding needs it."""

    bos_id, eos_id = 1, 2

    def __init__(self, vocab_size: int):
        self.vocab_size = vocab_size

    def encode_prompt(self, prompt: str) -> list[int]:
        return [self.bos_id] + [ord(letter) - ord("a") + SPECIAL for letter in prompt]

    def decode(self, ids: list[int]) -> str:
        return "".join(chr(i - SPECIAL + ord("a")) if i >= SPECIAL else f"<{i}>" for i in ids)

    def decode_answer(self, prompt: str, ids: list[int]) -> str:
        return self.decode(ids)


def by_full_forward(model, letters: Letters, prompt: str, limit: int) -> str:
    """The greedy answer without cache or batch: the whole text is read again for each token."""
    ids, new = letters.encode_prompt(prompt), []
    while len(new) < min(limit, model.config.max_positions - len(ids)):
        with torch.no_grad():
            token = int(model(torch.tensor([ids + new]))[0, -1].argmax())
        if token == letters.eos_id:
            break
        new.append(token)
    return letters.decode(new)
