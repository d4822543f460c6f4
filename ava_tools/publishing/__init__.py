"""Folders of trained models to share: config, weights, model card."""
