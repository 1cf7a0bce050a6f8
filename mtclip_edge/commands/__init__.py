"""One module a command: parse, call one function, print.

The only room that may import ``train`` and ``export``.
"""
