"""The files that keep credentials: private, durable, and gone when they are no longer needed."""

import json
import os
from pathlib import Path

import attrs
import pytest

from flovia.client import CannotResume, PendingFiles
from flovia.client.pending import Pending, default_folder
from flovia.core.errors import WiringError
from flovia.core.money import Price


def record(reference: str = "test-reference-1", credential: str | None = "Payment test-token") -> Pending:
    """A record with something in every field."""
    return Pending(
        reference=reference,
        created_at=1.5,
        http_method="POST",
        origin="https://api.example.com",
        host="api.example.com",
        target="/a%2Fb?x=%20",
        headers=(("accept", "text/x"), ("content-type", "a/b")),
        body=b"\x00\xffbody",
        body_sha256="00",
        challenge_id="c1",
        realm="r\u00e9",
        method="mock",
        price=Price.parse("1.00 SGD"),
        recipient=None,
        field="Authorization",
        credential=credential,
    )


@pytest.mark.parametrize("credential", ["Payment test-token", None])
def test_what_is_kept_comes_back(tmp_path: Path, credential: str | None) -> None:
    """Every field survives, the body byte for byte."""
    files = PendingFiles(tmp_path / "state" / "pending")
    kept = record(credential=credential)
    files.keep(kept)
    assert kept == files.load("test-reference-1")
    assert kept == PendingFiles(str(files.folder)).load("test-reference-1")


def test_only_the_owner_can_read(tmp_path: Path) -> None:
    """The folder is 0700 and the file 0600, whatever the umask."""
    old = os.umask(0)
    try:
        files = PendingFiles(tmp_path / "pending")
        files.keep(record())
    finally:
        os.umask(old)
    assert 0o700 == files.folder.stat().st_mode & 0o777
    assert [("test-reference-1.flovia", 0o600)] == [
        (path.name, path.stat().st_mode & 0o777) for path in files.folder.iterdir()
    ]


def test_a_record_shows_no_secret() -> None:
    """S37: neither credential, body, path nor kept header fields are in the repr."""
    shown = repr(record())
    assert [] == [text for text in ("test-token", "body'", "a%2Fb", "text/x") if text in shown]


def test_keeping_again_replaces(tmp_path: Path) -> None:
    """The credential is added to the record that was made before paying."""
    files = PendingFiles(tmp_path)
    files.keep(record(credential=None))
    files.keep(record())
    assert "Payment test-token" == files.load("test-reference-1").credential
    assert ["test-reference-1"] == files.references()


def test_forgetting_twice_is_fine(tmp_path: Path) -> None:
    """Two processes may see the same delivery end."""
    files = PendingFiles(tmp_path)
    files.keep(record())
    files.forget("test-reference-1")
    files.forget("test-reference-1")
    assert [] == files.references()
    with pytest.raises(CannotResume):
        files.load("test-reference-1")


def test_references_are_listed_oldest_first(tmp_path: Path) -> None:
    """After a crash a program finds what it has to resume."""
    files = PendingFiles(tmp_path / "pending")
    assert [] == files.references()
    for number, reference in enumerate(("test-ref-b", "test-ref-a")):
        files.keep(record(reference))
        os.utime(files.folder / f"{reference}.flovia", (number, number))
    assert ["test-ref-b", "test-ref-a"] == files.references()


def test_old_records_go_when_a_new_one_comes(tmp_path: Path) -> None:
    """After eight days no server redeems any more; half-written files of crashes go as well, other files stay."""
    files = PendingFiles(tmp_path, clock=lambda: 10 * 86400.0)
    day = 86400
    found = {"test-ref-old.flovia": 1, "test-ref-x.flovia-partial": 0, "test-ref-new.flovia": 3, "package.json": 0}
    for name, written_on in found.items():
        (tmp_path / name).write_text("{}")
        os.utime(tmp_path / name, (written_on * day, written_on * day))
    files.keep(record(credential=None))
    assert ["package.json", "test-ref-new.flovia", "test-reference-1.flovia"] == sorted(
        path.name for path in tmp_path.iterdir()
    )


@pytest.mark.parametrize(
    "reference", ["", "../../etc/passwd", "a/b", "short", "x" * 65, "test reference", "test-ref\n"]
)
def test_a_reference_is_no_path(tmp_path: Path, reference: str) -> None:
    """A reference from elsewhere cannot name another file."""
    with pytest.raises(CannotResume, match="no reference"):
        PendingFiles(tmp_path).load(reference)


GOOD = json.loads(record().to_json())


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"version": 2}', "\ud800".encode("utf-8", "surrogatepass")]
    + [json.dumps({**GOOD, name: value}) for name, value in (
        ("version", 2),
        ("reference", None),
        ("created_at", "1"),
        ("amount", "100"),
        ("amount", -1),
        ("currency", "xxx"),
        ("headers", [["a", "b"]]),
        ("headers", {"a": 1}),
        ("body", "%%%"),
        ("body", 7),
        ("credential", 7),
    )],
    ids=range(16),
)  # fmt: skip
def test_damaged_files_are_refused(tmp_path: Path, text: str | bytes) -> None:
    """Half a file, or another program's, is reported as damaged and shows nothing of what is in it."""
    (tmp_path / "test-reference-1.flovia").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(CannotResume, match="damaged") as caught:
        PendingFiles(tmp_path).load("test-reference-1")
    assert (None, True) == (caught.value.__cause__, caught.value.__suppress_context__)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """Without a place to keep the credential no payment is safe."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(WiringError, match="PendingFiles"):
        PendingFiles(tmp_path / "file").keep(record())


def test_a_file_that_cannot_be_removed_is_named(tmp_path: Path) -> None:
    """Forgetting fails loudly; the flow decides that it does not matter."""
    files = PendingFiles(tmp_path)
    (tmp_path / "test-reference-1.flovia").mkdir()
    with pytest.raises(WiringError, match="cannot remove"):
        files.forget("test-reference-1")


def test_the_default_folder_follows_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """XDG_STATE_HOME if it is absolute, else ~/.local/state."""
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere")
    assert Path("/somewhere/flovia/pending") == default_folder()
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", "/me")
    assert Path("/me/.local/state/flovia/pending") == default_folder()
    assert default_folder() == PendingFiles().folder


def test_every_field_is_written() -> None:
    """A field added to the record is also added to the file."""
    names = {field.name for field in attrs.fields(Pending)}
    assert names <= set(GOOD)
