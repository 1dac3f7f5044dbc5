"""Makes tokenizers/*.json: what each family's own tokenizer makes of the lines that
`cargo run --package hearth-text --example golden-lines` writes.

Usage: python make_tokenizers.py LINES.jsonl FOLDER [FAMILY...]

FOLDER is where deploy/dev-cluster/tokenizers.sh put the vocabularies. README.md says more.
"""

import hashlib
import importlib.metadata
import json
import pathlib
import sys


HERE = pathlib.Path(__file__).parent
SAMPLES = 32
IDS_BLOCK = 10
BLOCK = 128


def main():
    lines = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
    folder = pathlib.Path(sys.argv[2])
    families = sys.argv[3:] or sorted(path.name for path in folder.iterdir() if path.is_dir())
    for family in families:
        make(family, folder / family, lines)


def make(family, folder, lines):
    if (folder / "tokenizer.model").exists():
        golden = sentencepiece(folder / "tokenizer.model", lines)
    else:
        golden = huggingface(folder / "tokenizer.json", lines)
        if (folder / "tekken.json").exists():
            golden["agrees"] = tekken(folder / "tekken.json", lines, golden.pop("as_text_ids"))
    golden.pop("as_text_ids", None)
    golden["lines"] = f"{fnv(''.join(lines).encode()):016x}"
    rows = [f"{json.dumps(key)}:{json.dumps(value, separators=(',', ':'))}" for key, value in sorted(golden.items())]
    (HERE / "tokenizers" / f"{family}.json").write_text("{" + ",\n".join(rows) + "}\n")
    print(family, golden.get("agrees", ""), flush=True)


def huggingface(file, lines):
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_file(str(file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if type(tokenizer.decoder).__name__ == "WordPiece":
        # What joins punctuation to the word before it changes text that was given out already.
        tokenizer.decoder = tokenizers.decoders.WordPiece(cleanup=False)
    encode = lambda special: [e.ids for e in tokenizer.encode_batch_fast(lines, add_special_tokens=special)]
    ids, wrapped = encode(False), encode(True)
    decoded = tokenizer.decode_batch(ids, skip_special_tokens=True)
    tokenizer.encode_special_tokens = True
    as_text = encode(False)
    return {
        "made_from": made_from(file, "tokenizers"),
        "ids": blocks([ids_bytes(row) for row in ids], IDS_BLOCK),
        "as_text": blocks([ids_bytes(row) for row in as_text], BLOCK),
        "decoded": blocks([text.encode() + b"\xff" for text in decoded], BLOCK),
        "samples": samples(wrapped),
        "as_text_ids": as_text,
    }


def sentencepiece(file, lines):
    """SentencePiece reads no control token out of text, so there is only one kind of ids."""
    import sentencepiece

    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(file))
    ids = [tokenizer.encode(line) for line in lines]
    return {
        "made_from": made_from(file, "sentencepiece"),
        "as_text": blocks([ids_bytes(row) for row in ids], IDS_BLOCK),
        "decoded": blocks([tokenizer.decode(row).encode() + b"\xff" for row in ids], BLOCK),
        "samples": samples([[tokenizer.bos_id(), *row] for row in ids]),
    }


def tekken(file, lines, as_text):
    """On how many lines Mistral's own implementation says what the other file says."""
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer

    tokenizer = Tekkenizer.from_file(file)
    same = sum(tokenizer.encode(line, bos=False, eos=False) == ids for line, ids in zip(lines, as_text))
    return {"made_from": made_from(file, "mistral-common"), "lines": same}


def made_from(file, package):
    return {"sha256": hashlib.sha256(file.read_bytes()).hexdigest(), package: importlib.metadata.version(package)}


def samples(rows):
    """Whole ids of some lines, with what a prompt is wrapped in."""
    step = len(rows) // SAMPLES
    return [{"line": at, "ids": rows[at]} for at in range(0, len(rows), step)]


def ids_bytes(ids):
    return b"".join(id.to_bytes(4, "little") for id in [*ids, 0xFFFFFFFF])


def blocks(rows, size):
    """A hash of every `size` rows, folded to 32 bits."""
    hashes = (fnv(b"".join(rows[at : at + size])) for at in range(0, len(rows), size))
    return " ".join(f"{(value ^ value >> 32) & 0xFFFFFFFF:08x}" for value in hashes)


def fnv(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


if __name__ == "__main__":
    main()
