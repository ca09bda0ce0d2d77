"""The attention patterns and analyses of the texts that were read last, so that a text is read and measured once."""

from dataclasses import replace

from headroles.core.heads import Attention
from headroles.core.readings.analysis import Analysis, RecordSource
from headroles.core.readings.analyze import analyze_attention
from headroles.core.records.head_categories import HeadCategories
from headroles.core.text.tokens import clean_text
from headroles.models.loading.aging_cache import AgingCache
from headroles.models.reading.batches import TokenIds
from headroles.models.reading.pattern_reader import PatternReader

ANALYSES_SHARE = 8  # patterns may take this many times the bytes of analyses: from 40 tokens on, a text's patterns take more
BYTES_PER_EVIDENCE = 256  # one token at which a head shows a role
BYTES_PER_READING = 256  # one head in one role, at most: its numbers as Python objects, and the containers that hold them


class AnalysisCache:
    """Reads patterns and analyses texts; keeps both for the texts that were asked for last.

    Patterns take up to `cache_bytes`, analyses up to an eighth of it. Any number of threads may share it.
    """

    def __init__(self, cache_bytes: int) -> None:
        self.patterns = AgingCache[Attention](cache_bytes, lambda attention: attention.patterns.nbytes)
        # each with the very record that it was made from: with a newer record the text is measured again
        self.analyses = AgingCache[tuple[HeadCategories, Analysis]](
            cache_bytes // ANALYSES_SHARE, lambda kept: _analysis_bytes(kept[1])
        )

    def attention(self, reader: PatternReader, token_ids: TokenIds) -> Attention:
        """Returns the patterns of a text; reads them if they are not kept."""
        key = _key(reader, token_ids)
        attention = self.patterns.get(key)
        if attention is None:
            attention = reader.read(token_ids)
            self.patterns.put(key, attention)
        return attention

    def analyze(
        self, reader: PatternReader, prompt: str, token_ids: TokenIds, record: HeadCategories, source: RecordSource
    ) -> Analysis:
        """Returns the analysis of a prompt; measures it if no analysis with this very record is kept."""
        kept = self.analyses.get(_key(reader, token_ids))
        if kept is None or kept[0] is not record:
            return self._measure(reader, prompt, self.attention(reader, token_ids), record, source)
        return replace(kept[1], prompt=clean_text(prompt), source=source)  # other texts may have the same tokens

    def add(
        self, reader: PatternReader, prompt: str, attention: Attention, record: HeadCategories, source: RecordSource
    ) -> Analysis:
        """Analyses patterns that were read elsewhere, as in a batch, and keeps both."""
        self.patterns.put(_key(reader, attention.token_ids), attention)
        return self._measure(reader, prompt, attention, record, source)

    def _measure(
        self, reader: PatternReader, prompt: str, attention: Attention, record: HeadCategories, source: RecordSource
    ) -> Analysis:
        analysis = analyze_attention(prompt, attention, record, source)
        self.analyses.put(_key(reader, attention.token_ids), (record, analysis))
        return analysis


def _key(reader: PatternReader, token_ids: TokenIds) -> tuple[str, str, TokenIds]:
    return reader.loaded.name, reader.loaded.revision, token_ids


def _analysis_bytes(analysis: Analysis) -> int:
    """Estimates what an analysis takes; the text of a token counts as one reading."""
    heads = analysis.num_layers * analysis.num_heads
    evidence = sum(len(cell) for table in analysis.heads.evidence.values() for row in table for cell in row)
    return BYTES_PER_READING * (heads * len(analysis.roles) + len(analysis.tokens)) + BYTES_PER_EVIDENCE * evidence
