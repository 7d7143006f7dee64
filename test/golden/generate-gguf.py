"""Writes what the tests of GGUF import are compared with, computed by the PyPI packages gguf, numpy and tokenizers.

    python test/golden/generate-gguf.py

needs gguf, tokenizers and safetensors; running the tests needs none of them. The versions used stand in the files.

files/gguf/blocks.safetensors: for each storage kind, five random blocks (`<kind>.blocks`, bytes; their float16 scales are finite) and their float32 values
(`<kind>.values`) as gguf.quants.dequantize gives them. Q8_K is left out: gguf knows its size only.
files/gguf/rope.json: the factors that llama.cpp's converter stores as rope_freqs.weight for a `rope_type` of llama3, in numpy's float32 (conversion/llama.py, generate_extra_tensors).
files/gguf/tokenizers.json: a small byte-level vocabulary, and the ids that the tokenizers package gives with the pre-tokenizers of the publishers' own tokenizer.json.
"""

import json
import math
from importlib.metadata import version
from pathlib import Path

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize
from safetensors.numpy import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

FILES = Path(__file__).parent / "files" / "gguf"
BLOCKS = 5
# Where the float16 numbers of a block lie.
HALVES = {
    "F16": [0], "BF16": [], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
    "IQ4_NL": [0], "IQ4_XS": [0],
}


def main():
    FILES.mkdir(parents=True, exist_ok=True)
    save_file(blocks(), FILES / "blocks.safetensors", metadata={"gguf": version("gguf")})
    write("rope.json", [rope(**model) for model in ROPES])
    write("tokenizers.json", tokenizers())


def write(name, value):
    (FILES / name).write_text(json.dumps(value) + "\n")


def blocks():
    random = np.random.default_rng(5)
    found = {}
    for name, halves in HALVES.items():
        kind = GGMLQuantizationType[name]
        _, size = GGML_QUANT_SIZES[kind]
        count = BLOCKS if size > 2 else 64
        raw = random.integers(0, 256, (count, size), dtype=np.uint8)
        for at in halves:
            scales = (random.normal(size=count) * 10.0 ** random.integers(-6, 3, count)).astype(np.float16)
            raw[:, at : at + 2] = scales.view(np.uint8).reshape(count, 2)
        if name == "BF16":
            raw[:, 1] &= 0xBF  # no exponent of infinities
        found[f"{name}.blocks"] = raw.reshape(-1)
        found[f"{name}.values"] = dequantize(raw, kind).astype(np.float32).reshape(-1)
    return found


ROPES = [
    dict(model="Llama 3.1 8B", head_dim=128, theta=500000.0, factor=8.0, low=1.0, high=4.0, original=8192),
    dict(model="Llama 3.2 1B", head_dim=64, theta=500000.0, factor=32.0, low=1.0, high=4.0, original=8192),
    dict(model="Llama 3.2 3B", head_dim=128, theta=500000.0, factor=32.0, low=1.0, high=4.0, original=8192),
    dict(model="other numbers", head_dim=96, theta=10000.0, factor=6.0, low=1.0, high=5.5, original=2048),
]


def rope(model, head_dim, theta, factor, low, high, original):
    frequencies = np.float32(1) / np.float32(theta) ** (np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim))
    factors = []
    for frequency in frequencies:
        wave = np.float32(2 * math.pi) / frequency
        if wave < original / high:
            factors.append(1.0)
        elif wave > original / low:
            factors.append(factor)
        else:
            smooth = (original / wave - low) / (high - low)
            factors.append(float(np.float32(1 / ((1 - smooth) / factor + smooth))))
    return dict(model=model, head_dim=head_dim, theta=theta, factor=factor, low=low, high=high, original=original, factors=factors)


MERGES = ["\u0120 t", "h e", "\u0120t he", "i n", "\u0120 a", "2 0", "20 2", "202 4", "l l", "' l", "'l l", "\u010a \u010a", "\u0120 \u0120", "\u0120\u0120 \u0120", "C a", "\u00c3 \u00a9", "f \u00c3\u00a9"]
SPECIAL = ["<|begin|>", "<|end|>"]
TEXTS = [
    "the theme in a thin line", "2024 and 12345678 or 1,000.5", "I'll they'LL don't CAN'T", "a  b   c\n\n d\r\n\te", "  \n leading and trailing  \n\n", "caf\u00e9 cafe\u0301 na\u00efve", "\u6771\u4eac \u0661\u0662\u0663\u0664 \u00bd \u216b",
    "<|begin|>the<|end|> a", "fn(x)=>{return x!==y;} // done...", "\U0001f600\u200d\U0001f525 emoji", "the-\u00a0\u3000wide", "/path/to  :--",
]
LLAMA = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def tokenizers():
    # A word that no merge makes: only ignore_merges finds it.
    tokens = SPECIAL + sorted(pre_tokenizers.ByteLevel.alphabet()) + [merge.replace(" ", "") for merge in MERGES] + ["theme"]
    vocab = {token: i for i, token in enumerate(tokens)}
    kinds = {"llama-bpe": (LLAMA, None, True), "qwen2": (QWEN, normalizers.NFC(), False)}
    ids = {}
    for name, (pattern, normalizer, ignore_merges) in kinds.items():
        tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[tuple(merge.split(" ")) for merge in MERGES], ignore_merges=ignore_merges))
        if normalizer is not None:
            tokenizer.normalizer = normalizer
        split = pre_tokenizers.Split(Regex(pattern), behavior="isolated", invert=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
        ids[name] = [tokenizer.encode(text, add_special_tokens=False).ids for text in TEXTS]
    return {"tokenizers": version("tokenizers"), "special": len(SPECIAL), "tokens": tokens, "merges": MERGES, "texts": TEXTS, "ids": ids}


if __name__ == "__main__":
    main()
