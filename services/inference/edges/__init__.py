"""Where inference touches the outside: the ONNX runtime and model files."""
