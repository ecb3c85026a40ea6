"""Alembic's scripts for our store, run by `gateway.store.migrate`; each is marked pre_ or post_.

pre_ runs before the new version starts and the old one must live with it; post_ runs when no old one is left.
"""
