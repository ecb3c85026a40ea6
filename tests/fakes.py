"""The ports of queue and sign-in in memory, for tests of what uses them; the contract tests keep them true to the real ones."""

from collections.abc import Collection
from dataclasses import dataclass

from twisted.internet.defer import Deferred

from gateway.accounts import lockout
from gateway.accounts.lockout import Attempt, Charge, Scope, Sheet, SheetKey
from gateway.accounts.model import Credential
from gateway.config import Lockout
from gateway.errors import Unavailable
from gateway.queue.model import BodyRef, Inline, Spooled
from gateway.queue.ports import BodyReader, BodyWriter
from tests.fake_outbox import FakeOutbox as FakeOutbox  # all the fakes are found here
from tests.fake_usage import FakeLedger as FakeLedger


class FakeSenderStatus:
    """SenderStatus. Accounts in `gone` are disabled; `asked` has each question; `fail_with` makes every call fail with it."""

    def __init__(self) -> None:
        self.gone: set[str] = set()
        self.asked: list[set[str]] = []
        self.fail_with: Exception | None = None
        self.gate: Deferred[None] | None = None  # holds up the answer

    async def disabled(self, account_ids: Collection[str]) -> set[str]:
        self.asked.append(set(account_ids))
        if self.gate is not None:
            await self.gate
        if self.fail_with is not None:
            raise self.fail_with
        return self.gone & set(account_ids)


class FakeBodies:
    """Bodies. `fail_with` makes what writes or reads fail with it."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}  # the finished ones
        self.growing: dict[str, bytearray] = {}
        self.fail_with: Unavailable | None = None

    async def create(self, name: str) -> BodyWriter:
        self.check()
        if name in self.growing:
            raise Unavailable("a body of this name is there already")
        self.growing[name] = bytearray()
        return _FakeWriter(self, name)

    async def open(self, body: BodyRef) -> BodyReader:
        if isinstance(body, Inline):
            return _FakeReader(body.data)
        self.check()
        if body.name not in self.files:
            raise Unavailable("no such body")
        return _FakeReader(self.files[body.name])

    async def remove(self, body: Spooled) -> None:
        self.files.pop(body.name, None)

    def check(self) -> None:
        if self.fail_with is not None:
            raise self.fail_with


class _FakeWriter:
    def __init__(self, bodies: FakeBodies, name: str) -> None:
        self._bodies = bodies
        self._name = name

    async def write(self, data: bytes) -> None:
        self._bodies.check()
        self._bodies.growing[self._name] += data

    async def finish(self, rest: bytes = b"") -> Spooled:
        await self.write(rest)
        data = bytes(self._bodies.growing.pop(self._name))
        self._bodies.files[self._name] = data
        return Spooled(self._name, len(data))

    async def discard(self) -> None:
        self._bodies.growing.pop(self._name, None)


class _FakeReader:
    def __init__(self, data: bytes) -> None:
        self._data = data

    async def read(self) -> bytes:
        block, self._data = self._data[: 256 * 1024], self._data[256 * 1024 :]
        return block

    def close(self) -> None:
        self._data = b""


@dataclass(slots=True)
class FakeFailure:
    """A row of table failure."""

    charge: Charge
    at: float
    confirmed: bool = False


class FakeLockoutBook:
    """LockoutBook. `now` is its clock, in seconds; `fail_with` makes every call fail with it, nothing done."""

    def __init__(self, rules: Lockout, hash_wait: float = 5.0) -> None:
        self.rules = rules
        self.hash_wait = hash_wait
        self.now = 1_000_000.0
        self.fail_with: Unavailable | None = None
        self.failures: dict[int, FakeFailure] = {}
        self.locks: list[tuple[SheetKey, float, float]] = []  # made, until
        self.seen: dict[tuple[str, str], float] = {}
        self._charges = 0

    async def look(self, attempt: Attempt) -> Sheet:
        self._check()
        locks = {key: until - self.now for key, _, until in self.locks if until > self.now}
        since = self._since(attempt.subject, attempt.trust_network)
        exactly = self._since(attempt.subject, attempt.network)
        failing = any(self._is_of_pair(row.charge.attempt, attempt) for row in self.failures.values())
        return lockout.judge(self.rules, attempt, locks, seen=since, seen_exact=exactly, has_failures=failing)

    async def charge(self, attempt: Attempt) -> Charge:
        sheet = await self.look(attempt)
        if sheet.locked is not None:
            return Charge(attempt, sheet.known, locked=sheet.locked, scope=sheet.scope, exact=sheet.exact)
        scopes = lockout.scopes(self.rules, attempt, known=sheet.known, exact=sheet.exact)
        for scope in scopes:
            others = self._counted(scope, attempt, charges=True) - {_what(scope, attempt)}
            if len(others) >= lockout.limit(self.rules, scope):
                return Charge(attempt, sheet.known, locked=lockout.charge_life(self.hash_wait), scope=scope, exact=sheet.exact)
        if not scopes:
            return Charge(attempt, sheet.known, exact=sheet.exact)
        self._charges += 1
        charge = Charge(attempt, sheet.known, self._charges, exact=sheet.exact)
        self.failures[self._charges] = FakeFailure(charge, self.now)
        return charge

    async def fail(self, charge: Charge) -> None:
        self._check()
        if charge.id not in self.failures:
            return
        self.failures[charge.id].confirmed = True
        for scope in lockout.scopes(self.rules, charge.attempt, known=charge.known, exact=charge.exact):
            if len(self._counted(scope, charge.attempt, charges=False)) >= lockout.limit(self.rules, scope):
                self._lock(lockout.sheet_key(scope, charge.attempt))

    async def refund(self, charge: Charge) -> None:
        self._check()
        if charge.id is not None:
            self.failures.pop(charge.id, None)

    async def succeed(self, attempt: Attempt, charge: Charge | None) -> None:
        self._check()
        own = charge.id if charge else None
        running = {id_ for id_, row in self.failures.items() if not row.confirmed and self._is_live(row) and id_ != own}
        pair = {id_ for id_, row in self.failures.items() if self._is_of_pair(row.charge.attempt, attempt)}
        for id_ in pair - running:
            del self.failures[id_]
        self.locks = [lock for lock in self.locks if (lock[0].subject, lock[0].network) != (attempt.subject, attempt.network)]
        for network in (attempt.trust_network, attempt.network):
            if lockout.is_to_be_refreshed(self.rules, self._since(attempt.subject, network)):
                self.seen[attempt.subject, network] = self.now
            size = network.rpartition("/")[2]
            alike = [key for key in self.seen if key[0] == attempt.subject and key[1].rpartition("/")[2] == size]
            for key in sorted(alike, key=lambda key: -self.seen[key])[lockout.KNOWN_NETWORKS :]:
                del self.seen[key]

    def _since(self, subject: str, network: str) -> float | None:
        seen = self.seen.get((subject, network))
        return None if seen is None else self.now - seen

    def _check(self) -> None:
        if self.fail_with is not None:
            raise self.fail_with

    def _counted(self, scope: Scope, attempt: Attempt, *, charges: bool) -> set[object]:
        key = lockout.sheet_key(scope, attempt)
        made = max((made for other, made, _ in self.locks if other == key), default=0.0)
        since = max(made, self.now - lockout.window(self.rules, scope))
        rows = [row for row in self.failures.values() if row.at > since and (row.confirmed or (charges and self._is_live(row)))]
        return {
            _what(scope, row.charge.attempt)
            for row in rows
            if lockout.sheet_key(scope, row.charge.attempt) == key and _is_on(scope, row.charge)
        }

    def _is_live(self, row: FakeFailure) -> bool:
        return row.at > self.now - lockout.charge_life(self.hash_wait)

    def _lock(self, key: SheetKey) -> None:
        earlier = sum(other == key and made > self.now - lockout.DAY for other, made, _ in self.locks)
        self.locks.append((key, self.now, self.now + lockout.lock_seconds(self.rules, earlier)))

    @staticmethod
    def _is_of_pair(one: Attempt, other: Attempt) -> bool:
        return (one.subject, one.network) == (other.subject, other.network)


def _is_on(scope: Scope, charge: Charge) -> bool:
    if scope in (Scope.TRUST, Scope.ACCOUNT_TRUST):
        return not charge.exact
    return scope is Scope.ACCOUNT_NETWORK or not charge.known


def _what(scope: Scope, attempt: Attempt) -> object:
    """What a sheet counts different ones of."""
    return attempt.subject if scope in (Scope.NETWORK, Scope.TRUST) else attempt.fingerprint


class FakeDomains:
    """Domains: the account of each. `asked` has each question; `fail_with` makes every call fail with it."""

    def __init__(self) -> None:
        self.owners: dict[str, str] = {}
        self.asked: list[str] = []
        self.fail_with: Unavailable | None = None

    async def belongs(self, domain: str, account_id: str) -> bool:
        self.asked.append(domain)
        if self.fail_with is not None:
            raise self.fail_with
        return self.owners.get(domain) == account_id


class FakeCredentialBook:
    """CredentialBook of the domains in `domains`. `fail_with` makes every look-up fail with it; `uses` has each use."""

    def __init__(self) -> None:
        self.domains = FakeDomains()
        self.fail_with: Unavailable | None = None
        self.asked: list[str] = []
        self.uses: list[tuple[str, str]] = []  # name, network
        self._stored: dict[str, tuple[int, str]] = {}  # id, stored form of the password
        self._last_id = 0

    async def find(self, name: str) -> Credential | None:
        self.asked.append(name)
        if self.fail_with is not None:
            raise self.fail_with
        domain = name.rpartition("@")[2]
        if name not in self._stored or domain not in self.domains.owners:
            return None
        number, stored = self._stored[name]
        return Credential(number, name, domain, self.domains.owners[domain], stored)

    def used(self, credential: Credential, network: str) -> None:
        self.uses.append((credential.name, network))

    def create(self, name: str, stored: str) -> None:
        """As an operator does."""
        self._last_id += 1
        self._stored[name] = (self._last_id, stored)

    def reset(self, name: str, stored: str) -> None:
        """As an operator does."""
        self._stored[name] = (self._stored[name][0], stored)

    def delete(self, name: str) -> None:
        """As an operator does."""
        del self._stored[name]
