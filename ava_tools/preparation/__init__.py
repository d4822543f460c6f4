"""Prepare videos and lists of them for training and evaluation."""
