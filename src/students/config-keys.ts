import { join } from 'node:path';
import { ModelConfigInvalid } from '../model-files/errors.js';
import { readJsonObject } from '../model-files/json-file.js';

/** Keys of config.json that Limbeck reads, and those that transformers (4.30 to 5) and transformers.js write for a model of its families beside them. */
const KNOWN_KEYS: ReadonlySet<string> = new Set(
  `model_type architectures vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads head_dim hidden_act rms_norm_eps
   rope_theta rope_parameters rope_scaling rope_interleaved partial_rotary_factor max_position_embeddings attention_bias attention_dropout mlp_bias use_sliding_window sliding_window max_window_layers layer_types quantization_config
   tie_word_embeddings bos_token_id eos_token_id pad_token_id sep_token_id decoder_start_token_id initializer_range is_llama_config pretraining_tp torch_dtype dtype
   transformers_version use_cache _name_or_path _commit_hash _attn_implementation_autoset attn_implementation transformers.js_config return_dict return_dict_in_generate
   output_hidden_states output_attentions output_scores torchscript use_bfloat16 tf_legacy_loss pruned_heads is_encoder_decoder is_decoder cross_attention_hidden_size
   add_cross_attention tie_encoder_decoder max_length min_length do_sample early_stopping num_beams num_beam_groups diversity_penalty temperature top_k top_p typical_p
   repetition_penalty length_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size bad_words_ids num_return_sequences chunk_size_feed_forward forced_bos_token_id
   forced_eos_token_id remove_invalid_values exponential_decay_length_penalty suppress_tokens begin_suppress_tokens finetuning_task id2label label2id tokenizer_class prefix
   task_specific_params problem_type unsloth_fixed unsloth_version`.split(/\s+/),
);

/** A pushed configuration holds nothing that Limbeck, or transformers at whoever takes the student away, does not know. @throws ModelConfigInvalid, ModelFileMissing, ModelFileMalformed */
export async function checkConfigKeys(dir: string): Promise<void> {
  const path = join(dir, 'config.json');
  const unknown = Object.keys(await readJsonObject(path)).find((key) => !KNOWN_KEYS.has(key));
  if (unknown === undefined) return;
  throw new ModelConfigInvalid(`${path}: ${unknown.slice(0, 100)} is no key of a Llama or Qwen configuration; remove it`);
}
