"""Smaller and faster graphs, rung by rung. Open ``ladder`` first."""
