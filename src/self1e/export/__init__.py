"""`self1e export`: what makes the folder of an exported model. Reads in this order:

- `programs`: the two programs, as modules that torch can trace
- `to_torch`, `to_onnx`, `to_openvino`: their files, in full or half precision or in 8 bits
- `verify`: whether the exported model gives the masks of the model
- `export`: all of it, in one call
"""
