"""How a model and its tokenizer are loaded, and what is kept of them."""
