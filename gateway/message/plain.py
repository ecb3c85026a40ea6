"""Address lists in the form that nearly all have, read in one step: plain addresses, bare or in "<>" after a plain name.

There is only one way to read them, so whatever is not exactly of this form is left to the readers of `mailboxes.py`, and
what is found here is what they would find.
"""

import re

MAX_ADDRESS = 64  # octets: within every limit of an address and its parts (RFC 5321 section 4.5.3.1)
MAX_VALUE = 50_000  # octets of a list: within what the other readers take

# A display name of words, or in quotes
_NAME = rb"""(?:[A-Za-z0-9 \t_-]{0,64}+|"[A-Za-z0-9 ,.'_-]{0,64}+"[ \t]*+)"""
_LABEL = rb"[A-Za-z0-9]++(?>(?:-++[A-Za-z0-9]++)*)"
_SPEC = rb"[A-Za-z0-9_+-]++(?>(?:\.[A-Za-z0-9_+-]++)*)@" + _LABEL + rb"(?>(?:\." + _LABEL + rb")*)"
_MAILBOX = rb"[ \t]*+(?>(?:" + _NAME + rb"(<))?)(" + _SPEC + rb")(?(1)>)[ \t]*+"
_ONE = re.compile(_MAILBOX + rb"(?:\r\n)?")
# What is no such mailbox is one match with all that follows it, and without an address: so reading stays linear.
_NEXT = re.compile(_MAILBOX + rb"(?:,|\Z)|.++", re.DOTALL)


def mailbox(value: bytes) -> str:
    """The address of a field's value that names one mailbox; "" when it is of any other form."""
    found = _ONE.fullmatch(value)
    if found is None or len(found[2]) > MAX_ADDRESS or _has_a_label(value):
        return ""
    return found[2].decode("ascii")


def keys(value: bytes) -> set[str] | None:
    """The `Address.key` of each mailbox in an unfolded value; None when it is of any other form."""
    if len(value) > MAX_VALUE or _has_a_label(value):
        return None
    specs = {spec for _, spec in _NEXT.findall(value.lower())}
    if b"" in specs or max(map(len, specs), default=0) > MAX_ADDRESS:
        return None
    return {spec.decode("ascii") for spec in specs}


def _has_a_label(value: bytes) -> bool:
    """Whether something looks like an A-label: not all that does is one."""
    return b"xn--" in value.lower()
