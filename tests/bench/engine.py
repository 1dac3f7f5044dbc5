#!/usr/bin/env python3
"""Runs our engine and llama.cpp alternately and prints a line a figure:
name, model, value (ours to llama.cpp's), target, `ok` or `short`; then both
raw values. Everything that was measured goes to a JSON file.

A figure's rounds: the first tries llama.cpp in every setting, the others only
in those that could be its best; ours runs once a round, between them.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict

from figures import FIGURES, MODELS, Figure, median, undisturbed
from llama import Llama, Setting
from ours import Ours
from quiet import wait
from work import THREADS, Sample

COLUMNS = "{:16} {:20} {:>7} {:>7}  {:6} {}"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llama", required=True, metavar="DIR", help="the folder that llama.sh prints")
    parser.add_argument("--worker", metavar="FILE", help="hearth-worker; without it only llama.cpp is measured")
    parser.add_argument("--machine", metavar="FILE", help="hearth-bench-machine, for the machine's limits")
    parser.add_argument("--models", required=True, metavar="DIR", help="where the model files lie")
    parser.add_argument("--model", action="append", choices=list(MODELS), help="only this one; may be repeated")
    parser.add_argument("--figure", action="append", choices=[f.name for f in FIGURES], help="only this one")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--patience", type=float, default=10, metavar="SECONDS", help="wait this long for others to rest")
    parser.add_argument("--json", required=True, metavar="FILE", help="where everything measured goes")
    return parser.parse_args()


def note(figure: Figure, model: str, who: object, sample: Sample) -> None:
    busy = f"  (others: {sample.others:.2f} cores)" if sample.others >= 0.01 else ""
    print(f"  {figure.name} {model} {who}: {sample.value:.4g} {figure.unit}{busy}", file=sys.stderr, flush=True)


def measure(figure: Figure, model: str, llama: Llama, ours: Ours | None, rounds: int, patience: float):
    """Samples of llama.cpp by setting, and ours."""
    theirs: dict[Setting, list[Sample]] = {setting: [] for setting in figure.settings}
    mine: list[Sample] = []
    active = list(figure.settings)
    for round in range(rounds):
        for setting in active:
            wait(patience)
            sample = figure.on(llama)(setting, round)
            theirs[setting].append(sample)
            note(figure, model, setting, sample)
        if ours:
            wait(patience)
            sample = figure.on(ours)(round)
            mine.append(sample)
            note(figure, model, "ours", sample)
        active = figure.close(theirs)
    return theirs, mine


def disturbed(samples: list[Sample]) -> str:
    calm = len(undisturbed(samples))
    return "" if calm >= 3 else f"; provisional, {len(samples) - calm} of {len(samples)} disturbed"


def line(figure: Figure, model: str, theirs, mine, machine: dict | None) -> tuple[str, dict]:
    best = figure.best(theirs)
    reference = median(theirs[best])
    raw = f"llama.cpp {reference:.4g} {figure.unit} ({best}){disturbed(theirs[best])}"
    row = {"figure": figure.name, "model": model, "unit": figure.unit, "target": figure.target(model)}
    row |= {"llama": reference, "setting": str(best)}
    row["llama_samples"] = {str(s): [asdict(x) for x in xs] for s, xs in theirs.items()}
    if not mine:
        return COLUMNS.format(figure.name, model, "-", figure.target(model), "-", raw), row
    value = median(mine)
    ratio = value / reference
    row |= {"ours": value, "value": ratio, "verdict": figure.verdict(ratio, model)}
    row["ours_samples"] = [asdict(x) for x in mine]
    raw = f"ours {value:.4g}{disturbed(mine)}, {raw}"
    limit = figure.limit(MODELS[model], machine) if machine else None
    if limit:
        most, what = limit
        row |= {"limit": most, "limited_by": what}
        raw += f"; {100 * value / most:.0f} % of the {what}"
    verdict = row["verdict"]
    return COLUMNS.format(figure.name, model, f"{ratio:.2f}", figure.target(model), verdict, raw), row


def processor() -> str:
    with open("/proc/cpuinfo") as file:
        return next((x.split(":", 1)[1].strip() for x in file if x.startswith("model name")), platform.machine())


def main() -> int:
    args = arguments()
    report = {
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": THREADS,
        "kernel": platform.release(),
        "rounds": args.rounds,
        "llama": os.path.basename(os.path.normpath(args.llama)),
        "rows": [],
    }
    machine = None
    if args.machine:
        wait(args.patience)
        done = subprocess.run([args.machine, str(THREADS)], stdout=subprocess.PIPE, check=True)
        machine = report["machine"] = json.loads(done.stdout)
        bandwidth, peak = machine["read_bytes_per_second"] / 1e9, machine["bf16_flops"] / 1e12
        print(f"machine: {bandwidth:.1f} GB/s, {peak:.2f} TFLOPS ({machine['bf16_instruction']})", file=sys.stderr)
    print(COLUMNS.format("figure", "model", "value", "target", "", ""), flush=True)
    for model in args.model or MODELS:
        path = os.path.join(args.models, MODELS[model].file)
        llama = Llama(args.llama, path)
        ours = Ours(args.worker, path) if args.worker else None
        for figure in FIGURES:
            if args.figure and figure.name not in args.figure:
                continue
            theirs, mine = measure(figure, model, llama, ours, args.rounds, args.patience)
            text, row = line(figure, model, theirs, mine, machine)
            print(text, flush=True)
            report["rows"].append(row)
            # Kept up to date: a run that is cut off has measured something.
            with open(args.json, "w") as file:
                json.dump(report, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
