"""Exported models, and the engines that run them. Nothing here needs torch, but for the engine of that name.

- `artefact`: the folder that `self1e export` writes, and its settings
- `programs`: a program of it, loaded by an engine
- `words`: what the second program takes
"""
