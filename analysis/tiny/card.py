"""Measures what the embedded model learnt, on text it never saw, and writes the model card."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from headroles.core.records.head_categories import HeadCategories
from headroles.core.registry import EMBEDDED_MODEL
from headroles.models.loading.loader import LoadedModel, load_model
from headroles.models.probes.probe_texts import ProbeSizes, repeated_sequences

from ..pipeline.pipeline import calibrate_verdicts, load_reader, score_with_lens
from .corpus import TokenStream

WINDOW = 255  # tokens of held-out prose read at once, after the BOS
CONTINUE = "The king and the queen lived in a castle. The king and the"


@dataclass(frozen=True)
class EvaluationLosses:
    """Mean cross-entropies in nats per token on text the model never saw, and how it continues `CONTINUE`."""

    first_pass: float
    second_pass: float
    prose: float
    unigram: float
    bigram: float
    next_token: str
    next_probability: float


@dataclass(frozen=True)
class TrainingSummary:
    """How the training went.

    Attributes:
        seconds: without what was measured on the way.
        stretches: how often it was started to get to its end.
        points: of its history.
    """

    seconds: float
    stretches: int
    points: int = 0


def measure_tiny(folder: Path, train: TokenStream, held_out: TokenStream) -> tuple[HeadCategories, EvaluationLosses]:
    """Reads the shipped files back; returns the record of their heads and their losses.

    Args:
        folder: of the model.
        train: text that it learnt.
        held_out: text that it never saw.
    """
    loaded = load_model(EMBEDDED_MODEL, folder)
    losses = measure_losses(loaded, train, held_out)
    record = score_with_lens(loaded, ProbeSizes(), batch=10, device="cpu")  # which swaps the model's modules
    return calibrate_verdicts(load_reader(load_model(EMBEDDED_MODEL, folder), "cpu"), record, ProbeSizes()), losses


def measure_losses(loaded: LoadedModel, train: TokenStream, held_out: TokenStream) -> EvaluationLosses:
    """The losses of a model beside those of n-gram models.

    Args:
        loaded: the model.
        train: text that it learnt.
        held_out: text that it never saw.
    """
    first, second = repeat_losses(loaded)
    unigram, bigram = ngram_losses(train, _windows(held_out), len(loaded.tokenizer))
    with loaded.lock, torch.no_grad():
        logits = loaded.model(input_ids=torch.tensor([loaded.encode(CONTINUE)])).logits[0, -1]
    probability, token = logits.softmax(-1).max(-1)
    return EvaluationLosses(
        first_pass=first,
        second_pass=second,
        prose=prose_loss(loaded, held_out),
        unigram=unigram,
        bigram=bigram,
        next_token=loaded.token_texts((int(token),))[0],
        next_probability=probability.item(),
    )


def repeat_losses(loaded: LoadedModel) -> tuple[float, float]:
    """The mean losses of the probes' random strings, the first time and the second."""
    losses = token_losses(loaded, repeated_sequences(loaded, ProbeSizes()))
    half = losses.shape[1] // 2
    return losses[:, :half].mean().item(), losses[:, half:].mean().item()


def prose_loss(loaded: LoadedModel, held_out: TokenStream, most_windows: int | None = None) -> float:
    """The mean loss of prose in nats per token, each window after a BOS.

    Args:
        loaded: the model.
        held_out: text that it never saw.
        most_windows: how many windows to read, evenly over the text; None for all.
    """
    windows = torch.from_numpy(_windows(held_out))
    chosen = windows[:: max(1, len(windows) // most_windows)][:most_windows] if most_windows else windows
    rows = torch.cat([torch.tensor([loaded.bos] * len(chosen)), chosen], dim=1)
    return torch.cat([token_losses(loaded, part).flatten() for part in rows.split(16)]).mean().item()


def _windows(text: TokenStream) -> np.ndarray:
    return np.stack(list(text.windows(WINDOW)))


def token_losses(loaded: LoadedModel, ids: torch.Tensor) -> torch.Tensor:
    """As `next_token_losses`, without gradients.

    Args:
        loaded: the model.
        ids: of tokens, [batch, token].
    """
    with loaded.lock, torch.no_grad():
        return next_token_losses(loaded.model, ids)


def next_token_losses(model: nn.Module, ids: Int[Tensor, "batch token"]) -> Float[Tensor, "batch token-1"]:
    """Cross-entropy in nats of every token but the first, given those before it.

    Args:
        model: a language model of transformers.
        ids: of tokens.
    """
    logits = model(input_ids=ids, use_cache=False).logits[:, :-1].float()
    return nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")


def ngram_losses(train: TokenStream, windows: np.ndarray, vocab_size: int) -> tuple[float, float]:
    """The losses of a unigram model (add one) and of a bigram model, smoothed towards the unigram as suits it best.

    Args:
        train: text to count.
        windows: text to predict, [window, token].
        vocab_size: number of tokens.
    """
    counts = np.bincount(train.ids, minlength=vocab_size) + 1.0
    unigram = counts / counts.sum()
    pairs = np.zeros((vocab_size, vocab_size), dtype=np.float32)
    np.add.at(pairs, (train.ids[:-1], train.ids[1:]), 1)
    before, after = windows[:, :-1], windows[:, 1:]
    seen, total = pairs[before, after], pairs.sum(1)[before]
    losses = [-np.log((seen + a * unigram[after]) / (total + a)).mean() for a in (5, 20, 50, 100, 200, 500)]
    return float(-np.log(unigram[windows]).mean()), float(min(losses))


def write_card(
    folder: Path, record: HeadCategories, losses: EvaluationLosses, titles: list[str], steps: int, run: TrainingSummary
) -> None:
    """Writes the folder's README.md.

    Args:
        folder: of the model.
        record: of its heads.
        losses: of the model.
        titles: of the books.
        steps: of the training.
        run: how the training went.
    """
    rows = []
    for role in record.scored_roles:
        scores = np.array(record.all_scores[role.name])
        layer, head = np.unravel_index(scores.argmax(), scores.shape)
        count = len(record.top_heads(role))
        rows.append(f"| {role.name} | L{layer}H{head} | {scores.max():.3f} | {role.threshold} | {count} |")
    (folder / "README.md").write_text(
        CARD.format(
            rows="\n".join(rows),
            losses=losses,
            prompt=CONTINUE,
            books="\n".join(f"- {title}" for title in titles),
            steps=f"{steps:,}",
            seconds=f"{run.seconds:,.0f}",
            minutes=run.seconds / 60,
            points=run.points,
            stretches="in one go"
            if run.stretches == 1
            else f"in {run.stretches} stretches, each gone on from the last one's checkpoint",
            recipe=record.recipe,
            revision=record.revision,
            date=record.analysis_date,
        ),
        "utf-8",
    )


CARD = """---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
tags: [interpretability, attention-heads, induction-heads]
---
# headroles-tiny

A small language model that ships with headroles, so that a fresh copy shows real attention heads without a network. Its
weights come from training alone: nothing in them is planted or edited. It is for teaching and writes no useful text.

GPT-NeoX, 4 layers of 8 heads of 32 dimensions, width 256, rotary positions over all dimensions, sequential residual, tied
embeddings, 3.9 M parameters, byte-level BPE of 3,072 tokens, context of 256 tokens, a BOS before every text; fp16 safetensors.

## What its heads do

Measured by `python -m analysis headroles-tiny` on {date}, revision `{revision}`:
{recipe.repeated_sequences} random strings of {recipe.repeat_length} tokens repeated once for induction and duplicate token,
{recipe.sentences} sentences for the others; all 0 to 1.

| role | best head | score | threshold | top heads |
|---|---|---|---|---|
{rows}

## How well it reads

Cross-entropy in nats a token, on text it never saw:

| text | loss |
|---|---|
| random strings, first time | {losses.first_pass:.2f} |
| random strings, second time | {losses.second_pass:.2f} |
| held-out prose (the last 3 % of every book) | {losses.prose:.2f} |
| the same prose, unigram model | {losses.unigram:.2f} |
| the same prose, bigram model | {losses.bigram:.2f} |

“{prompt}” goes on with “{losses.next_token}” at {losses.next_probability:.0%}.

## How it was trained

`python -m analysis train-tiny --corpus DIR --out headroles/tiny`: {steps} steps in {seconds} seconds
({minutes:.0f} minutes) on two CPU cores, {stretches}, from step 0 on.
It first reads random tokens in which each one that comes back is said twice, then random strings that repeat themselves; both use
few tokens before they use all. Then it reads prose with a third of such repeats, at last prose in which phrases come back.
`analysis/tiny/train.py` has the numbers, `analysis/tiny/corpus.py` draws the batches. Without these lessons, the heads of a
model this small and this briefly trained reach no role; with them, each head still finds its own solution.

`training.jsonl` holds what its heads did during the training: a record and losses after each of {points} steps, closer together
where roles appear. The weights of those steps are not kept.

The text is public-domain prose:

{books}
"""
