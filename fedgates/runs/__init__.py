"""Files of a run: writing and reading its folder.

=====================  ==========================================================================
``folder``             the folder, its file names and lock; creating and resuming a run
``config_file``        ``config.json``: write and read
``software``           versions and git commits of the code of a run, for ``config.json``
``schema``             keys of a line of ``rounds.jsonl``; ``docs/reference/rounds.md``
``record``             counts of one round while it runs, and the line made from them
``round_log``          ``rounds.jsonl``: append, read, follow, truncate
``checkpoint``         ``checkpoint-*.safetensors``: save, load, prune
``totals``             bytes, headline metric and network size, computed from lines
``callback``           the base class of callbacks
``best_round``         the best round, and early stopping
``summary``            text: the line of a round, the table at the end
``listing``            finding runs, and following one
``table``              runs as rows: filter, sort, format as text or CSV
``cost``               bytes and seconds of a round for one device
=====================  ==========================================================================
"""
