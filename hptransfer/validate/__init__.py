"""The proof: the prediction against probes around it, and against an AdamW tuned the same way."""
