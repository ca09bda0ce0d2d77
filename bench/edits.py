"""How often an offered change of a sentence turns a role's verdict: `python -m bench.edits MODEL FOLDER [--sentences 200]`.

Draws ordinary sentences of 8 to 25 words from the books of a folder (.txt), asks for each what the page would offer, and reads
the offered text again, alone, on an explorer that has not seen it.
"""

import argparse
import random
import re
from collections import Counter
from pathlib import Path

from tqdm import tqdm

from headroles.explorer import Explorer

WORDS = (8, 25)


def sentences_of(folder: Path, count: int, seed: int = 0) -> list[str]:
    """Sentences of any of the books, each on one line."""
    found = []
    for book in sorted(folder.glob("*.txt")):
        text = re.sub(r"\s+", " ", book.read_text("utf-8", "replace"))
        found += [
            one.strip() for one in re.findall(r"(?<=[.!?] )[A-Z][^.!?]+[.!?]", text) if WORDS[0] <= len(one.split()) <= WORDS[1]
        ]
    return random.Random(seed).sample(found, count)


def main() -> None:
    """Prints a line a role: for how many sentences a change is offered, and on how many of those texts the role is seen."""
    parser = argparse.ArgumentParser(prog="python -m bench.edits", description=__doc__)
    parser.add_argument("model")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sentences", type=int, default=200)
    args = parser.parse_args()
    asked, offered, lit = Counter[str](), Counter[str](), Counter[str]()
    explorer, again = Explorer(), Explorer()
    for text in tqdm(sentences_of(args.folder, args.sentences), unit="sentence", mininterval=10):
        for role, found in explorer.find_edits(args.model, text).items():
            asked[role.name] += 1
            if found is not None:
                offered[role.name] += 1
                lit[role.name] += again.analyze(args.model, found[0].text).role(role).is_active
    for name, count in asked.items():
        told = f"not seen on {count} of {args.sentences}"
        print(f"{name}: {told}; a change is offered for {offered[name]} of them, and lights {lit[name]}")


if __name__ == "__main__":
    main()
