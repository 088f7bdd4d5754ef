"""Pure decisions: no clock, no asyncio, no AWS."""
