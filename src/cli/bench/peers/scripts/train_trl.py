"""One step a run of TRL's DistillationTrainer, forward KL against a teacher in the same process, on completions that are given instead of generated."""

import tempfile

import tokenizers
import torch
import transformers
import trl
from datasets import Dataset
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, TrainerCallback

import peer

given = peer.arguments()
prompt = given["promptTokens"]
tokens = peer.read_ids(given["tokens"], given["length"])[: given["sequences"]].tolist()


class GivenCompletions(trl.DistillationTrainer):
    """Everything is TRL's own except where prompts and completions come from."""

    def _tokenize_prompts(self, prompts):
        self.rows = [int(row) for row in prompts]
        return [tokens[row][:prompt] for row in self.rows], None, {}

    def _generate_single_turn(self, prompt_ids, images, multimodal_fields, **unused):
        return [tokens[row][prompt:] for row in self.rows]

    def training_step(self, *args, **kwargs):
        self.last_loss = super().training_step(*args, **kwargs)
        return self.last_loss


class StepByStep(TrainerCallback):
    """Begins a step when the driver asks for it, and answers when its update is done."""

    def on_step_begin(self, *args, **kwargs):
        peer.wait_for_run()

    def on_step_end(self, *args, **kwargs):
        peer.answer(lossNats=trainer.last_loss.item())


# The trainer wants a tokenizer; it never sees text here.
tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizers.Tokenizer(tokenizers.models.WordLevel({"<end>": given["endId"]}, "<end>")), eos_token="<end>", pad_token="<end>")
optimizer = given["optimizer"]
trainer = GivenCompletions(
    model=AutoModelForCausalLM.from_pretrained(given["studentDir"], dtype=torch.float32),  # TRL's own default: float32 weights, bf16 by autocast
    teacher_model=AutoModelForCausalLM.from_pretrained(given["teacherDir"], dtype=peer.DTYPE),
    args=trl.DistillationConfig(
        output_dir=tempfile.mkdtemp(),
        use_cpu=True,
        bf16=peer.DTYPE == torch.bfloat16,
        gradient_checkpointing=False,
        beta=0.0,
        per_device_train_batch_size=given["sequences"],
        max_completion_length=given["length"] - prompt,
        max_steps=given["steps"],
        learning_rate=optimizer["learningRate"],
        adam_beta1=optimizer["beta1"],
        adam_beta2=optimizer["beta2"],
        adam_epsilon=optimizer["eps"],
        weight_decay=optimizer["weightDecay"],
        max_grad_norm=optimizer["clip"],
        lr_scheduler_type="constant",
        shuffle_dataset=False,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    ),
    train_dataset=Dataset.from_dict({"prompt": [str(row) for row in range(given["sequences"])]}),
    processing_class=tokenizer,
    callbacks=[StepByStep()],
)
peer.ready(f"TRL {trl.__version__} DistillationTrainer (transformers {transformers.__version__}, torch {torch.__version__})")
trainer.train()
