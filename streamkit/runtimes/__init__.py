"""The shells around the engine: worker, one-shot."""
