"""Makes templates/FAMILY.json: what transformers makes of conversations.json with each
family's chat template, as text and as ids.

Usage: python make_templates.py FOLDER MODEL.gguf

FOLDER is where deploy/dev-cluster/tokenizers.sh put the vocabularies; MODEL.gguf
is a SmolLM2, whose template and vocabulary come out of the file. README.md says more.
"""

import datetime
import functools
import hashlib
import importlib.metadata
import json
import pathlib
import re
import sys

import transformers
from transformers.utils import chat_template_utils

HERE = pathlib.Path(__file__).parent
NOW = datetime.datetime(2024, 3, 5, 14, 7, 9)
# Added to the first character of a special token in what a client wrote: a private character, which no
# template looks for.
STAND_IN = 0xF0000


class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


def main():
    folder, model = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    chat_template_utils.datetime = Clock
    conversations = json.loads((HERE / "templates" / "conversations.json").read_text())
    for path in sorted(folder.iterdir()):
        config = path / "tokenizer_config.json"
        if config.exists() and "chat_template" in json.loads(config.read_text()):
            tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(path)
            make(path.name, tokenizer, config, conversations)
    # Out of a GGUF file, transformers does not read how the text is split: no ids.
    tokenizer = transformers.AutoTokenizer.from_pretrained(model.parent, gguf_file=model.name)
    make("smollm2", tokenizer, model, conversations, with_ids=False)


def make(family, tokenizer, file, conversations, with_ids=True):
    rows = []
    for conversation in conversations:
        row = {"name": conversation["name"]}
        try:
            row["text"] = render(tokenizer, conversation)
        except Exception as error:
            row["error"] = str(error)
        if with_ids and "text" in row:
            row["ids"] = ids(tokenizer, render(tokenizer, marked(tokenizer, conversation)))
        rows.append(row)
    versions = {"transformers": importlib.metadata.version("transformers"), "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    text = ",\n".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows)
    (HERE / "templates" / f"{family}.json").write_text(f'{{"made_from":{json.dumps(versions)},"rows":[\n{text}\n]}}\n')
    print(family, sum("text" in row for row in rows), "rendered,", sum("error" in row for row in rows), "refused", flush=True)


def render(tokenizer, conversation):
    return tokenizer.apply_chat_template(
        conversation["messages"],
        tools=conversation.get("tools"),
        tokenize=False,
        add_generation_prompt=conversation.get("add_generation_prompt", True),
        **conversation.get("options", {}),
    )


@functools.cache
def special(tokenizer):
    texts = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    return re.compile("|".join(re.escape(text) for text in sorted(texts, key=len, reverse=True)))


def marked(tokenizer, value):
    """The same conversation, with no special token in anything that a client wrote."""
    if isinstance(value, str):
        return special(tokenizer).sub(lambda found: chr(STAND_IN + ord(found[0][0])) + found[0][1:], value)
    if isinstance(value, list):
        return [marked(tokenizer, item) for item in value]
    if isinstance(value, dict):
        return {marked(tokenizer, key): marked(tokenizer, item) for key, item in value.items()}
    return value


def ids(tokenizer, text):
    """Ids of a text in which only what the template wrote is a special token."""
    backend, made, start = tokenizer.backend_tokenizer, [], 0

    def plain(piece):
        backend.encode_special_tokens = True
        made.extend(backend.encode("".join(map(original, piece)), add_special_tokens=False).ids)
        backend.encode_special_tokens = False

    for found in special(tokenizer).finditer(text):
        plain(text[start : found.start()])
        made.append(tokenizer.convert_tokens_to_ids(found[0]))
        start = found.end()
    plain(text[start:])
    if not any(ord(c) >= STAND_IN for c in text):
        assert made == backend.encode(text, add_special_tokens=False).ids
    return made


def original(c):
    return chr(ord(c) - STAND_IN) if ord(c) >= STAND_IN else c


if __name__ == "__main__":
    main()
