"""Trains the embedded model `headroles-tiny`: `python -m analysis train-tiny --corpus DIR --out DIR`.

A small GPT-NeoX that first learns strings that repeat, then prose. Nothing is planted or edited in its weights: what its heads
do, they learnt. The run can be stopped and started again; a finished one goes straight to writing the model.
"""

import math
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tqdm import tqdm
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from headroles.core.records.record_files import record_file_name, write_record

from .card import TrainingSummary, measure_tiny, next_token_losses, write_card
from .corpus import BatchSampler, TokenStream, TrainingStage, read_books, split_books, train_tokenizer, wrap_tokenizer
from .history import TrainingHistory

VOCAB_SIZE, CONTEXT = 3072, 256
FEW, SOME, ALL = 64, 512, VOCAB_SIZE - 1  # the whole vocabulary but <|endoftext|>
PHASES = (
    # Few tokens first: each is soon known, and heads form within hundreds of steps. First the ones that look for a copy of the
    # token itself (once induction is there, it does their work and they never form), then induction.
    TrainingStage("doubles", 500, 32, 64, repeats=0.85, periods=(8, 31), jumbled=0.0, phrases=0.0, tokens=FEW, doubled=1.0),
    TrainingStage("repeats", 700, 32, 64, repeats=0.85, periods=(8, 31), jumbled=0.0, phrases=0.0, tokens=FEW, doubled=0.35),
    TrainingStage("more tokens", 250, 32, 96, repeats=0.85, periods=(8, 47), jumbled=0.2, phrases=0.0, tokens=SOME, doubled=0.35),
    TrainingStage("all tokens", 350, 32, 96, repeats=0.8, periods=(8, 47), jumbled=0.2, phrases=0.0, tokens=ALL, doubled=0.35),
    TrainingStage("prose", 900, 32, 128, repeats=0.3, periods=(4, 56), jumbled=0.2, phrases=0.3, tokens=ALL, doubled=0.5),
    TrainingStage("long prose", 600, 16, 256, repeats=0.3, periods=(4, 110), jumbled=0.2, phrases=0.3, tokens=ALL, doubled=0.5),
    # In prose a token is followed by different ones, so that induction has to look at more than the last token.
    TrainingStage("phrases", 800, 32, 128, repeats=0.5, periods=(5, 60), jumbled=0.1, phrases=0.8, tokens=ALL, doubled=0.4),
)
STEPS = sum(phase.steps for phase in PHASES)
# At 2e-3 the heads of this width saturate on arbitrary distances before they learn anything of content.
PEAK_RATE, LAST_RATE, WARM_UP = 1e-3, 2e-4, 100
CHECKPOINT_EVERY = 100


def build_model() -> GPTNeoXForCausalLM:
    """Untrained: 4 layers of 8 heads of 32 dimensions, rotary over all of them, 3.9 M parameters."""
    config = GPTNeoXConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=256,
        num_hidden_layers=4,
        num_attention_heads=8,
        intermediate_size=1024,
        max_position_embeddings=CONTEXT,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0},
        use_parallel_residual=False,
        tie_word_embeddings=True,
        attention_dropout=0.0,
        hidden_dropout=0.0,
        bos_token_id=0,
        eos_token_id=0,
    )
    return GPTNeoXForCausalLM(config)


def phase_at(step: int) -> TrainingStage:
    """The phase that `step` (from 0) belongs to."""
    for phase in PHASES:
        if step < phase.steps:
            return phase
        step -= phase.steps
    raise ValueError(f"there are {STEPS} steps")


def learning_rate(step: int) -> float:
    """Linear warm-up, then one cosine over the whole run."""
    if step < WARM_UP:
        return PEAK_RATE * (step + 1) / WARM_UP
    progress = (step - WARM_UP) / (STEPS - WARM_UP)
    return LAST_RATE + (PEAK_RATE - LAST_RATE) * (1 + math.cos(math.pi * progress)) / 2


def fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the processor multiplies it natively (nearly twice as fast), else float32."""
    native = device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if native else torch.float32


def train(
    batches: BatchSampler,
    checkpoint: Path,
    seed: int,
    device: torch.device,
    on_step: Callable[[GPTNeoXForCausalLM, int], None] = lambda model, done: None,
) -> tuple[GPTNeoXForCausalLM, TrainingSummary]:
    """Trains to the end, from the checkpoint if there is one; returns the model and how it went.

    Args:
        batches: to draw from.
        checkpoint: file to write and to go on from.
        seed: of the weights.
        device: to train on.
        on_step: called with the model and the steps done, before each step and after the last; its time is not counted.
    """
    torch.manual_seed(seed)
    model = build_model().train()
    model.to(device)  # type: ignore[arg-type]
    decayed = [p for p in model.parameters() if p.ndim > 1]
    undecayed = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": undecayed, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=PEAK_RATE, betas=(0.9, 0.98))
    first, seconds, stretches = 0, 0.0, 1
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first, seconds, stretches = state["step"], state["seconds"], state["stretches"] + (state["step"] < STEPS)
    dtype = fast_dtype(device)
    bar = tqdm(range(first, STEPS), initial=first, total=STEPS, unit="step", mininterval=5)
    for step in bar:
        on_step(model, step)
        started = time.monotonic()
        phase = phase_at(step)
        ids = torch.from_numpy(batches.draw(phase, step)).to(device)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            loss = next_token_losses(model, ids).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        bar.set_postfix(phase=phase.name, loss=f"{loss.item():.2f}")
        seconds += time.monotonic() - started
        if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == STEPS:
            save_checkpoint(checkpoint, model, optimizer, step + 1, seconds, stretches)
    on_step(model, STEPS)
    return model.eval(), TrainingSummary(seconds, stretches)


def save_checkpoint(
    path: Path, model: GPTNeoXForCausalLM, optimizer: torch.optim.Optimizer, step: int, seconds: float, stretches: int
) -> None:
    """Writes all that training needs to go on.

    Args:
        path: of the file.
        model: in training.
        optimizer: its optimizer.
        step: steps that are done.
        seconds: that they took.
        stretches: how often training was started.
    """
    progress = {"step": step, "seconds": seconds, "stretches": stretches}
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), **progress}
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    os.replace(partial, path)  # a stop in the middle of writing leaves the old one whole


def save_model(model: GPTNeoXForCausalLM, tokenizer: Tokenizer, out: Path) -> None:
    """Writes weights in fp16 as safetensors, config and tokenizer into one folder.

    Args:
        model: that was trained.
        tokenizer: of the model.
        out: the folder.
    """
    out.mkdir(parents=True, exist_ok=True)
    model.cpu().half().save_pretrained(out)
    wrap_tokenizer(tokenizer).save_pretrained(out)


def run(corpus: Path, out: Path, work: Path, device: str = "cpu", seed: int = 0) -> None:
    """Trains the model, or goes on where a run was stopped, and writes it with its record and its card.

    Args:
        corpus: folder of .txt books with SOURCES.json.
        out: folder of what is shipped.
        work: folder of the checkpoint.
        device: as torch names it.
        seed: of weights and batches.
    """
    work.mkdir(parents=True, exist_ok=True)
    books = read_books(corpus)
    train_text, held_out_text = split_books(books)
    tokenizer = train_tokenizer(train_text, VOCAB_SIZE)
    prose = TokenStream(train_text, tokenizer)
    held_out = TokenStream(held_out_text, tokenizer)
    checkpoint = work / f"headroles-tiny-{seed}.pt"
    history = TrainingHistory(checkpoint.with_suffix(".jsonl"), STEPS, tokenizer, held_out)
    model, run = train(BatchSampler(prose, VOCAB_SIZE, seed), checkpoint, seed, torch.device(device), history.on_step)
    save_model(model, tokenizer, out)
    shutil.copyfile(history.path, out / "training.jsonl")
    record, losses = measure_tiny(out, prose, held_out)
    write_record(record, out / record_file_name(record.model_name))
    write_card(out, record, losses, list(books), STEPS, replace(run, points=history.points))
