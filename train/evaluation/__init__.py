"""``mtclip eval`` of runs and backbones: figures, ablation, plots, examples. Open ``evaluate`` first."""
