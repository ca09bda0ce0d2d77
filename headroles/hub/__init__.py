"""Out of the Hub and into it: records, training runs, repositories and the files of models, each checked before it is used."""
