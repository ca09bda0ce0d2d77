"""Results become words, HTML, figures, files and plain data. Nothing here can ask a model."""
