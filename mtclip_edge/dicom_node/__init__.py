"""A node beside a PACS: films in by C-STORE or STOW-RS, result objects out, nothing lost in between.

Open ``node`` first: it puts ``settings`` (NODE.toml), ``spool`` and ``journal`` (what was received and what
became of it), ``door`` (who may send), ``worker`` (films → answer → ``objects``), ``peer`` (the PACS) and
``dicomweb`` together. Nothing here shows, logs or journals whom a film is of.
"""
