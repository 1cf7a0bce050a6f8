"""Mutual TLS between a node and its peers: each shows a certificate that an authority of the site signed."""

import ssl

from ..errors import WrongOption
from .settings import TlsFiles


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """For those who connect to this node. Errors: WrongOption."""
    return _context(ssl.Purpose.CLIENT_AUTH, files)


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """For peers that this node connects to: their names are checked against their certificates.

    Errors: WrongOption.
    """
    return _context(ssl.Purpose.SERVER_AUTH, files)


def _context(purpose: ssl.Purpose, files: TlsFiles) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(purpose, cafile=files.peers)
        context.load_cert_chain(files.certificate, files.key, password=_no_password)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        why = getattr(error, "reason", None) or getattr(error, "strerror", None) or "a password is asked for"
        raise WrongOption("[tls]", f"certificate, key or peers cannot be used: {why}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    # Python 3.13 began to refuse authorities without a key usage extension, as those of many a hospital are;
    # the same certificates hold on every Python.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _no_password() -> str:
    raise ValueError("no terminal to ask at")
