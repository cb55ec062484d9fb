# SPDX-License-Identifier: BSD-2-Clause
"""Certificates for tests, and clients that look at what a TLS server shows."""
import dataclasses
import datetime
import json
import pathlib
import socket
import ssl

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)   # one is enough: it takes long


def _name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


@dataclasses.dataclass
class Pair:
    name: str
    certificate: str     # PEM, with the chain
    key: str             # PEM

    @property
    def pem(self):
        return self.certificate + self.key

    @property
    def json(self):
        return json.dumps({"certificate": self.certificate, "private_key": self.key})

    def secret_lines(self):
        return self.key.splitlines()[1:-1]


class Issuer:
    """Issuer(name) is a root; issuer.issue(name) a pair that it has signed; issuer.issuer(name) one below it."""

    def __init__(self, name="root", parent=None):
        self.name, self.parent, self.key = name, parent, ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._sign(name, self.key.public_key(), parent or self, 9, True)

    @staticmethod
    def _sign(name, public, by, days, is_issuer=False):
        now = datetime.datetime.utcnow()
        end = now + datetime.timedelta(days=days)
        builder = (x509.CertificateBuilder().subject_name(_name(name)).issuer_name(_name(by.name)).public_key(public)
                   .serial_number(x509.random_serial_number())
                   .not_valid_before(min(now, end) - datetime.timedelta(days=1)).not_valid_after(end)
                   .add_extension(x509.BasicConstraints(is_issuer, None), True)
                   .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), False))
        return builder.sign(by.key, hashes.SHA256())

    def issuer(self, name):
        return Issuer(name, self)

    def pem(self):
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def issue(self, name, kind="ec", days=9):
        key = RSA_KEY if kind == "rsa" else ec.generate_private_key(ec.SECP256R1())
        chain = self._sign(name, key.public_key(), self, days).public_bytes(serialization.Encoding.PEM).decode()
        above = self
        while above.parent:
            chain, above = chain + above.pem(), above.parent
        form = (serialization.PrivateFormat.TraditionalOpenSSL if kind == "rsa" else serialization.PrivateFormat.PKCS8)
        text = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()
        return Pair(name, chain, text)


@dataclasses.dataclass
class Seen:
    name: str            # of the certificate
    reused: bool
    session: object
    version: str


def context(ca=None, ciphers=None, version=None):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    if ca:
        made.load_verify_locations(cadata=ca)
        made.verify_mode = ssl.CERT_REQUIRED
    if version:
        made.minimum_version = made.maximum_version = version
    if ciphers:
        made.set_ciphers(ciphers)
    return made


def handshake(port, name=None, session=None, using=None, request=b""):
    """A connection and its end. What the server answers to `request` is read: tickets of TLS 1.3 come with it."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
        with (using or context()).wrap_socket(raw, server_hostname=name, session=session) as peer:
            if request:
                peer.sendall(request)
                while peer.recv(65536):
                    pass
            shown = x509.load_der_x509_certificate(peer.getpeercert(True))
            common = shown.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
            return Seen(common, peer.session_reused, peer.session, peer.version())


def refused(port, name=None, using=None):
    """The server ends the handshake."""
    try:
        handshake(port, name, using=using)
    except (ssl.SSLError, ConnectionError):
        return True
    return False


class Files:
    """ca.pem, other-ca.pem and, on request, certificates of both in a folder."""

    def __init__(self, folder):
        self.folder = folder
        self.issuer, self.other = Issuer("root"), Issuer("other root")
        self.ca, self.other_ca = self.write("ca.pem", self.issuer.pem()), self.write("other-ca.pem", self.other.pem())

    def write(self, name, text):
        path = pathlib.Path(self.folder / name)
        path.write_text(text)
        path.chmod(0o600)
        return path

    def pair(self, name, issuer=None, days=9):
        pair = (issuer or self.issuer).issue(name, days=days)
        return self.write(f"{name}.pem", pair.certificate), self.write(f"{name}.key", pair.key)
