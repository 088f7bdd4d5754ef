"""The engine: settles one shard. Start with `engine.engine`."""
