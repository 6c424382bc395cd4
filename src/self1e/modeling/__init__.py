"""The model: settings, network, losses; and its checkpoints: conversion and verification."""

from self1e.modeling.configuration import SELF1EConfig
from self1e.modeling.convert import ConversionReport, convert_checkpoint
from self1e.modeling.model import ImageFeatures, SELF1EForSegmentation, SELF1EOutput
from self1e.modeling.verify import VerificationReport, reference_token_ids, verify
from self1e.modeling.weights import CheckpointError

__all__ = [
    "CheckpointError",
    "ConversionReport",
    "ImageFeatures",
    "SELF1EConfig",
    "SELF1EForSegmentation",
    "SELF1EOutput",
    "VerificationReport",
    "convert_checkpoint",
    "reference_token_ids",
    "verify",
]
