"""Mutual TLS: the right certificate is let in, a foreign one, none and plain TCP are not; results go out by TLS."""

import shutil
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("pynetdicom")
pytest.importorskip("highdicom")

from pacs import FakePacs, RunningNode, chest_film, port_of, send, wait_for, write_settings

from mtclip_edge.dicom_node.settings import TlsFiles
from mtclip_edge.dicom_node.tls import client_context, server_context
from mtclip_edge.errors import WrongOption

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed here")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority with a node and a modality of its own, and a foreign authority with one."""
    folder = tmp_path_factory.mktemp("tls")
    for authority, names in (("ca", ("node", "modality")), ("foreign", ("stranger",))):
        openssl(
            folder,
            "req",
            "-x509",
            "-nodes",
            "-newkey",
            "rsa:2048",
            "-subj",
            f"/CN={authority}",
            "-days",
            "30",
            "-keyout",
            f"{authority}.key",
            "-out",
            f"{authority}.crt",
        )
        for name in names:
            openssl(
                folder,
                "req",
                "-nodes",
                "-newkey",
                "rsa:2048",
                "-subj",
                f"/CN={name}",
                "-addext",
                "subjectAltName=DNS:localhost",
                "-keyout",
                f"{name}.key",
                "-out",
                f"{name}.csr",
            )
            openssl(
                folder,
                "x509",
                "-req",
                "-in",
                f"{name}.csr",
                "-CA",
                f"{authority}.crt",
                "-CAkey",
                f"{authority}.key",
                "-CAcreateserial",
                "-copy_extensions",
                "copy",
                "-days",
                "20",
                "-out",
                f"{name}.crt",
            )
    return folder


def openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


def files(folder: Path, name: str, peers: str = "ca") -> TlsFiles:
    return TlsFiles(folder / f"{name}.crt", folder / f"{name}.key", folder / f"{peers}.crt")


def test_only_the_right_certificate_is_let_in(
    tmp_path: Path, certificates: Path, open_loopback: Callable, monkeypatch: pytest.MonkeyPatch, mtclip
) -> None:
    open_loopback(monkeypatch)
    lines = "\n".join(
        f'{name} = "{certificates / file}"'
        for name, file in (("certificate", "node.crt"), ("key", "node.key"), ("peers", "ca.crt"))
    )
    modality = client_context(files(certificates, "modality"))
    pacs = FakePacs(0, server_context(files(certificates, "modality")), modality)
    settings = write_settings(tmp_path, pacs.port, tls=lines)
    port = pacs._node = port_of(settings)
    node = RunningNode(settings)
    pacs.start()
    try:
        node.start()
        stranger = client_context(files(certificates, "stranger", "ca"))
        nameless = ssl.create_default_context(cafile=certificates / "ca.crt")
        for refused in (stranger, nameless, None):
            assert send([chest_film(1)], port, tls=refused) is None
        assert node.films == {}
        assert send([chest_film(1)], port, tls=modality) == [0]
        wait_for(lambda: node.films == {"committed": 1}, 60)
        assert len(pacs.objects) == 2
        checked = mtclip("node", "check", settings)
        assert checked.code == 0, checked.out + checked.err
        assert "good for" in checked.out
        assert "answers CR1" in " ".join(checked.out.split())
    finally:
        node.kill()
        pacs.stop()


def test_files_that_cannot_be_used_are_named_so(certificates: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    for broken in (
        TlsFiles(tmp_path / "empty", certificates / "node.key", certificates / "ca.crt"),
        TlsFiles(certificates / "node.crt", certificates / "modality.key", certificates / "ca.crt"),
        TlsFiles(certificates / "node.crt", certificates / "node.key", tmp_path / "empty"),
    ):
        with pytest.raises(WrongOption, match="cannot be used"):
            server_context(broken)
