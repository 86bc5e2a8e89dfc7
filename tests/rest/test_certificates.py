"""Certificates: the system's are trusted, `SSL_CERT_FILE` is honoured, and nothing else is."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from kubeez_mcp_local.rest.client import RestClient
from kubeez_mcp_local.rest.errors import DownloadFailedError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key, in one PEM file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loopback")])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = tmp_path / "loopback.pem"
    path.write_bytes(built.public_bytes(serialization.Encoding.PEM) + private)
    return path


@pytest.fixture
async def origin(certificate: Path) -> AsyncIterator[str]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b'HTTP/1.1 200 OK\r\ncontent-length: 14\r\n\r\n{"credits": 5}')
            await writer.drain()
        writer.close()

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


async def test_an_unknown_certificate_is_refused_and_explained(origin: str, tmp_path: Path) -> None:
    async with RestClient(origin, "sk_live_example") as client:
        with pytest.raises(UnreachableError) as caught:
            await client.balance()
        assert caught.value.permanent
        assert "SSL_CERT_FILE" in caught.value.next_step
        with pytest.raises(DownloadFailedError):
            await client.download(f"{origin}/a.png", tmp_path / "a.png", max_bytes=100)


async def test_an_address_that_speaks_no_https_is_not_blamed_on_certificates() -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, RestClient(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", None) as client:
        with pytest.raises(UnreachableError) as caught:
            await client.balance()
    assert caught.value.permanent
    assert "speaks no https" in caught.value.next_step


async def test_a_certificate_named_in_ssl_cert_file_is_trusted(
    origin: str, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with RestClient(origin, "sk_live_example") as client:
        assert (await client.balance()).credits == 5


async def test_a_sandbox_client_does_not_fetch_unverified_https(origin: str, tmp_path: Path) -> None:
    async with RestClient("http://127.0.0.1:1", None) as client:
        with pytest.raises(DownloadFailedError):
            await client.download(f"{origin}/a.png", tmp_path / "a.png", max_bytes=100)
    assert not any(path.name == "a.png" for path in tmp_path.iterdir())  # noqa: ASYNC240 - tiny
