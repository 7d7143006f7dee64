"""One request a run of Hugging Face `generate`: greedy, a fixed number of new tokens."""

import torch
import transformers
from transformers import AutoModelForCausalLM

import peer

given = peer.arguments()
prompts = peer.read_ids(given["tokens"], given["length"])[: given["sequences"], : given["promptTokens"]]
new = given["newTokens"]
model = AutoModelForCausalLM.from_pretrained(given["studentDir"], dtype=peer.DTYPE).eval()


@torch.inference_mode()
def generate():
    out = model.generate(input_ids=prompts, attention_mask=torch.ones_like(prompts), do_sample=False, min_new_tokens=new, max_new_tokens=new, pad_token_id=0)
    return {"tokens": (out.shape[1] - prompts.shape[1]) * out.shape[0]}


peer.serve(f"Hugging Face generate (transformers {transformers.__version__}, torch {torch.__version__})", generate)
