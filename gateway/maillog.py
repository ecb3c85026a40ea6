"""One function for each kind of line an operator reads about mail: what happened, with which queue id.

No line has a password, a hash, an AUTH line or a body. What a peer said is cut and escaped (`peer_text`), so
that nobody can write a log line of their own (chasquid 1.18.0 fixed that).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import structlog

log: Any = structlog.get_logger("gateway")  # `logs.configure` sets one that writes


def peer_text(text: str | bytes, limit: int = 200) -> str:
    """Text from outside as one printable line of at most `limit` characters."""
    shown = repr(text if isinstance(text, str) else text.decode("utf-8", "backslashreplace"))[1:-1]
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."


def sign_in(
    result: str, mechanism: str, seconds: float, account_id: str, network: str, reason: str, credential: int | None = None
) -> None:
    """One attempt to sign in: never who it was tried as, only the account, and its credential, that it turned out to be."""
    line = log.warning if reason else log.info
    line(
        "sign-in",
        result=result,
        mechanism=mechanism,
        seconds=round(seconds, 3),
        account=account_id,
        network=network,
        **_credential(credential),
        **({"reason": reason} if reason else {}),
    )


def _credential(number: int | None) -> dict[str, int]:
    """The number of a domain's SMTP user, where it is about one."""
    return {} if number is None else {"credential": number}


def sign_in_no_longer_valid(account_id: str, reason: str, credential: int | None = None) -> None:
    log.info("session ended: its sign-in is no longer valid", account=account_id, reason=reason, **_credential(credential))


def locked_out(scope: str, account_id: str, network: str, seconds: float, credential: int | None = None) -> None:
    """A sheet of failed sign-ins is full; `network` is "" for an account's, `account_id` for a network's, a credential's or
    no account's."""
    of = _credential(credential)
    log.warning("locked out", scope=scope, account=account_id, network=network, seconds=round(seconds), **of)


def accounts_unavailable(account_id: str, reason: str) -> None:
    """The login table, or for a credential the store, could not be read for a session that is open."""
    log.warning("cannot look again at an open session's sign-in", account=account_id, reason=reason)


def held_back(queue_id: str, account_id: str, recipients: int) -> None:
    """Mail of an account that is disabled now: it is held until the account is enabled or an operator decides."""
    log.warning("held: its account is disabled", queue_id=queue_id, account=account_id, recipients=recipients)


def let_go(accounts: int, recipients: int) -> None:
    """Mail that was held goes on, for so many accounts are enabled again."""
    log.info("held mail goes on: its account is enabled", accounts=accounts, recipients=recipients)


def senders_unknown(reason: str) -> None:
    """Nobody can say whose account is disabled, so what was accepted goes on being sent."""
    log.warning("cannot read the login table; queued mail is sent without asking it", reason=reason)


def outcomes_too_late(recipients: int) -> None:
    """Outcomes came for recipients whose lease was gone (deleted, or taken over by another): they were not written down."""
    log.warning("outcomes of deliveries came too late and were dropped", recipients=recipients)


def leases_lost(queue_id: str, recipients: int) -> None:
    """Of a message under way: another process has them now, or an operator has held or deleted them."""
    log.warning("not sent, it is not ours any more", queue_id=queue_id, recipients=recipients)


def taken_for_dead() -> None:
    log.warning("this gateway stood still for so long that others took it for dead; its deliveries are theirs now")


def taken_over(gateways: int, recipients: int) -> None:
    log.warning("mail of gateways that died was taken over", gateways=gateways, recipients=recipients)


def two_accounts(account_ids: Sequence[str]) -> None:
    log.error("two accounts differ in letter case only; neither can sign in", accounts=sorted(account_ids))


def hop_down(hop: str, reason: str, retry_in: float) -> None:
    """A next hop cannot be used; `retry_in` seconds from now it is asked again."""
    log.warning("hop down", hop=hop, reason=peer_text(reason), retry_in=round(retry_in, 1))


def hop_up(hop: str) -> None:
    log.info("hop up", hop=hop)


def cut_at_stop() -> None:
    """A database does not answer while the gateway stops."""
    log.warning("a database hangs: its connections are cut")


def due_times_pulled_in(recipients: int) -> None:
    """Mail that waited for a time that the clock had only reached by mistake is due now."""
    log.warning("the store's clock has stepped back: mail is due at once", recipients=recipients)


def cannot_start(reason: str) -> None:
    log.error("the store cannot be used, so the gateway does not start", reason=reason)


def no_threads(reason: str) -> None:
    """A process that can make no thread ends at once."""
    log.error("no thread can be started", reason=reason)


def no_workers() -> None:
    log.error("no worker can be started, so the gateway does not start")


def mode_mended(path: str, was: str, now: str) -> None:
    """A state file that others could read or write; modes in octal."""
    log.warning("state file made private", path=path, was=was, now=now)


def loose_mode(path: str, reason: str) -> None:
    """A state file that others may read or write, which this user cannot change."""
    log.warning("state file is not private", path=path, reason=reason)


def hop_in_clear(hop: str, reason: str) -> None:
    """A next hop with tls=opportunistic gets mail without TLS over a new connection."""
    log.warning("hop in clear", hop=hop, reason=peer_text(reason))


def lost_after_dot(hop: str, queue_id: str) -> None:
    """The final reply of a next hop was lost: the message is sent again and may arrive twice."""
    log.warning("final reply lost", hop=hop, queue_id=queue_id)


def accepted(
    *, queue_id: str, account: str, network: str, octets: int, recipients: Mapping[str, int], credential: int | None = None
) -> None:
    """A message got its 250. Recipients are counted by class; who they are is in the queue, not in the log."""
    counts = {**_credential(credential), **recipients}
    log.info("accepted", queue_id=queue_id, account=account, network=network, octets=octets, **counts)


def near_daily_limit(account_id: str, used: int, limit: int) -> None:
    """The account has passed 80 % of what it may send today; said once a day for each."""
    log.warning("daily limit is near", account=account_id, used=used, limit=limit)


def over_daily_limit(account_id: str, used: int, limit: int, action: str) -> None:
    """`action`: defer, reject or suspend."""
    what = "over the daily limit, the account is suspended" if action == "suspend" else "over the daily limit"
    log.warning(what, account=account_id, used=used, limit=limit, action=action)


def sender_suspended(account_id: str, credential: int | None = None) -> None:
    """At MAIL: what is refused to an account that was suspended before."""
    log.info("refused: its account is suspended", account=account_id, **_credential(credential))


def sent_again(queue_id: str, account: str) -> None:
    """A message came a second time, as it does when its 250 was lost: it was not queued again."""
    log.info("sent again, and taken only once", queue_id=queue_id, account=account)


def outcome(result: str, *, retry_in: int | None = None, **facts: str | int) -> None:
    """What became of one recipient, who is named by its number: `queue show` has the address and the class."""
    if retry_in is not None:
        facts["retry_in"] = retry_in
    (log.debug if result == "unreachable" else log.info)(result, **facts)  # `hop_down` has said it once for all


def store_unavailable(doing: str, reason: str) -> None:
    log.error("the store cannot be used", doing=doing, reason=reason)


def body_unavailable(queue_id: str, reason: str) -> None:
    log.error("a body cannot be read", queue_id=queue_id, reason=reason)


def report_not_sent(queue_id: str, account: str, reason: str) -> None:
    """A report that `senders.envelope = "any"` keeps back."""
    log.warning("report not sent", queue_id=queue_id, account=account, reason=reason)


def outcomes_lost(queue_id: str, recipients: int, reason: str) -> None:
    """We stop and the store does not take outcomes: those recipients are tried again by the next life."""
    log.error("outcomes of deliveries could not be written down", queue_id=queue_id, recipients=recipients, reason=reason)


def bug(doing: str, error: BaseException) -> None:
    """An error nobody expected: everything about it, for us; the peer got a plain 451."""
    log.error("unexpected error", doing=doing, exc_info=error)


def connection_refused(network: str, why: str) -> None:
    log.warning("connection refused", network=network, why=why)


def proxy_refused(listener: str, proxy: str, reason: str, connections: int) -> None:
    """A trusted proxy did not say who its client is; `connections` were refused since the last such line of this listener."""
    log.warning("proxy refused", listener=listener, proxy=proxy, reason=reason, connections=connections)


def certificate_loaded(expires_in: float) -> None:
    log.info("certificates loaded", days_left=int(expires_in // 86400))


def certificate_refused(problems: Sequence[str]) -> None:
    """The files on disk cannot be used; the ones in use stay."""
    log.error("new certificate refused, the old one stays in use", problems=list(problems))


def from_twisted(text: str) -> None:
    log.warning("twisted", text=text)


def started(version: str, listeners: Sequence[str], workers: int) -> None:
    """`workers` is 0 for a process that serves alone."""
    log.info("started", version=version, listeners=" ".join(listeners), **({"workers": workers} if workers else {}))


def worker_listens(pid: int) -> None:
    log.info("worker started", pid=pid)


def worker_refused(problems: Sequence[str]) -> None:
    """A worker cannot be started again with what is on disk now, such as a certificate."""
    log.error("worker cannot start", problems=list(problems))


def worker_died(number: int, how: str, restart_in: float) -> None:
    """A worker ended that nobody had told to; `how`: "signal 9", "status 1"."""
    log.error("worker died", number=number, how=how, restart_in=restart_in)


def worker_killed(number: int) -> None:
    log.error("worker does not answer and is killed", number=number)


def orphaned() -> None:
    log.error("the parent process is gone: this worker ends")


def stopping() -> None:
    log.info("stopping")


def stopped() -> None:
    log.info("stopped")


def settings_warning(what: str) -> None:
    """What the settings allow but an operator should know, "key.path: what"."""
    log.warning("settings", what=what)


def self_signed(path: str) -> None:
    log.warning("no certificate is configured: a self-signed one is used, which clients will ask about", file=path)


def reloaded() -> None:
    log.info("configuration reloaded")


def reload_refused(problems: Sequence[str]) -> None:
    log.error("new configuration refused, the old one stays in use", problems=list(problems))


def swept(messages: int, files: int) -> None:
    if messages or files:
        log.info("swept", finished_messages=messages, orphaned_files=files)


def not_ready(what: str, reason: str) -> None:
    log.warning("not ready", what=what, reason=reason)


def needs_restart(sections: Sequence[str]) -> None:
    """A new configuration was read whose changes to these tables count only from the next start on."""
    log.warning("changes that need a restart", tables=" ".join(sections))


def upkeep_failed(doing: str, reason: str) -> None:
    log.warning("upkeep failed, it is tried again", doing=doing, reason=reason)
