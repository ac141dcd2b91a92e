"""The bench: the context that handlers of stages work with."""

from workers.bench.context import Context, Handler

__all__ = ["Context", "Handler"]
