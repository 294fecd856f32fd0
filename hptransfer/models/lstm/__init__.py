"""Recurrent language models: stacks of LSTM layers."""
