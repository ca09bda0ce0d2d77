"""Records what the heads of `headroles-tiny` do during training: a record and losses every so often, one a line."""

import copy
import json
from pathlib import Path

from tokenizers import Tokenizer
from transformers import GPTNeoXForCausalLM

from headroles.core.records.atomic_files import write_whole
from headroles.core.registry import EMBEDDED_MODEL
from headroles.models.loading.loader import LoadedModel
from headroles.models.probes.probe_texts import ProbeSizes

from ..pipeline.pipeline import score_with_lens
from .card import prose_loss, repeat_losses
from .corpus import TokenStream, wrap_tokenizer

DENSE, SPARSE, DENSE_UNTIL = 50, 100, 1800  # steps from point to point; roles appear while it learns strings that repeat
PROSE_WINDOWS = 64  # of held-out text, for the loss at a point


class TrainingHistory:
    """The points of one run, in a file of one JSON object a line: `step`, `losses` (nats per token) and `record`.

    A run that was stopped goes on from its last checkpoint, so points after that are made again.
    """

    def __init__(self, path: Path, steps: int, tokenizer: Tokenizer, held_out: TokenStream) -> None:
        """Opens the history of a run; a file that exists is continued.

        Args:
            path: of the file.
            steps: of the whole training.
            tokenizer: of the model.
            held_out: text that the model never sees.
        """
        self.path, self._steps, self._tokenizer, self._held_out = path, steps, wrap_tokenizer(tokenizer), held_out

    @property
    def points(self) -> int:
        """How many there are."""
        return len(self._lines())

    def on_step(self, model: GPTNeoXForCausalLM, done: int) -> None:
        """Adds a point, where there is to be one.

        Args:
            model: in training.
            done: steps that are done.
        """
        if done != self._steps and done % (DENSE if done <= DENSE_UNTIL else SPARSE):
            return
        earlier = [line for line in self._lines() if json.loads(line)["step"] < done]
        write_whole(self.path, "".join(line + "\n" for line in [*earlier, self._point(model, done)]).encode())

    def _point(self, model: GPTNeoXForCausalLM, done: int) -> str:
        """The model as it would be shipped now, in fp16; the one in training stays as it is."""
        shipped = copy.deepcopy(model).cpu().half().float().eval()
        loaded = LoadedModel(EMBEDDED_MODEL, shipped, self._tokenizer, f"step{done}")
        first, second = repeat_losses(loaded)
        losses = {"first_pass": first, "second_pass": second, "prose": prose_loss(loaded, self._held_out, PROSE_WINDOWS)}
        record = score_with_lens(loaded, ProbeSizes(calibration=0), batch=10, device="cpu")  # last: it swaps the model's modules
        rounded = {name: round(loss, 4) for name, loss in losses.items()}
        return json.dumps({"step": done, "losses": rounded, "record": json.loads(record.to_json())}, separators=(",", ":"))

    def _lines(self) -> list[str]:
        return self.path.read_text("utf-8").splitlines() if self.path.exists() else []
