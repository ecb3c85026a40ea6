"""Who may send: pure rules, and coroutines over ports."""
