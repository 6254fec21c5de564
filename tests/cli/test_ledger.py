"""``flovia ledger``, run in this process on a file that a shop wrote."""

import inspect
import json
from collections.abc import Generator
from pathlib import Path

import attrs
import pytest

import flovia
from flovia.cli.app import run
from flovia.core import events as ev
from flovia.core.awaited import Awaited, keep_awaited
from flovia.core.binding import Keyring, issue
from flovia.core.challenge import format_challenge
from flovia.core.delivery import MAX_DELIVERIES
from flovia.core.encoding import encode_param
from flovia.core.gate import Gate
from flovia.core.issued import keep_issued
from flovia.core.money import Price
from flovia.core.provider import charge_request
from flovia.ledger.opening import open_ledger
from flovia.ledger.sql import SqlLedger
from flovia.runtime import World
from flovia.runtime import run as drive
from flovia.testing.ledger_refunds import record_late
from flovia.testing.ledger_steps import ManualClock
from tests.core.world import REALM, SECRET, buy, challenges, deliver, pay, request

BOB = "did:example:bob"


@attrs.frozen
class Shop:
    """A ledger file with one delivered payment and one whose handler fails."""

    url: str
    ledger: SqlLedger
    gate: flovia.PaidApi
    delivered: str
    failed: str
    credential: str
    challenge: str


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Shop]:
    """A shop that has sold twice."""
    url = f"sqlite:///{tmp_path}/shop.db"
    monkeypatch.setenv("FLOVIA_LEDGER", url)
    ledger = open_ledger(url)
    assert isinstance(ledger, SqlLedger)
    gate = flovia.Flovia(ledger=ledger, secret=SECRET).paid_api(provider="mock", price="1.00 USD", max_deliveries=1)
    _, sold = buy(gate)
    deliver(gate, sold)
    (challenge,) = challenges(gate.enter(request()).response)
    credential = pay(challenge, "ok2", BOB)
    passage = gate.enter(request(credential))
    deliver(gate, passage, 500)
    assert sold.grant is not None
    assert passage.grant is not None
    ledger.flush()
    yield Shop(url, ledger, gate, sold.grant.payment_id, passage.grant.payment_id, credential, challenge.id)
    ledger.close()


def shown(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    """What was printed as JSON."""
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_show(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    """Every id leads to the same payment; nothing secret is in it."""
    request_id = next(e.request_id for _, e in shop.ledger.read_events() if e.type == ev.PAYMENT_DELIVERY_FAILED)
    told: list[object] = []
    for ident in (shop.challenge, shop.failed, request_id, f"localhost|{shop.challenge}"):
        assert 0 == run(["ledger", "show", ident, "--json"])
        (found,) = shown(capsys)
        assert [shop.challenge] == found["challenge_ids"]
        told.append(found["payments"])
        text = json.dumps(found)
        assert not [word for word in ("fingerprint", "record", "nonce", SECRET) if word in text]
    assert all(one == told[0] for one in told)
    assert 0 == run(["ledger", "show", shop.failed])
    out = capsys.readouterr().out
    assert "settled" in out
    assert "1.00 USD" in out
    assert "payment.delivery_failed" in out


def test_show_a_refund(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    """A refund's id leads to its payment, and a late payment to its challenge."""
    result = flovia.Flovia(ledger=shop.ledger).refund(shop.delivered, "0.40 USD", provider="mock")
    assert 0 == run(["ledger", "show", str(result.refund_id), "--json"])
    (found,) = shown(capsys)
    assert [shop.delivered] == [row["payment_id"] for row in found["refunds"]]  # type: ignore[attr-defined]  # JSON
    assert [ev.PAYMENT_REFUNDED] == [e["type"] for e in found["events"]][-1:]  # type: ignore[attr-defined]  # JSON
    record_late(shop.ledger, ManualClock())
    assert 0 == run(["ledger", "show", "pay-2"])
    assert "refund_due" in capsys.readouterr().out


@pytest.mark.parametrize("ident", ["nobody%", "-hbc", "-5", "--abc"])
def test_show_nothing(shop: Shop, capsys: pytest.CaptureFixture[str], ident: str) -> None:
    """An id that nobody knows; one in 64 challenges begins with a hyphen, and is no option for that."""
    assert 1 == run(["ledger", "show", ident])
    assert f"nothing in this ledger has the id '{ident}'" in capsys.readouterr().err
    assert 1 == run(["ledger", "show", "x", "--ledger", "memory://"])
    assert shop.delivered


def test_undelivered_and_redelivered(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    """What is paid and not delivered is listed, and is redeemable again once somebody says so, on record."""
    assert 0 == run(["ledger", "undelivered"])
    assert f"{shop.challenge}  {shop.failed}  1.00 USD  settled  1 delivery begun" in capsys.readouterr().out
    assert 0 == run(["ledger", "undelivered", "--json"])
    (one,) = shown(capsys)
    assert ("100", shop.failed, 1) == (one["amount"], one["payment_id"], one["deliveries"])
    refused = shop.gate.enter(request(shop.credential)).response
    assert refused is not None
    assert 500 <= refused.status
    assert 0 == run(["ledger", "redeliver", shop.failed])
    assert f"redeemable again: {shop.challenge}" in capsys.readouterr().out
    assert [(shop.failed, 100)] == [
        (e.payment_id, e.amount) for _, e in shop.ledger.read_events() if e.type == ev.PAYMENT_REOPENED
    ]
    passage = shop.gate.enter(request(shop.credential))
    assert passage.response is None
    assert 1 == run(["ledger", "redeliver", shop.failed, "--json"])
    assert "delivering" == shown(capsys)[0]["outcome"]
    until = shop.ledger.find(f"localhost|{shop.challenge}")
    assert 0 == run(["ledger", "redeliver", shop.failed, "--force", "--json"])
    (told,) = shown(capsys)
    assert until is not None
    assert ("reopened", until.lease_until) == (told["outcome"], told["until"])
    # Whoever still held it cannot record what it delivers.
    deliver(shop.gate, passage)
    assert [shop.failed] == [one.payment_id for one in shop.ledger.find_undelivered(9)]
    again = shop.gate.enter(request(shop.credential))
    deliver(shop.gate, again)
    assert [] == list(shop.ledger.find_undelivered(9))
    assert 0 == run(["ledger", "undelivered"])
    assert ("", "flovia: nothing is paid and undelivered\n") == capsys.readouterr()
    assert 0 == run(["ledger", "undelivered", "--json"])
    assert ("", "") == capsys.readouterr()


def test_what_is_being_delivered(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    """A payment whose delivery holds its lease is listed behind the others: nobody sees whether its process lives."""
    _, passage = buy(shop.gate, "ok3")
    assert passage.grant is not None
    assert 0 == run(["ledger", "undelivered"])
    printed = capsys.readouterr()
    first, second = printed.out.splitlines()
    assert shop.failed in first
    assert f"{passage.grant.payment_id}  1.00 USD  delivering until 20" in second
    assert second.endswith("1 delivery begun")
    assert "" == printed.err
    assert 0 == run(["ledger", "undelivered", "--json"])
    assert ["redeemable", "delivering"] == [one["standing"] for one in shown(capsys)]
    assert 0 == run(["ledger", "undelivered", "--json", "--limit", "1"])
    assert ["redeemable"] == [one["standing"] for one in shown(capsys)]
    assert 0 == run(["ledger", "redeliver", passage.grant.payment_id, "--force"])
    printed = capsys.readouterr()
    assert "redeemable again" in printed.out
    assert "a delivery had it until 20" in printed.err
    assert 0 == run(["ledger", "redeliver", passage.grant.payment_id, "--force"])
    assert "" == capsys.readouterr().err
    deliver(shop.gate, passage)
    assert ["settled", "settled"] == [one.state for one in shop.ledger.find_undelivered(9)]


def test_what_redeems_no_more(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    """Used up as soon as the credential was told; then it is not called redeemable, and the remedies are named."""
    assert 0 == run(["ledger", "undelivered"])
    printed = capsys.readouterr()
    assert ("redeems until" in printed.out, "") == (True, printed.err)
    refused = shop.gate.enter(request(shop.credential)).response
    assert refused is not None
    assert b"delivery-exhausted" in refused.body
    shop.ledger.flush()
    assert 0 == run(["ledger", "undelivered"])
    printed = capsys.readouterr()
    assert "1 delivery begun  redeems no more, its deliveries are used up\n" in printed.out
    assert "flovia ledger redeliver ID makes it redeemable again, flovia refund ID gives the money back" in printed.err
    assert 0 == run(["ledger", "undelivered", "--json"])
    assert "exhausted" == shown(capsys)[0]["standing"]
    assert 0 == run(["ledger", "redeliver", shop.failed, "--json"])
    capsys.readouterr()
    assert 0 == run(["ledger", "undelivered", "--json"])
    assert "redeemable" == shown(capsys)[0]["standing"]
    again = shop.gate.enter(request(shop.credential))
    deliver(shop.gate, again, 500)
    assert 0 == run(["ledger", "undelivered", "--json"])
    assert "redeemable" == shown(capsys)[0]["standing"]


@pytest.mark.parametrize(("allowed", "begun"), [(5, 5), (7, 6)])
def test_the_default_number_of_deliveries(
    shop: Shop, capsys: pytest.CaptureFixture[str], allowed: int, begun: int
) -> None:
    """Five begun are all by default, which a route may raise; more than that are proof that it did."""
    gate = flovia.Flovia(ledger=shop.ledger, secret=SECRET).paid_api(
        provider="mock", price="1.00 USD", max_deliveries=allowed
    )
    for _ in range(begun - 1):
        deliver(gate, gate.enter(request(shop.credential)), 500)
    assert 0 == run(["ledger", "undelivered"])
    told = "redeems no more, unless its route allows more than 5 deliveries" if begun == 5 else "redeems until "
    assert f"{begun} deliveries begun  {told}" in capsys.readouterr().out
    assert 0 == run(["ledger", "undelivered", "--json"])
    assert ("perhaps_exhausted" if begun == 5 else "redeemable") == shown(capsys)[0]["standing"]


def test_the_default_is_that_of_every_route() -> None:
    """What the command takes for a route's number is what a route has that says nothing."""
    for made in (flovia.Flovia.paid_api, Gate.__init__):
        assert MAX_DELIVERIES == inspect.signature(made).parameters["max_deliveries"].default


@pytest.mark.parametrize(
    "command", [["ledger", "show"], ["ledger", "redeliver"], ["ledger", "redeliver", "--force"], ["refund"]]
)
def test_an_empty_id(shop: Shop, capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    """A variable that is not set names no payment: said in one line, and nobody's payment is shown or changed."""
    assert "noted" == shop.ledger.note_refund("", "mock|pay-3", 100, "usd", ())
    assert 1 == run([*command, ""])
    shown_ = capsys.readouterr()
    assert ("", "flovia: the id is empty: is the variable set that it was to come from?\n") == (shown_.out, shown_.err)


@pytest.mark.parametrize(
    ("ident", "quoted"), [("-hbc", "-hbc"), ("--a-b_c", "--a-b_c"), ("a b", "'a b'"), ("it's", "'it'\"'\"'s'")]
)
def test_redeliver_nothing(shop: Shop, capsys: pytest.CaptureFixture[str], ident: str, quoted: str) -> None:
    """An id that nobody knows, also one that begins with a hyphen; the hint can be pasted as it stands."""
    assert 1 == run(["ledger", "redeliver", ident])
    assert capsys.readouterr().err.endswith(f"flovia ledger show {quoted}\n")
    assert 1 == run(["ledger", "redeliver", ident, "--ledger", shop.url])
    assert f"flovia ledger show {quoted} (with the same --ledger)" in capsys.readouterr().err


def test_redeliver_refused(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    """What was delivered, what is to go back and what nobody knows stay as they are."""
    assert 1 == run(["ledger", "redeliver", shop.delivered])
    assert "it is delivered" in capsys.readouterr().err
    assert 1 == run(["ledger", "redeliver", "nobody"])
    assert "no payment" in capsys.readouterr().err
    shop.ledger.open_refund(f"mock|{shop.failed}", None, None, "nonce-1", 60.0)
    assert 1 == run(["ledger", "redeliver", shop.failed])
    assert "flovia refunds" in capsys.readouterr().err
    assert [] == [e for _, e in shop.ledger.read_events() if e.type == ev.PAYMENT_REOPENED]


def test_verify(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 0 if it holds together, 1 with the findings if not."""
    from sqlalchemy import text

    assert 0 == run(["ledger", "verify"])
    assert "nothing is wrong: 2 payments, 2 proofs" in capsys.readouterr().out
    assert 0 == run(["ledger", "verify", "--json"])
    assert [] == shown(capsys)
    with shop.ledger.database.write() as connection:
        connection.execute(text("UPDATE flovia_payments SET fence = 0"))
    assert 1 == run(["ledger", "verify", "--limit", "1", "--json"])
    both = capsys.readouterr()
    assert ["fence"] == [json.loads(line)["invariant"] for line in both.out.splitlines()]
    assert "2 findings" in both.err
    assert 1 == run(["ledger", "verify"])
    assert "its fence is 0" in capsys.readouterr().out


def test_verify_leads_to_the_history(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    """Each finding has an id that flovia ledger show takes, also of an event."""
    from sqlalchemy import text

    challenge = next(e.challenge_id for _, e in shop.ledger.read_events() if e.payment_id == shop.delivered)
    with shop.ledger.database.write() as connection:
        connection.execute(text("DELETE FROM flovia_proofs WHERE proof LIKE :one"), {"one": f"%{shop.delivered}"})
    assert 1 == run(["ledger", "verify"])
    both = capsys.readouterr()
    assert f" ({challenge}): it tells of a settlement of which no proof was used" in both.out
    assert "show each with: flovia ledger show ID (of an event: the id in brackets)" in both.err
    assert 1 == run(["ledger", "verify", "--json"])
    found = shown(capsys)
    assert any(str(one["subject"]).startswith("event ") for one in found)
    for one in found:
        assert 0 == run(["ledger", "show", str(one["ident"])])


def test_prune(shop: Shop, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Events go to the file before they go from the ledger; a dry run counts."""
    from sqlalchemy import text

    count = len(shop.ledger.read_events())
    file = tmp_path / "events.ndjson"
    assert 0 == run(["ledger", "prune"])
    assert "0 events were pruned" in capsys.readouterr().out
    with shop.ledger.database.write() as connection:
        connection.execute(text("UPDATE flovia_events SET at = at - 864000"))
        connection.execute(text("UPDATE flovia_proofs SET at = at - 864000"))
    assert 0 == run(["ledger", "prune", "--events-days", "5", "--dry-run", "--export", str(file)])
    told = f"dry run: {count} events, 0 payments, 0 short texts, 0 stored answers would be pruned"
    assert told in capsys.readouterr().out
    assert not file.exists()
    assert 0 == run(["ledger", "prune", "--events-days", "5", "--export", str(file)])
    assert f"{count} events were pruned" in capsys.readouterr().out
    written = [json.loads(line) for line in file.read_text().splitlines()]
    assert list(range(1, count + 1)) == [one["position"] for one in written]
    assert ev.PAYMENT_SETTLED in {one["type"] for one in written}
    assert [] == list(shop.ledger.read_events())
    assert 0 == run(["ledger", "verify"])
    assert 1 == run(["ledger", "prune", "--events-days", "1"])


def old(shop: Shop) -> int:
    """How many events there are, all of which are past their time now."""
    from sqlalchemy import text

    with shop.ledger.database.write() as connection:
        connection.execute(text("UPDATE flovia_events SET at = at - 864000"))
        connection.execute(text("UPDATE flovia_proofs SET at = at - 864000"))
    return len(shop.ledger.read_events())


@pytest.mark.parametrize("ending", ["", "-journal", "-wal", "-shm", "-in-use", "/../shop.db", "-link", "-hardlink"])
def test_prune_into_the_ledger(shop: Shop, capsys: pytest.CaptureFixture[str], tmp_path: Path, ending: str) -> None:
    """The ledger's own files, under whatever name, take no export; nothing is written or pruned."""
    count, path = old(shop), tmp_path / "shop.db"
    (tmp_path / "shop.db-link").symlink_to(path)
    (tmp_path / "shop.db-hardlink").hardlink_to(path)
    target = str(path) + ending if ending != "/../shop.db" else f"{tmp_path}/../{tmp_path.name}/shop.db"
    before = path.read_bytes()
    files = sorted(tmp_path.iterdir())
    assert 1 == run(["ledger", "prune", "--events-days", "5", "--export", target])
    assert "is the ledger's own file" in capsys.readouterr().err
    assert before == path.read_bytes()
    assert files == sorted(tmp_path.iterdir())
    assert count == len(shop.ledger.read_events())


def test_prune_into_what_is_no_file_of_events(shop: Shop, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A missing folder, a folder, a device and somebody's text: one line says why, and nothing is pruned."""
    count, notes = old(shop), tmp_path / "notes.txt"
    notes.write_text("milk, eggs\n")
    told = {
        tmp_path / "none" / "events.ndjson": "name a file in a folder that exists",
        tmp_path: "name a file in a folder that exists",
        Path("/dev/full"): "name a file in a folder that exists",
        notes: "is not a line of events",
        tmp_path / ("x" * 300): "cannot be written: File name too long",
    }
    for target, why in told.items():
        assert 1 == run(["ledger", "prune", "--events-days", "5", "--export", str(target)])
        printed = capsys.readouterr()
        assert (True, "", 1) == (why in printed.err, printed.out, printed.err.count("\n"))
    assert "milk, eggs\n" == notes.read_text()
    assert count == len(shop.ledger.read_events())


def test_prune_into_a_full_disk(shop: Shop, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """What does not fit is cut off again, said, and not pruned; the next run goes on behind whole lines."""
    resource = pytest.importorskip("resource")
    count, file = old(shop), tmp_path / "events.ndjson"
    earlier = json.dumps({"position": 0, "padding": "x" * 2_000_000}) + "\n"
    file.write_text(earlier)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(earlier) + 700, limits[1]))
    try:
        assert 1 == run(["ledger", "prune", "--events-days", "5", "--export", str(file)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "cannot be written: File too large; no event was pruned that is not in it" in capsys.readouterr().err
    assert earlier == file.read_text()
    assert count == len(shop.ledger.read_events())
    file.write_text(earlier + '{"position": 1, "type"')  # as a crash leaves it
    assert 0 == run(["ledger", "prune", "--events-days", "5", "--export", str(file)])
    positions = [json.loads(line)["position"] for line in file.read_text().splitlines()]
    assert list(range(count + 1)) == positions


def test_prune_into_a_new_file(shop: Shop, tmp_path: Path) -> None:
    """It names payers, so its owner alone can read it; the mode of one that is there stays."""
    assert old(shop)
    file, there = tmp_path / "events.ndjson", tmp_path / "there.ndjson"
    there.touch(0o640)
    mode = there.stat().st_mode
    for one in (there, file):
        assert 0 == run(["ledger", "prune", "--events-days", "5", "--export", str(one)])
    assert 0o600 == file.stat().st_mode & 0o777
    assert mode == there.stat().st_mode


def test_prune_says_what_a_sink_holds_up(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    """How many events past their time stay, for which sinks, and the way out; nothing if none does."""
    count = old(shop)
    command = ["ledger", "prune", "--events-days", "5", "--unpaid-events-days", "3"]
    assert 0 == run([*command, "--dry-run"])
    assert "" == capsys.readouterr().err
    slow = shop.ledger.lease_sink("ware&house", "test", 1e6)
    fast = shop.ledger.lease_sink("fast", "test", 1e6)
    assert slow.fence is not None
    assert fast.fence is not None
    (_, _, (third, _), *_) = shop.ledger.read_events()
    shop.ledger.advance_sink("ware&house", slow.fence, third, 1e6)
    shop.ledger.advance_sink("fast", fast.fence, shop.ledger.read_events()[-1][0], 1e6)
    for arguments, out in (("--dry-run",), "dry run: 3 events, "), ((), "3 events were pruned"):
        assert 0 == run([*command, *arguments])
        printed = capsys.readouterr()
        assert printed.out.startswith(out)
        assert f"{count - 3} events past their time wait for ware&house, which has not got them yet" in printed.err
        assert printed.err.endswith("flovia events sinks --forget 'ware&house'\n")


def test_prune_says_what_rows_would_go(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    """A dry run counts them by kind and takes none away; the same number goes after that."""
    from sqlalchemy import text

    shop.ledger.remember("hitpay", "old", "text", 0.0, False)
    shop.ledger.remember("hitpay", "new", "text", 900.0, False)
    with shop.ledger.database.write() as connection:
        connection.execute(text("UPDATE flovia_payments SET keep_until = 1, updated_at = 1"))
    for _ in range(2):
        assert 0 == run(["ledger", "prune", "--dry-run"])
        told = "dry run: 0 events, 1 payment, 1 short text, 0 stored answers would be pruned\n"
        assert told == capsys.readouterr().out
    assert 0 == run(["ledger", "prune"])
    assert "0 events were pruned, and 2 rows\n" == capsys.readouterr().out


def test_forget(shop: Shop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A payer is gone from events and records, or is a hash."""
    assert 1 == run(["ledger", "forget"])
    assert "who is to be forgotten? flovia ledger forget --payer NAME" in capsys.readouterr().err
    assert 1 == run(["ledger", "forget", "--payer", BOB, "--hash"])
    assert "FLOVIA_SECRET" in capsys.readouterr().err
    monkeypatch.setenv("FLOVIA_SECRET", SECRET)
    assert 0 == run(["ledger", "forget", "--payer", BOB, "--hash", "--json"])
    assert shown(capsys)[0]["events"] != 0
    payers = {e.payer for _, e in shop.ledger.read_events()} - {None}
    assert [True] == [str(payer).startswith("hidden_") for payer in payers]
    assert 0 == run(["ledger", "forget", "--payer", BOB])
    assert "events changed" in capsys.readouterr().out
    assert {None} == {e.payer for _, e in shop.ledger.read_events()}
    passage = shop.gate.enter(request(shop.credential))
    assert passage.response is not None


def test_forget_under_a_hash(shop: Shop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is named by a hash is not found without the key, and that is said, instead of "0 events changed"."""
    monkeypatch.setenv("FLOVIA_SECRET", SECRET)
    assert 0 == run(["ledger", "forget", "--payer", BOB, "--hash"])
    monkeypatch.delenv("FLOVIA_SECRET")
    capsys.readouterr()
    assert 1 == run(["ledger", "forget", "--payer", BOB])
    assert "set FLOVIA_SECRET" in capsys.readouterr().err
    monkeypatch.setenv("FLOVIA_SECRET", f"another-{SECRET}")
    assert 1 == run(["ledger", "forget", "--payer", BOB])
    assert "nobody here has that name" in capsys.readouterr().err
    monkeypatch.setenv("FLOVIA_PAYER_KEY", SECRET)
    assert 0 == run(["ledger", "forget", "--payer", BOB])
    assert {None} == {e.payer for _, e in shop.ledger.read_events()}


def test_reconcile(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    """With a provider that cannot be asked: what is unknown is told, with exit status 1."""
    assert 0 == run(["ledger", "reconcile", "--provider", "mock", "--since", "2026-01-31"])
    out = capsys.readouterr().out
    assert "0 charges asked about" in out
    assert "none is due a look; --all asks" in out
    buy(shop.gate, "unknown")
    assert 1 == run(["ledger", "reconcile", "--provider", "mock", "--dry-run"])
    out = capsys.readouterr().out
    assert "no backend can be asked" in out
    assert ["dry run  ", "dry run, "] == [line[:9] for line in out.splitlines()]
    assert 1 == run(["ledger", "reconcile", "--provider", "mock", "--dry-run", "--json"])
    assert (True, "unknown") == ((told := shown(capsys)[0])["dry_run"], told["status"])
    assert 1 == run(["ledger", "reconcile", "--provider", "mock", "--json"])
    assert "unknown" == shown(capsys)[0]["status"]
    assert 2 == run(["ledger", "reconcile", "--since", "yesterday"])
    assert "is no time" in capsys.readouterr().err


def test_reconcile_without_a_key(
    shop: Shop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nobody can be asked about for want of a key is said once, whatever is due, with exit status 1."""
    monkeypatch.delenv("HITPAY_API_KEY", raising=False)
    for number in range(5):
        handle = f"mpp_ch_{number}"
        details = {"amount_decimal": "1.00", "challenge_id": handle}
        asked = charge_request(Price(amount=100, currency="sgd"), method_details=details)
        times = {"expires": "2026-01-31T12:00:00Z", "realm": REALM}
        challenge = issue(Keyring([SECRET]), method="hitpay", intent="charge", request=encode_param(asked), **times)
        kept = keep_issued("hitpay", handle, format_challenge(challenge), 1e6)
        for flow in (kept, keep_awaited(Awaited(method="hitpay", handle=handle, challenge_id=challenge.id, due=1.0))):
            drive(flow, World(ledger=shop.ledger))
    for _ in range(2):
        assert 1 == run(["ledger", "reconcile"])
        done = capsys.readouterr()
        assert 1 == (done.out + done.err).count("HITPAY_API_KEY")
        assert "0 charges asked about, 0 in order, 1 finding" in done.out
    assert 1 == run(["ledger", "reconcile", "--json"])
    (told,) = shown(capsys)
    assert ("unknown", "hitpay", "") == (told["status"], told["method"], told["charge"])
