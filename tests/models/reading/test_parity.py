"""Three readers of the same patterns on every architecture: PyVene, transformers' `output_attentions`, TransformerLens.

The largest differences are printed as a table at the end of the run.
"""

from contextlib import ExitStack

import pytest
import torch
from tokenizers import processors
from transformers import PreTrainedTokenizerFast

from analysis.pipeline.bridge import open_bridge, score_model
from headroles.core.registry import ARCHITECTURES, MIXED
from headroles.errors import UnsupportedModelError
from headroles.models.loading.loader import LoadedModel
from headroles.models.probes.probe_texts import ProbeSizes, make_probes
from headroles.models.reading.pattern_reader import PatternReader
from tests.conftest import tables
from tests.fixtures.architectures import SHAPES, VOCABULARY, WITHOUT_LENS, build, mark_thorough
from tests.fixtures.double import ROUNDING, to_double

TABLE = "largest difference of PyVene's patterns to output_attentions and TransformerLens"
WINDOWED = [name for name, shape in SHAPES.items() if {"sliding_window", "window_size", "attention_window_size"} & set(shape)]
BFLOAT16_BOUND = 0.01  # a bfloat16 number has 8 bits; weights of nearly 1 differ by 0.004 from one to the next
TEXT = "The king and the queen lived in a castle. The king and the"


@pytest.fixture(scope="module")
def plain_tokenizer(tiny):
    """The embedded model's tokenizer without its BOS."""
    backend = type(tiny.tokenizer.backend_tokenizer).from_str(tiny.tokenizer.backend_tokenizer.to_str())
    backend.post_processor = processors.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<|endoftext|>")


def own_attentions(model, ids: torch.Tensor) -> torch.Tensor:
    """transformers' own patterns [batch, layer, head, query, key], of the layers that have one."""
    model.set_attn_implementation("eager")
    with torch.no_grad():
        return torch.stack(model(input_ids=ids, output_attentions=True).attentions, dim=1).float()


def lens_attentions(bridge, ids: torch.Tensor) -> torch.Tensor:
    """TransformerLens' patterns of all layers that have one, in their order."""
    with torch.no_grad():
        _, cache = bridge.run_with_cache(ids)
    names = [f"blocks.{layer}.attn.hook_pattern" for layer in range(bridge.cfg.n_layers)]
    return torch.stack([cache[name] for name in names if name in cache], dim=1)


def difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max())


def test_the_tests_have_a_model_of_every_architecture_that_is_said_to_be_read():
    assert set(SHAPES) == set(ARCHITECTURES)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", mark_thorough(ARCHITECTURES))
def test_all_three_readers_agree(architecture, in_double, tiny, plain_tokenizer):
    loaded = LoadedModel(f"random-{architecture}", to_double(build(architecture)), tiny.tokenizer, "r")
    plain = LoadedModel(f"plain-{architecture}", loaded.model, plain_tokenizer, "r")
    assert (loaded.prepend_bos, plain.prepend_bos) == (True, False)
    reader, reference = PatternReader(loaded), to_double(build(architecture))
    of_lens = LoadedModel(f"lens-{architecture}", to_double(build(architecture)), tiny.tokenizer, "r")
    bridge = None if architecture in WITHOUT_LENS else open_bridge(of_lens)
    row: dict[str, float] = {"BOS": 0.0, "no BOS": 0.0, "padded": 0.0, "TransformerLens": 0.0, "bfloat16": 0.0}
    texts = torch.empty(0)
    for name, ids in {"BOS": loaded.encode(TEXT), "no BOS": plain.encode(TEXT)}.items():
        alone = reader.read(ids).patterns
        assert alone.dtype == torch.float64
        row[name] = difference(alone, own_attentions(reference, torch.tensor([ids]))[0])
        # a batch in which the text is the shorter one, padded on the right
        other = torch.randint(1, VOCABULARY, (40,), generator=torch.Generator().manual_seed(0))
        texts = torch.nn.utils.rnn.pad_sequence([torch.tensor(ids), other], batch_first=True)
        batch = reader.read_batch(texts)
        in_batch = difference(batch[0, :, :, : len(ids), : len(ids)], alone)
        row["padded"] = max(row["padded"], in_batch, difference(batch, own_attentions(reference, texts)))
        if bridge is not None:
            row["TransformerLens"] = max(row["TransformerLens"], difference(batch, lens_attentions(bridge, texts)))
    row["bfloat16"] = difference(*bfloat16_patterns(architecture, tiny, texts))
    layers = f"{len(loaded.layers)} of {len(loaded.windows)}"
    shown = {**row, "TransformerLens": row["TransformerLens"] if bridge else "does not read it"}
    tables.setdefault(TABLE, []).append({"architecture": architecture, "layers": layers, **shown})
    assert all(value <= (BFLOAT16_BOUND if name == "bfloat16" else ROUNDING) for name, value in row.items()), row


def bfloat16_patterns(architecture: str, tiny: LoadedModel, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    ours = PatternReader(LoadedModel("bf16", build(architecture).bfloat16(), tiny.tokenizer, "r"))
    return ours.read_batch(ids), own_attentions(build(architecture).bfloat16(), ids)


@pytest.mark.parametrize("architecture", WITHOUT_LENS)
def test_what_transformer_lens_does_not_read_is_refused_by_name(architecture, random_model):
    """So that whoever analyses it hears of it, and this list when a newer version reads more."""
    loaded = random_model(architecture)
    with pytest.raises(UnsupportedModelError, match=f"^TransformerLens cannot analyse .*{WITHOUT_LENS[architecture]}"):
        score_model(open_bridge(loaded), loaded, make_probes(loaded, ProbeSizes(1, 8, 1)))


@pytest.mark.parametrize("architecture", mark_thorough(MIXED))
def test_patterns_come_from_the_layers_that_the_config_names(architecture, in_double, random_model):
    """The layers with a pattern are those whose attention changes it, found without looking at any name or order."""
    loaded = random_model(architecture)
    to_double(loaded.model)
    reader, ids = PatternReader(loaded), torch.arange(1, 21)[None]
    before = reader.read_layers(ids)
    assert 0 < len(before) == len(loaded.layers) < len(loaded.windows) == loaded.model.config.num_hidden_layers
    blocks = loaded.model.base_model.layers
    for row, layer in enumerate(loaded.layers):
        with ExitStack() as undo:
            for name, weight in blocks[layer].named_parameters():
                if "q_proj" in name and weight.ndim == 2:
                    undo.callback(weight.data.copy_, weight.data.clone())
                    weight.data.zero_()
            after = reader.read_layers(ids)
        changed = [not torch.equal(one, other) for one, other in zip(before, after)]
        assert changed[row]
        if architecture != "zamba2":  # where blocks of several layers share their weights
            assert not any(changed[:row])


@pytest.mark.parametrize("architecture", mark_thorough(WINDOWED))
def test_the_windows_in_the_config_are_those_of_the_patterns(architecture, tiny):
    model = build(architecture)
    windows = LoadedModel("m", model, tiny.tokenizer, "r").windows
    ids = torch.randint(1, VOCABULARY, (1, 40), generator=torch.Generator().manual_seed(0))
    seen = [(pattern[0].sum(0) > 0).long() for pattern in own_attentions(model, ids)[0:1].unbind(1)]
    windows = [windows[layer] for layer in LoadedModel("m", model, tiny.tokenizer, "r").layers]
    q, k = torch.arange(40)[:, None], torch.arange(40)[None, :]
    assert 12 in windows
    for pattern, window in zip(seen, windows, strict=True):
        expected = (k <= q) & (k > q - (window or 40))
        assert torch.equal(pattern.bool(), expected)
