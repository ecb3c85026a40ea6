"""The command `smtp-gateway`: everything an operator does beside the running server."""

from gateway.cli.command import main

__all__ = ["main"]
