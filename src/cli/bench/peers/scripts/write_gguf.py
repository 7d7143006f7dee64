"""Writes a Llama or Qwen3 directory as a BF16 GGUF: `write_gguf.py DIR FILE`. Its vocabulary is made up, because nothing here reads text."""

import json
import sys

import gguf
import torch
from safetensors.torch import load_file

directory, file = sys.argv[1:]
config = json.load(open(f"{directory}/config.json"))
architecture = config["model_type"]
heads, kv_heads, layers = config["num_attention_heads"], config["num_key_value_heads"], config["num_hidden_layers"]
head_dim = config.get("head_dim") or config["hidden_size"] // heads

writer = gguf.GGUFWriter(file, architecture)
writer.add_context_length(config["max_position_embeddings"])
writer.add_embedding_length(config["hidden_size"])
writer.add_block_count(layers)
writer.add_feed_forward_length(config["intermediate_size"])
writer.add_head_count(heads)
writer.add_head_count_kv(kv_heads)
writer.add_key_length(head_dim)
writer.add_value_length(head_dim)
writer.add_rope_dimension_count(head_dim)
writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
writer.add_rope_freq_base(config.get("rope_theta") or config["rope_parameters"]["rope_theta"])
writer.add_vocab_size(config["vocab_size"])
writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
writer.add_tokenizer_model("gpt2")
writer.add_tokenizer_pre("default")
writer.add_token_list([f"t{token}" for token in range(config["vocab_size"])])
writer.add_token_types([gguf.TokenType.NORMAL] * config["vocab_size"])
writer.add_token_merges(["t 0"])
writer.add_bos_token_id(1)
writer.add_eos_token_id(2)

names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA if architecture == "llama" else gguf.MODEL_ARCH.QWEN3, layers)


def interleaved(weight, count):
    """llama.cpp rotates neighbours where Hugging Face rotates halves; only for the architecture `llama`."""
    return weight.reshape(count, 2, head_dim // 2, -1).swapaxes(1, 2).reshape(weight.shape)


for name, weight in load_file(f"{directory}/model.safetensors").items():
    if architecture == "llama" and name.endswith(("q_proj.weight", "k_proj.weight")):
        weight = interleaved(weight, heads if "q_proj" in name else kv_heads)
    target = names.get_name(name, try_suffixes=(".weight", ".bias"))
    if weight.dim() == 1:
        writer.add_tensor(target, weight.float().numpy())
        continue
    bits = weight.contiguous().view(torch.uint8).numpy()
    writer.add_tensor(target, bits, raw_dtype=gguf.GGMLQuantizationType.BF16)

writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
