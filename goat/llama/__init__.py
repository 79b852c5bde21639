"""The machine: a LLaMA, LoRA, 8-bit weights, its tokenizer and decoding. It knows no paper."""
