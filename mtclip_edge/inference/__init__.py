"""ONNX towers: grey pixels or text become unit vectors (float32).

Device and precision are chosen with a reason; preprocessing is the one that training used. Open ``encoders``
first.
"""
