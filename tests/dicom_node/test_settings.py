"""NODE.toml: defaults, every key, and each mistake in one line."""

from pathlib import Path

import pytest

from mtclip_edge.dicom_node.settings import CLASSES, Retry, read_settings
from mtclip_edge.errors import WrongOption

LEAST = """
aet = "MTCLIP"
bind = "127.0.0.1:11112"
callers = ["CR1"]
bundle = "bundle"
spool = "spool"
"""
PACS = '[pacs]\naet = "PACS"\nhost = "pacs"\nport = 104\n'


def written(folder: Path, text: str) -> Path:
    (folder / "node.toml").write_text(text)
    return folder / "node.toml"


def test_what_is_left_out_has_a_careful_default(tmp_path: Path) -> None:
    read = read_settings(written(tmp_path, LEAST + PACS))
    assert read.bundle == tmp_path / "bundle"
    assert read.spool == tmp_path / "spool"
    assert read.pacs.commit is True
    assert read.pacs.retry == Retry(2.0, 900.0, 7 * 86400.0)
    assert read.quiet == 10
    assert read.accept.classes == (*CLASSES["CR"], *CLASSES["DX"])
    assert read.accept.modality is None
    assert read.send.quote == "none"
    assert read.send.previews is False
    assert read.send.exclude_own_patient is True
    assert read.web is None


def test_every_key_is_read(tmp_path: Path) -> None:
    for name in ("node.crt", "node.key", "ca.crt", "token"):
        (tmp_path / name).write_text("x")
    text = (
        LEAST.replace("127.0.0.1:11112", "[::]:104")
        + 'quiet = "1min"\nhits = 7\nspool_limit = "1.5 GB"\nkeep = "2 days"\nforce = true\nprecision = "fp32"\n'
        + 'device = "cpu"\nplain = false\n[tls]\ncertificate = "node.crt"\nkey = "node.key"\npeers = "ca.crt"\n'
        + PACS
        + 'commit = false\nretry = "1s..1min, 12h"\n'
        + '[accept]\nclasses = ["SC", "1.2.3.4.5"]\nmodality = ["cr"]\nbody_part = ["CHEST", ""]\n'
        + 'largest = "10 MB"\nhosts = ["10.1.2.3"]\n'
        + '[send]\nobjects = ["text", "pdf"]\nquote = "report"\npreviews = true\nrejected = "objects"\n'
        + "exclude_own_patient = false\n"
        + '[dicomweb]\nbind = "127.0.0.1:8080"\ntoken_file = "token"\nkeep = "2h"\n'
        + '[log]\nfile = "node.log"\nlargest = "1 MB"\nkept = 2\n'
    )
    read = read_settings(written(tmp_path, text))
    assert (read.bind.host, read.bind.port, read.bind.local) == ("::", 104, False)
    assert (read.quiet, read.hits, read.spool_limit, read.keep) == (60, 7, 1_500_000_000, 172800)
    assert read.tls.peers == tmp_path / "ca.crt"
    assert (read.pacs.commit, read.pacs.retry) == (False, Retry(1.0, 60.0, 43200.0))
    assert read.accept.classes == (*CLASSES["SC"], "1.2.3.4.5")
    assert (read.accept.modality, read.accept.body_part) == (("CR",), ("CHEST", ""))
    assert (read.accept.largest, read.accept.hosts) == (10_000_000, ("10.1.2.3",))
    assert (read.send.objects, read.send.quote, read.send.previews) == (("text", "pdf"), "report", True)
    assert (read.web.keep, read.log.file, read.log.kept) == (7200, tmp_path / "node.log", 2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LEAST, "neither [pacs] nor [dicomweb]"),
        (LEAST.replace('aet = "MTCLIP"', "") + PACS, "no aet"),
        (LEAST.replace("MTCLIP", "A NAME THAT IS TOO LONG") + PACS, "AE title"),
        (LEAST.replace("127.0.0.1:11112", "127.0.0.1") + PACS, "HOST:PORT"),
        (LEAST.replace("127.0.0.1:11112", "127.0.0.1:99999") + PACS, "HOST:PORT"),
        (LEAST.replace("127.0.0.1", "0.0.0.0") + PACS, "without [tls]"),
        (LEAST.replace('["CR1"]', "[]") + PACS, "callers is empty"),
        (LEAST + 'quite = "10s"\n' + PACS, "did you mean quiet?"),
        (LEAST + 'quiet = "10"\n' + PACS, "expected as 10s"),
        (LEAST + "quiet = 10\n" + PACS, "quiet is not a text"),
        (LEAST + PACS + 'retry = "2s"\n', "pacs.retry"),
        (LEAST + PACS + "port = 104\n", "not TOML"),
        (LEAST + PACS + '[accept]\nclasses = ["CT"]\n', "accept.classes"),
        (LEAST + PACS + '[accept]\nlargest = "256"\n', "256 MB"),
        (LEAST + PACS + '[accept]\nmodalities = ["CR"]\n', "did you mean modality?"),
        (LEAST + PACS + '[send]\nobjects = ["pages"]\n', "did you mean page?"),
        (LEAST + PACS + '[send]\nquote = "all"\n', "one of none, impression, report"),
        (LEAST + PACS + '[tls]\ncertificate = "a"\nkey = "b"\npeers = "c"\n', "no such file"),
        (LEAST + '[dicomweb]\nbind = "127.0.0.1:80"\ntoken_file = "none"\n', "no such file"),
        ("aet = ", "not TOML"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(WrongOption) as error:
        read_settings(written(tmp_path, text))
    assert said in str(error.value)
    assert "node.toml" in str(error.value)


def test_plain_beyond_this_machine_is_said_in_so_many_words(tmp_path: Path) -> None:
    text = LEAST.replace("127.0.0.1", "0.0.0.0") + "plain = true\n" + PACS
    assert read_settings(written(tmp_path, text)).tls is None


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(WrongOption, match="cannot be read"):
        read_settings(tmp_path / "none.toml")


def test_waiting_doubles_up_to_the_longest() -> None:
    retry = Retry(2.0, 60.0, 1.0)
    assert [retry.after(tries) for tries in (1, 2, 3, 6, 500)] == [2.0, 4.0, 8.0, 60.0, 60.0]
