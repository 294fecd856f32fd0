"""Decoders with attention: GPT's blocks, Llama's, and those of modded-nanogpt."""
