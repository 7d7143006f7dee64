"""Makes tokenizer-golden.json: a small byte-level BPE tokenizer, texts with the ids and the decoded text that the Rust `tokenizers` gives, and chat
templates with the text that Hugging Face transformers renders. Versions used stand in the file. With a directory of SmolLM2-135M-Instruct as the first
argument it also writes smollm2-ids.json, the same texts through that directory's tokenizer.

    python make_tokenizer_golden.py [models/smollm2-135m-instruct]
"""
import json
import sys
from pathlib import Path

import tokenizers
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

HERE = Path(__file__).parent
TEXTS = [
    "Hello world", "2024", "In 2024, 1234567890 people", "  leading and trailing  ", "tabs\tand\nnew\n\nlines\r\n", "日本語のテキスト",
    "emoji 👩‍👩‍👧 🎉🎉", "naïve café Ünïcödé", "e\u0301 combining", "<|im_start|>user\nhi<|im_end|>\n", "a<|endoftext|>b", "<|im_start|><|im_start|>",
    "I'm you're he'll they've it's I'd don't", "CAN'T STOP", "x²+y³=½", "Ⅷ ٣٤٥ 五", "price: $3.50!!! ???", "    def f(x):\n        return x**2  # c",
    "\u00a0nbsp\u00a0 \u2003em\u2003", "\u0085nel\ufefffeff", "\ufeffbom", "\u200bzero width", "a\u0000b", "mixed123abc456", "https://example.org/a?b=1&c=2",
    "한국어 텍스트", "Русский текст", "العربية ١٢٣", "<repo_name>x<file_sep>", "", "\n", " ", "9" * 30, "don’t “quote”", "__proto__ constructor toString",
    " 42", " \n 7 \n",
]
CORPUS = [text for text in TEXTS if "<" not in text] + ["2024 2024 20 24 99 99", "the cat and the hat", "lines and lines", "hello hello world", "__proto__ __proto__"] * 4
TEMPLATES = {
    "smollm2": "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are helpful<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "blocks on lines of their own": "{{ bos_token }}\n{%- for message in messages %}\n    {% if message.role == 'user' %}\n    U: {{ message.content | trim }}\n    {% else %}\n    A: {{ message.content }}\n    {% endif %}\n{% endfor %}\n  {%- if add_generation_prompt %}\nA:{% endif %}{{ eos_token }}",
    "namespace and json": "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}[{{ ns.n }}:{{ m | tojson }}]{% endfor %}{{ messages | length }}",
}
CONVERSATIONS = [
    [{"role": "user", "content": " hi there "}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "a\nb"}, {"role": "assistant", "content": "é <|im_end|>"}],
]


def small_tokenizer():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    special = [AddedToken(text, special=True, normalized=False) for text in ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]]
    trainer = trainers.BpeTrainer(vocab_size=440, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_tokens([AddedToken("<repo_name>", special=False, normalized=False)])
    return tokenizer


def encoded(tokenizer):
    rows = []
    for text in TEXTS:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        rows.append({"text": text, "ids": ids, "kept": tokenizer.decode(ids, skip_special_tokens=False), "skipped": tokenizer.decode(ids, skip_special_tokens=True)})
    return rows


def rendered():
    wrapped = PreTrainedTokenizerFast(tokenizer_object=small_tokenizer(), bos_token="<|im_start|>", eos_token="<|im_end|>")
    rows = []
    for name, template in TEMPLATES.items():
        for messages in CONVERSATIONS:
            for add in (True, False):
                text = wrapped.apply_chat_template(messages, chat_template=template, tokenize=False, add_generation_prompt=add)
                rows.append({"template": name, "messages": messages, "add": add, "text": text})
    return rows


def write(name, value):
    (HERE / name).write_text(json.dumps(value, ensure_ascii=True, indent=1) + "\n")


versions = {"tokenizers": tokenizers.__version__, "transformers": transformers.__version__}
small = small_tokenizer()
write("tokenizer-golden.json", {"versions": versions, "tokenizer": json.loads(small.to_str()), "texts": encoded(small), "templates": TEMPLATES, "rendered": rendered()})
if len(sys.argv) > 1:
    full = AutoTokenizer.from_pretrained(sys.argv[1]).backend_tokenizer
    write("smollm2-ids.json", {"versions": versions, "texts": encoded(full)})
