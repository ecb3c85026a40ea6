"""What makes two submissions the same one: a client that lost our 250 sends its message again, octet by octet."""

import hashlib
from collections.abc import Sequence
from operator import attrgetter

from gateway.queue.model import Envelope, NewRecipient


def resend_key(account_id: str, envelope: Envelope, recipients: Sequence[NewRecipient], content: bytes) -> str:
    """A digest of the account, the envelope with its DSN parameters, and `content`, a digest of all that was submitted.

    Neither the order of recipients nor SIZE and BODY count: a client may connect anew to do it another way.
    """
    parts = [account_id, envelope.sender, envelope.ret, envelope.envid]
    for recipient in sorted(recipients, key=attrgetter("address")):
        parts += [recipient.address, recipient.notify, recipient.orcpt]
    octets = [part.encode("utf-8", "surrogatepass") for part in parts]
    return hashlib.sha256(content + b"".join([b"%d:%b" % (len(each), each) for each in octets])).hexdigest()
