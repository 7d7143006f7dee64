"""One step a run of a plain Hugging Face + PyTorch loop, forward KL against stored top-k targets with a tail bucket (performance reference, loss A)."""

import torch
import transformers
from transformers import AutoModelForCausalLM

import peer

TAIL_FLOOR = 1e-6

given = peer.arguments()
optimizer = given["optimizer"]
sequences, prompt, support = given["sequences"], given["promptTokens"], given["support"]
completion = given["length"] - prompt
tokens = peer.read_ids(given["tokens"], given["length"])[:sequences]
ids = peer.read_ids(given["targetIds"], support)[: sequences * completion]
log_q = peer.read_floats(given["targetLogProbs"], support)[: sequences * completion]
tail_q = peer.read_floats(given["targetTails"], 1)[: sequences * completion, 0]

model = AutoModelForCausalLM.from_pretrained(given["studentDir"], dtype=peer.DTYPE)
model.train()
weights = [weight for weight in model.parameters() if weight.requires_grad]
masters = [weight.detach().float().requires_grad_() for weight in weights]  # in float32 the weights themselves
adam = torch.optim.AdamW(
    masters, lr=optimizer["learningRate"], betas=(optimizer["beta1"], optimizer["beta2"]), eps=optimizer["eps"], weight_decay=optimizer["weightDecay"], fused=True
)


def loss_of(tokens, ids, log_q, tail_q):
    logits = model(input_ids=tokens, logits_to_keep=completion + 1, use_cache=False).logits[:, :-1].reshape(sequences * completion, -1).float()
    log_p = logits.gather(1, ids) - logits.logsumexp(1, keepdim=True)
    tail_p = (1 - log_p.exp().sum(1)).clamp_min(TAIL_FLOOR)
    return ((log_q.exp() * (log_q - log_p)).sum(1) + tail_q * (tail_q.log() - tail_p.log())).mean()


if given["compile"]:
    loss_of = torch.compile(loss_of)


def step():
    loss = loss_of(tokens, ids, log_q, tail_q)
    loss.backward()
    for master, weight in zip(masters, weights):
        master.grad = weight.grad.float()
        weight.grad = None
    torch.nn.utils.clip_grad_norm_(masters, optimizer["clip"])
    adam.step()
    if peer.DTYPE != torch.float32:
        with torch.no_grad():
            torch._foreach_copy_(weights, masters)
    adam.zero_grad()
    return {"lossNats": loss.item()}


peer.serve(f"{'torch.compile' if given['compile'] else 'PyTorch loop'} (transformers {transformers.__version__}, torch {torch.__version__})", step)
