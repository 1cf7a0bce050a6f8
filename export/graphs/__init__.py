"""Towers become ONNX graphs, cut to what a query needs. Open ``towers`` first."""
