"""The folder of a run: what it holds, how it is written, and how it is read.

=====================  ==========================================================================
``folder``             the folder and the names of its files, its lock, opening a new or old run
``config_file``        ``config.json``: the only writer and the only reader
``software``           versions and git commits of the code of a run, for ``config.json``
``schema``             the keys of a line of ``rounds.jsonl``; ``docs/reference/rounds.md``
``record``             counts of one round while it runs, and the line made from them
``round_log``          ``rounds.jsonl``: append, read, follow, forget
``checkpoint``         ``checkpoint-*.safetensors``: save, load, prune
``totals``             bytes, headline metric and network size, computed from lines
``callback``           the base class of callbacks
``best_round``         the best round, and whether a run stops early
``summary``            text: the line of a round, the table at the end
``listing``            finding runs, and following one
``table``              runs as rows: selected, sorted, as text and as CSV
``cost``               bytes and seconds of a round for one device
=====================  ==========================================================================
"""
