"""How long the tests that kill things go on: a few rounds in the suite, `make soak ROUNDS=...` for more; and their chance."""

import os
import random

ROUNDS = int(os.environ.get("GATEWAY_SOAK_ROUNDS", "3"))
SOAK = "GATEWAY_SOAK_ROUNDS" in os.environ
SEED = int(os.environ.get("GATEWAY_SOAK_SEED", random.randrange(1_000_000)))


def chance(what: str) -> random.Random:
    """Of one test, told so that GATEWAY_SOAK_SEED can bring it back (as far as processes let themselves be repeated)."""
    print(f"{what}: GATEWAY_SOAK_SEED={SEED}")  # noqa: T201
    return random.Random(f"{SEED} {what}")
