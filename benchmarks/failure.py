"""What ends a benchmark: figures of a run in which something was refused or lost would be worth nothing."""


class BenchmarkFailed(Exception):
    """Its text is for whoever started the benchmark."""
