#!/usr/bin/env python3
"""Prints a line a file: how far our logits and llama.cpp's are from the oracle's.

`ok`: the divergence is no greater than llama.cpp's, and the likeliest token is
the oracle's no less often, each within what chance can do over so many tokens
(two standard errors).
"""

import argparse
import json
import math
import subprocess
import sys

COLUMNS = "{:20} {:8} {:>10} {:>10} {:>8} {:>8}  {}"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True, help="hearth-bench-quality")
    parser.add_argument("--logits", required=True, help="the program that writes llama.cpp's logits")
    parser.add_argument("--text", required=True)
    parser.add_argument("--json", required=True, metavar="FILE", help="where everything measured goes")
    parser.add_argument("files", nargs="+", metavar="NAME=FILE")
    return parser.parse_args()


def verdict(row: dict) -> str:
    farther, ours, theirs = row["farther"], row["ours"], row["llama"]
    close = farther["mean"] <= 2 * farther["error"]
    share = theirs["agreement"]
    agree = ours["agreement"] >= share - 2 * math.sqrt(share * (1 - share) / theirs["positions"])
    return "ok" if close and agree else "short"


def main() -> int:
    args = arguments()
    report = {}
    print(COLUMNS.format("weights", "path", "KL ours", "llama.cpp", "top ours", "llama", ""), flush=True)
    for name, file in (entry.split("=", 1) for entry in args.files):
        done = subprocess.run(
            [args.program, "--model", file, "--text", args.text, "--llama", args.logits],
            stdout=subprocess.PIPE,
            text=True,
        )
        if done.returncode != 0:
            print(f"{name:20} not measured: the comparison ended with {done.returncode}", flush=True)
            report[name] = None
            continue
        report[name] = json.loads(done.stdout)
        for row in report[name]["rows"]:
            both = (row["ours"], row["llama"])
            numbers = [f"{one['divergence']['mean']:.2e}" for one in both]
            numbers += [f"{100 * one['agreement']:.1f}%" for one in both]
            print(COLUMNS.format(name, row["path"], *numbers, verdict(row)), flush=True)
        with open(args.json, "w") as out:
            json.dump(report, out, indent=1)
    return 0 if all(report.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
