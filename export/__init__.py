"""Run to ONNX to proven to bundle.

Needs the ``train`` and ``export`` extras; the runtime never imports it.
"""
