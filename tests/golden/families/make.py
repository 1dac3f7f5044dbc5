"""Makes one JSON file a family: a tiny checkpoint's description and what transformers computes.

Usage: python make.py [FAMILY…]

Weights are not kept: weights.py says how they come from the tensors' names. README.md, one
folder up, says more.
"""

import importlib.metadata
import json
import pathlib
import sys
import tempfile

import safetensors
import safetensors.torch
import torch
import transformers

import conversions
import weights
from families import FAMILIES

HERE = pathlib.Path(__file__).parent
ANSWERS = 3


def main():
    torch.set_grad_enabled(False)
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    wanted = sys.argv[1:] or [family.name for family in FAMILIES]
    for family in FAMILIES:
        if family.name in wanted:
            make(family)


def make(family):
    torch.manual_seed(0)
    family.config._attn_implementation = "eager"
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        family.model(family.config).save_pretrained(folder)
        files = [safetensors.safe_open(file, "pt") for file in sorted(folder.glob("*.safetensors"))]
        shapes = {name: list(file.get_slice(name).get_shape()) for file in files for name in file.keys()}
        tensors = [[name, shape, weights.recipe(name, shape, family.gains)] for name, shape in sorted(shapes.items())]
        state = {name: weights.tensor(name, shape, how) for name, shape, how in tensors}
        safetensors.torch.save_file(state, folder / "model.safetensors", {"format": "pt"})
        model, loading = type(family.model(family.config)).from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
        )
        assert not loading["missing_keys"] - {"pooler.dense.weight", "pooler.dense.bias"}, loading
        assert not loading["unexpected_keys"] and not loading["mismatched_keys"], loading
        model.eval()
        config = json.loads((folder / "config.json").read_text())
    prompts = [prompt(family, model, index) for index in range(2)]
    versions = {name: importlib.metadata.version(name) for name in ("torch", "transformers", "gguf")}
    golden = {
        "made_from": versions,
        "config": config,
        "pooling": family.pooling,
        "tensors": tensors,
        "gguf_metadata": conversions.metadata(family.gguf, config, family.pooling),
        "gguf_tensors": conversions.tensors(family.gguf, config, shapes),
        "prompts": prompts,
    }
    write(HERE / f"{family.name}.json", golden)
    print(family.name, sum(len(t) for t in tensors), [row["answers"][0][:3] for row in prompts])


def prompt(family, model, index):
    """A prompt and the model's answers to its last tokens (to all of it, if they are embeddings)."""
    count = family.lengths[index]
    tokens = (weights.codes(f"prompt {index}", count) % 77 + 3).tolist()
    output = model(input_ids=torch.tensor([tokens]), attention_mask=torch.ones(1, count, dtype=torch.long))
    if family.pooling is None:
        answers = output.logits[0, -ANSWERS:]
    else:
        rows = output.last_hidden_state[0]
        pooled = {"mean": rows.mean(dim=0), "first": rows[0], "last": rows[-1]}[family.pooling]
        answers = torch.nn.functional.normalize(pooled, dim=0)[None]
    rows = [[float(f"{value:.8g}") for value in row] for row in answers.tolist()]
    return {"context": family.contexts[index], "tokens": tokens, "answers": rows}


def write(path, golden):
    """One tensor or answer a line, so that a change is a diff of the lines that changed."""

    def lines(value, depth):
        if depth and isinstance(value, (dict, list)) and value:
            inner = ",\n".join(
                (f"{json.dumps(key)}: {lines(item, depth - 1)}" for key, item in value.items())
                if isinstance(value, dict)
                else (lines(item, depth - 1) for item in value)
            )
            return ("{\n%s\n}" if isinstance(value, dict) else "[\n%s\n]") % inner
        return json.dumps(value, separators=(",", ":"))

    path.write_text(lines(golden, 2) + "\n")


if __name__ == "__main__":
    main()
