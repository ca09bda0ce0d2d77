"""Limits that several rooms name: of a prompt, and of what is asked at once."""

MAX_PROMPT_TOKENS = 256  # longer heatmaps are no longer readable, and patterns grow with the square
MAX_PROMPT_CHARACTERS = 10_000  # refused before the tokenizer works on it
MAX_BATCH_PROMPTS = 64  # texts in one call
