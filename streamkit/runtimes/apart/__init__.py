"""A process apart, in which nothing but suspects is handled: the worker outlives what kills it (rule 22)."""
