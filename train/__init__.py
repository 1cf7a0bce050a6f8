"""Studies to features to projector to run. Needs the ``train`` extra; the runtime never imports it."""
