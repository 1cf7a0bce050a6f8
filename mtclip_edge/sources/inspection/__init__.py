"""``mtclip data inspect``: what a source holds, and what looks wrong in it. Open ``inspection`` first."""
