"""The networks of the stages, in PyTorch."""
