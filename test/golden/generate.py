"""Writes the golden files of tiny random models of each family, computed by Hugging Face transformers and torch.

    python test/golden/generate.py

needs torch, transformers and safetensors; running the tests needs none of them. The versions used stand in each file's metadata.

Each folder files/<model>/ holds a Hugging Face directory (config.json, model.safetensors with bf16 weights) and golden.safetensors. Everything there is
float64 except `logits_float32_NV`, which the untouched float32 model gives. In float64 two things had to be replaced, because transformers computes
them in float32 whatever the model's type: the root mean square of the norms and the angles of the rotary embedding. The `bf16.*` entries say how far
transformers itself comes from float64 when it runs the same model in bf16: the yardstick for an engine that computes in bf16.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM
from transformers.models.llama import modeling_llama
from transformers.models.qwen2 import modeling_qwen2
from transformers.models.qwen3 import modeling_qwen3

FILES = Path(__file__).parent / "files"
TAIL_FLOOR = 1e-6
LOSSES = ["hard", "forward_kl", "reverse_kl"]
LENGTHS = [7, 1, 12]
OPTIMISER = {"learningRate": 3e-3, "beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weightDecay": 0.1, "clip": 0.7}
STEPS = 10
# The seeds are the first whose greedy continuation is varied and decided by more than 0.1 nats at every token, and with which transformers' own gradients in
# bf16 lie within 4 % of those in float64: a model that magnifies roundings would tell little of an engine.
SEEDS = {"tied": 2, "untied": 45, "llama3": 11, "qwen2": 392, "qwen3-tied": 16, "qwen3-untied": 7}
# Configuration and model class, the module of norm and rotary embedding and how their classes' names begin, and what config.json says beside the shape.
FAMILIES = {
    "llama": (LlamaConfig, LlamaForCausalLM, modeling_llama, "Llama", {"attention_bias": False, "mlp_bias": False}),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM, modeling_qwen2, "Qwen2", {"use_sliding_window": False}),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM, modeling_qwen3, "Qwen3", {"attention_bias": False, "use_sliding_window": False}),
}
# With the first length of 32 and theta 500, the first pair of a head of 12 turns as without scaling, the second is interpolated, the others are slowed down.
LLAMA3_ROPE = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
MODELS = {
    "tied": dict(num_hidden_layers=2, hidden_size=20, intermediate_size=37, num_attention_heads=4, num_key_value_heads=2, head_dim=10, vocab_size=83, tie_word_embeddings=True),
    "untied": dict(num_hidden_layers=3, hidden_size=15, intermediate_size=29, num_attention_heads=5, num_key_value_heads=1, head_dim=6, vocab_size=101, tie_word_embeddings=False),
    "llama3": dict(
        num_hidden_layers=2, hidden_size=20, intermediate_size=23, num_attention_heads=4, num_key_value_heads=2, head_dim=12, vocab_size=67, tie_word_embeddings=False,
        rope_theta=500.0, rope_scaling=LLAMA3_ROPE,
    ),
    "qwen2": dict(
        model_type="qwen2", num_hidden_layers=2, hidden_size=24, intermediate_size=21, num_attention_heads=4, num_key_value_heads=2, vocab_size=67, tie_word_embeddings=True,
        rope_theta=1000.0,
    ),
    "qwen3-tied": dict(
        model_type="qwen3", num_hidden_layers=2, hidden_size=17, intermediate_size=25, num_attention_heads=4, num_key_value_heads=2, head_dim=10, vocab_size=71,
        tie_word_embeddings=True, rope_theta=5000.0,
    ),
    "qwen3-untied": dict(
        model_type="qwen3", num_hidden_layers=2, hidden_size=15, intermediate_size=19, num_attention_heads=3, num_key_value_heads=1, head_dim=6, vocab_size=67,
        tie_word_embeddings=False, rope_theta=5000.0,
    ),
}


def main():
    for name, shape in MODELS.items():
        torch.manual_seed(SEEDS[name])
        folder = FILES / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        config = configuration(shape)
        state = random_state(config)
        write_model(folder, config, state)
        batch = random_batch(config.vocab_size)
        golden = dict(batch)
        golden["logits_float32_NV"] = run_logits(build(config, state, torch.float32), batch)
        in_bf16 = build(config, state, torch.bfloat16)
        logits_bf16_NV, gradients_bf16 = run_logits(in_bf16, batch), gradients(in_bf16, batch)
        restore = patch_for_float64(config.model_type)
        model = build(config, state, torch.float64)
        golden["logits_NV"] = run_logits(model, batch)
        golden |= gradients(model, batch)
        golden |= greedy(model)
        golden |= train(model, batch)
        restore()
        golden |= distances(golden, logits_bf16_NV, gradients_bf16)
        about = {
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "python": sys.version.split()[0],
            "optimiser": OPTIMISER,
            "losses": [step_loss(step) for step in range(STEPS)],
        }
        tensors = {key: value.detach().contiguous().clone() for key, value in golden.items()}
        save_file(tensors, folder / "golden.safetensors", metadata={"golden": json.dumps(about)})  # one entry: safetensors writes several in any order


def configuration(shape):
    shape = {"model_type": "llama", "rope_theta": 10000.0, "rope_scaling": None} | shape
    make = FAMILIES[shape.pop("model_type")][0]
    rope = {"rope_theta": shape.pop("rope_theta")} | (shape.pop("rope_scaling") or {"rope_type": "default"})
    return make(**shape, rope_parameters=rope, max_position_embeddings=64, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2, attn_implementation="sdpa")


def random_state(config):
    """Weights that bf16 holds exactly. The deviations make the layers outweigh the embedding, so that a tied model does not just repeat its input."""
    state = {}
    for key, value in FAMILIES[config.model_type][1](config).state_dict().items():
        noise = torch.randn(value.shape, dtype=torch.float64)
        if key.endswith("bias"):
            weight = 0.5 * noise
        elif value.dim() == 1:
            weight = 1 + (0.3 if "q_norm" in key or "k_norm" in key else 0.1) * noise
        else:
            gain = 1.5 if "embed" in key or "lm_head" in key else 2.5 if "o_proj" in key or "down_proj" in key else 1.0
            weight = gain * noise / value.shape[1] ** 0.5
        state[key] = weight.to(torch.bfloat16)
    if config.tie_word_embeddings:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    return state


def write_model(folder, config, state):
    _, model, _, _, own = FAMILIES[config.model_type]
    rope = dict(config.rope_parameters)
    theta = rope.pop("rope_theta")
    plain = {
        "architectures": [model.__name__], "model_type": config.model_type, "hidden_act": "silu", **own, "rope_scaling": rope if rope["rope_type"] != "default" else None, "rope_theta": theta,
        "torch_dtype": "bfloat16",
    }
    keys = ["vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "rms_norm_eps", "max_position_embeddings", "tie_word_embeddings", "bos_token_id", "eos_token_id"]
    (folder / "config.json").write_text(json.dumps(plain | {key: getattr(config, key) for key in keys if hasattr(config, key)}, indent=2) + "\n")
    stored = {key: value for key, value in state.items() if not (config.tie_word_embeddings and key == "lm_head.weight")}
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})


def random_batch(vocab):
    """Sequences end to end, some of their rows, and for each row a teacher: top k of random logits with the label added, normalised with a floored tail."""
    total = sum(LENGTHS)
    tokens = torch.randint(0, vocab, (total,))
    starts = [sum(LENGTHS[:i]) for i in range(len(LENGTHS) + 1)]
    rows = [row for begin, end in zip(starts, starts[1:]) for row in range(begin + 1, end - 1)]
    labels = [int(tokens[row + 1]) for row in rows]
    offsets, ids, log_probs, tails = [0], [], [], []
    for r, label in enumerate(labels):
        log_q = torch.log_softmax(2.5 * torch.randn(vocab, dtype=torch.float64), -1)
        # Row 0 has every id in its support, so both tails are floored; the others have 1 to 6 and the label.
        support = torch.topk(log_q, vocab if r == 0 else 1 + r % 6).indices.tolist()
        support += [] if label in support else [label]
        head = log_q[support]
        tail = max(1 - float(head.exp().sum()), TAIL_FLOOR)
        ids += support
        log_probs += (head - head.logsumexp(0) + torch.log1p(torch.tensor(-tail, dtype=torch.float64))).tolist()
        tails.append(tail)
        offsets.append(len(ids))
    integers = {"tokens_N": tokens, "cuSeqlens_S1": starts, "rows_R": rows, "labels_R": labels, "offsets_R1": offsets, "ids_E": ids}
    floats = {"weights_R": [0.5 + 0.25 * (r % 4) for r in range(len(rows))], "logProbs_E": log_probs, "tail_R": tails}
    return {key: torch.as_tensor(value).to(torch.int32) for key, value in integers.items()} | {key: torch.tensor(value, dtype=torch.float32) for key, value in floats.items()}


def build(config, state, dtype):
    model = FAMILIES[config.model_type][1](config).to(dtype)
    model.load_state_dict({key: value.to(dtype) for key, value in state.items()})
    return model.eval()


def run_logits(model, batch):
    sequences = torch.split(batch["tokens_N"].long(), LENGTHS)
    return torch.cat([model(sequence[None]).logits[0] for sequence in sequences])


def batch_loss(model, batch, kind):
    """Sum over rows of weight x loss; formulas written from the definitions, gradients left to autograd."""
    log_p_RV = torch.log_softmax(run_logits(model, batch)[batch["rows_R"].long()].double(), -1)
    total = 0.0
    for r, weight in enumerate(batch["weights_R"].double()):
        log_p = log_p_RV[r]
        if kind == "hard":
            total = total - weight * log_p[batch["labels_R"][r].long()]
            continue
        begin, end = batch["offsets_R1"][r], batch["offsets_R1"][r + 1]
        support = batch["ids_E"][begin:end].long()
        log_q = batch["logProbs_E"][begin:end].double()
        off = torch.ones(log_p.shape[0], dtype=torch.bool)
        off[support] = False
        p_tail = log_p[off].exp().sum().clamp(min=TAIL_FLOOR)
        q_tail = batch["tail_R"][r].double().clamp(min=TAIL_FLOOR)
        if kind == "forward_kl":
            loss = (log_q.exp() * (log_q - log_p[support])).sum() + q_tail * (q_tail / p_tail).log()
        else:
            loss = (log_p[support].exp() * (log_p[support] - log_q)).sum() + p_tail * (p_tail / q_tail).log()
        total = total + weight * loss
    return total


def gradients(model, batch):
    """Loss sums, and gradients of sum / weight of the batch, of every loss."""
    found = {}
    for kind in LOSSES:
        model.zero_grad()
        loss = batch_loss(model, batch, kind)
        found[f"loss.{kind}"] = loss
        (loss / batch["weights_R"].double().sum()).backward()
        for name, parameter in model.named_parameters():
            found[f"gradient.{kind}.{name}"] = parameter.grad
    return found


def distances(golden, logits_bf16_NV, gradients_bf16):
    """Largest and root mean square distance of a log-prob, and the relative L2 distance of each loss's whole gradient, of the bf16 model."""
    off = torch.log_softmax(logits_bf16_NV.double(), -1) - torch.log_softmax(golden["logits_NV"], -1)
    found = {"bf16.logProb": off.abs().max(), "bf16.logProbRms": off.pow(2).mean().sqrt()}
    for kind in LOSSES:
        names = [name for name in golden if name.startswith(f"gradient.{kind}.")]
        exact, rounded = (torch.cat([source[name].double().flatten() for name in names]) for source in (golden, gradients_bf16))
        found[f"bf16.gradient.{kind}"] = (rounded - exact).norm() / exact.norm()
    return found


def greedy(model):
    prompt = torch.tensor([[5, 11, 3, 60]])
    written = model.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=16, eos_token_id=None, pad_token_id=0)[0]
    best = model(written[None]).logits[0, prompt.shape[1] - 1 : -1].topk(2).values
    return {"greedy.prompt_T": prompt[0].to(torch.int32), "greedy.ids_T": written[prompt.shape[1] :].to(torch.int32), "greedy.gaps_T": best[:, 0] - best[:, 1]}


def step_loss(step):
    return LOSSES[step % len(LOSSES)]


def train(model, batch):
    """AdamW on the same batch, the three losses in turn; the gradient is clipped by min(1, clip / norm)."""
    o = OPTIMISER
    optimiser = torch.optim.AdamW(model.parameters(), lr=o["learningRate"], betas=(o["beta1"], o["beta2"]), eps=o["eps"], weight_decay=o["weightDecay"])
    losses, norms = [], []
    for step in range(STEPS):
        optimiser.zero_grad()
        loss = batch_loss(model, batch, step_loss(step))
        (loss / batch["weights_R"].double().sum()).backward()
        norm = torch.sqrt(sum(parameter.grad.pow(2).sum() for parameter in model.parameters()))
        for parameter in model.parameters():
            parameter.grad *= torch.clamp(o["clip"] / norm, max=1.0)
        optimiser.step()
        losses.append(loss.detach())
        norms.append(norm)
    final = {f"final.{name}": parameter for name, parameter in model.named_parameters()}
    return {"train.losses": torch.stack(losses), "train.norms": torch.stack(norms)} | final


def patch_for_float64(model_type):
    """Norms and angles of a family in the model's own type. Answers how to take that back."""
    _, _, module, prefix, _ = FAMILIES[model_type]
    norm, embedding = getattr(module, f"{prefix}RMSNorm"), getattr(module, f"{prefix}RotaryEmbedding")
    originals = norm.forward, embedding.forward
    norm.forward = lambda self, x: self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))

    def rotary(self, x, position_ids):
        frequencies = rotation_frequencies(self.config)
        torch.testing.assert_close(frequencies.float(), self.original_inv_freq.float(), rtol=1e-6, atol=0)
        angles = position_ids[..., None].double() * frequencies
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos().to(x.dtype), angles.sin().to(x.dtype)

    embedding.forward = rotary

    def restore():
        norm.forward, embedding.forward = originals

    return restore


def rotation_frequencies(config):
    """In float64, by the definitions; transformers' own float32 ones are compared with them."""
    rope = config.rope_parameters
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    frequencies = rope["rope_theta"] ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    if rope["rope_type"] == "default":
        return frequencies
    turns = rope["original_max_position_embeddings"] * frequencies / (2 * torch.pi)
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    kept = ((turns - low) / (high - low)).clamp(0, 1)
    regimes = [int((turns > high).sum()), int(((turns > low) & (turns < high)).sum()), int((turns < low).sum())]
    assert all(regimes), f"pairs that turn as before, interpolated and slowed down: {regimes}"
    return kept * frequencies + (1 - kept) * frequencies / rope["factor"]


if __name__ == "__main__":
    main()
