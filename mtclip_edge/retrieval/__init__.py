"""Film in, ranked evidence out. START HERE.

``retriever.Retriever`` opens a bundle and answers films, studies and typed sentences; ``results`` is what it
returns.
"""
