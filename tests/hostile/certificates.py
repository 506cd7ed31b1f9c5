"""TLS endpoints that are not as they should be. Certificates are made with `openssl`; the keys are made for a run and
thrown away with its folder."""

import asyncio
import shutil
import ssl
import subprocess

from behaviours import OK, keeps

# A fatal alert: handshake_failure.
ALERT = bytes([0x15, 3, 3, 0, 2, 2, 40])
# The settings frame with which an HTTP/2 server begins.
SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])

TLS_FAILED = {"tls_failed"}


def possible():
    return shutil.which("openssl") is not None


class Authority:
    """A certificate authority of this run."""

    def __init__(self, folder):
        self.folder = folder
        self.certificate = folder / "ca.pem"
        self._openssl(
            "req -x509 -nodes -days 2 -subj /CN=authority -newkey ec -pkeyopt ec_paramgen_curve:P-256",
            "-keyout", folder / "ca.key", "-out", self.certificate,
        )  # fmt: skip

    def _openssl(self, words, *more):
        subprocess.run(["openssl", *words.split(), *more], check=True, capture_output=True)

    def context(self, name, subject, days=("20200101000000Z", "20990101000000Z"), self_signed=False, chain=1, more=""):
        """A server's TLS settings with a certificate for `subject` (as `IP:127.0.0.1` or `DNS:name`)."""
        key, request, certificate = (self.folder / f"{name}.{kind}" for kind in ("key", "csr", "pem"))
        extensions = self.folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={subject}\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n{more}")
        self._openssl(
            "req -nodes -subj /CN=endpoint -newkey ec -pkeyopt ec_paramgen_curve:P-256",
            "-keyout", key, "-out", request,
        )  # fmt: skip
        database = self.folder / f"{name}.db"
        database.write_text("")
        config = self.folder / f"{name}.cnf"
        config.write_text(
            f"[ca]\ndefault_ca=d\n[d]\ndatabase={database}\nrand_serial=yes\ndefault_md=sha256\npolicy=p\n"
            f"new_certs_dir={self.folder}\nunique_subject=no\n[p]\ncommonName=supplied\n"
        )
        signer = ["-selfsign", "-keyfile", key] if self_signed else [
            "-cert", self.certificate, "-keyfile", self.folder / "ca.key",
        ]  # fmt: skip
        start, end = days
        self._openssl(
            "ca -batch -notext", "-config", config, "-in", request, "-out", certificate, "-extfile", extensions,
            "-startdate", start, "-enddate", end, *signer,
        )  # fmt: skip
        if chain > 1:
            certificate.write_text(certificate.read_text() * chain)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        return context


async def without_goodbye(reader, writer):
    """A body that the connection's end ends, and no close_notify."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\n\r\nbody")
    await writer.drain()
    writer.transport.abort()


async def http2_anyway(reader, writer):
    writer.write(SETTINGS)
    await writer.drain()
    await reader.read()


async def alerts(reader, writer):
    """Answers the handshake's first message with an alert."""
    await reader.read(1024)
    writer.write(ALERT)
    await writer.drain()


async def answers_plainly(reader, writer):
    """A plain server's view of a handshake: a bad request."""
    await reader.read(1024)
    writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    await writer.drain()


async def hangs(reader, writer):
    await asyncio.sleep(3600)


def behaviours(authority):
    """(name, behaviour, how an attempt ends, TLS settings of the server, scheme of the target)."""
    ip = "IP:127.0.0.1"
    good = authority.context("good", ip)
    h2 = authority.context("h2", ip)
    h2.set_alpn_protocols(["h2"])
    past = ("20200101000000Z", "20200102000000Z")
    future = ("20980101000000Z", "20990101000000Z")
    for name, context in (
        ("expired", authority.context("expired", ip, days=past)),
        ("not-yet", authority.context("not-yet", ip, days=future)),
        ("wrong-name", authority.context("wrong-name", "DNS:elsewhere.example.com")),
        ("no-ip-in-it", authority.context("no-ip", "DNS:127.0.0.1")),
        ("another-ip", authority.context("another-ip", "IP:127.0.0.2")),
        ("self-signed", authority.context("self-signed", ip, self_signed=True)),
        ("chain-of-5mib", authority.context("chain", ip, chain=8000)),
    ):
        yield f"tls-{name}", keeps(OK), TLS_FAILED, context, "https"
    # Nobody looks there: not for revoked certificates, not for what may be at such an address.
    lists = "crlDistributionPoints=URI:http://169.254.169.254/\nauthorityInfoAccess=OCSP;URI:http://169.254.169.254/\n"
    yield "tls-revocation-lists", keeps(OK), {"ok"}, authority.context("lists", ip, more=lists), "https"
    older = authority.context("older", ip)
    older.maximum_version = ssl.TLSVersion.TLSv1_2
    yield "tls-1-2", keeps(OK), {"ok"}, older, "https"
    yield "tls-good", keeps(OK), {"ok"}, good, "https"
    yield "tls-without-goodbye", without_goodbye, {"ok"}, good, "https"
    yield "tls-http2-anyway", http2_anyway, {"protocol_error", "tls_failed"}, h2, "https"
    yield "tls-alert", alerts, TLS_FAILED, None, "https"
    yield "tls-hangs", hangs, {"connect_timeout"}, None, "https"
    yield "tls-to-plain", answers_plainly, TLS_FAILED, None, "https"
    yield "plain-to-tls", keeps(OK), {"protocol_error", "connection_closed"}, good, "http"
