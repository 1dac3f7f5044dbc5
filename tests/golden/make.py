"""Makes greedy.json, logits.json and tokens.json from a model file.

Usage: python make.py MODEL.gguf

Token ids come from llama.cpp, numbers from transformers in 32-bit floats on the
weights that it dequantizes from the same file. README.md says more.
"""

import hashlib
import importlib.metadata
import json
import pathlib
import random
import sys
import urllib.request

import torch
import transformers
import xllamacpp

from lines import lines

HERE = pathlib.Path(__file__).parent
STEPS = 64
LOGITS_OF = ("rust", "chat-turns")
LOGITS_IDS = 256


def main():
    file = pathlib.Path(sys.argv[1]).resolve()
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    versions = {name: importlib.metadata.version(name) for name in ("torch", "transformers", "gguf", "xllamacpp")}
    made_from = {"file": file.name, "sha256": sha256, "versions": versions}
    tokenize = llama_cpp(file)

    texts = lines()
    write("tokens.json", made_from, [{"text": text, "ids": tokenize(text)} for text in texts])

    torch.set_grad_enabled(False)
    loading = {"gguf_file": file.name}
    tokenizer = transformers.AutoTokenizer.from_pretrained(file.parent, **loading)
    model = transformers.AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.float32, **loading)
    model.eval()
    assert next(model.parameters()).dtype == torch.float32
    greedy, chosen_logits = [], []
    for entry in json.loads((HERE / "prompts.json").read_text()):
        text = entry.get("prompt") or tokenizer.apply_chat_template(entry["chat"], tokenize=False, add_generation_prompt=True)
        ids = tokenize(text)
        output, logits = generate(model, ids)
        gaps = [float(row.topk(2).values.diff().abs()) for row in logits]
        greedy.append({**entry, "text": text, "prompt_ids": ids, "output_ids": output, "least_gap": round(min(gaps), 4)})
        print(entry["name"], len(ids), repr(tokenizer.decode(output)), min(gaps), flush=True)
        if entry["name"] in LOGITS_OF:
            some = choose(torch.stack(logits))
            rows = [[round(float(value), 4) for value in row[some]] for row in logits]
            chosen_logits.append({"name": entry["name"], "ids": some, "logits": rows})
    write("greedy.json", made_from, greedy)
    write("logits.json", made_from, chosen_logits)


def llama_cpp(file):
    """The tokenizer of llama.cpp, which its server answers with."""
    params = xllamacpp.CommonParams()
    params.model.path = str(file)
    params.n_ctx = 64
    params.warmup = False
    params.n_gpu_layers = 0
    params.port = 0
    server = xllamacpp.Server(params)

    def tokenize(text):
        body = json.dumps({"content": text, "add_special": False, "parse_special": True}).encode()
        request = urllib.request.Request(f"{server.listening_address}/tokenize", body, {"Content-Type": "application/json"})
        return json.load(urllib.request.urlopen(request))["tokens"]

    return tokenize


def generate(model, ids):
    """STEPS greedy tokens, also past the end of a turn, and the logits of each."""
    cache, tokens, output, logits = None, ids, [], []
    for _ in range(STEPS):
        answer = model(input_ids=torch.tensor([tokens]), past_key_values=cache, use_cache=True)
        cache, row = answer.past_key_values, answer.logits[0, -1]
        tokens = [int(row.argmax())]
        output += tokens
        logits.append(row)
    return output, logits


def choose(logits):
    """Half the likeliest ids of all steps, half drawn from the whole vocabulary."""
    likeliest = logits.max(dim=0).values.topk(LOGITS_IDS // 2).indices.tolist()
    others = sorted(set(range(logits.shape[1])) - set(likeliest))
    return sorted(likeliest + random.Random(3).sample(others, LOGITS_IDS - len(likeliest)))


def write(name, made_from, items):
    """One item a line, so that a change is a diff of the lines that changed."""
    rows = ",\n".join(json.dumps(item, separators=(",", ":")) for item in items)
    (HERE / name).write_text(f'{{"made_from":{json.dumps(made_from)},"items":[\n{rows}\n]}}\n')


if __name__ == "__main__":
    main()
