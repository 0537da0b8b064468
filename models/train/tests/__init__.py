"""Tests of the training package. They need neither corpora nor PyTorch."""
