"""PNG files signed by C2PA: a manifest that says how an image came to be, which a change of the file breaks.

It stands beside the watermark: the mark outlives a JPEG and says nothing more; the manifest says who signed and what
made the image, and is lost where a program writes the picture anew. A signature of one's own certificate names its
holder; a self-signed one proves that nothing was changed since, and nobody's name.

Source: C2PA specification 2.1, actions and digitalSourceType of IPTC.
"""

import datetime
import json
from dataclasses import dataclass
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cxr_ldm
from cxr_ldm.errors import UserError
from cxr_ldm.imaging.provenance import read_png

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/"
MADE, IN_PART = "trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia"
CERTIFICATE, KEY = "certificate.pem", "key.pem"
SELF = "self"
CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
DAYS = 365  # for which a self-signed certificate is valid
NEEDED = "c2pa needs c2pa-python; run `pip install 'cxr-ldm[c2pa]'`."


@dataclass(frozen=True)
class Signer:
    """Who signs.

    Attributes:
        chain: certificates as PEM, the signer's first.
        key: its private key as PEM; never written anywhere.
        algorithm: of the key, as C2PA calls it.
        name: of the holder, as the certificate says.
    """

    chain: bytes
    key: bytes
    algorithm: str
    name: str

    def __repr__(self) -> str:
        return f"Signer({self.name!r}, {self.algorithm})"

    def sign(self, path: Path) -> None:
        """Sign a PNG of ours in place; raises UserError where the library refuses the certificate."""
        path.write_bytes(self.signed(path.read_bytes(), path.name))

    def signed(self, content: bytes, name: str) -> bytes:
        """The content of a PNG of ours with its manifest, which calls it `name`; raises UserError as `sign`."""
        from c2pa import Builder, C2paError, C2paSignerInfo, Reader
        from c2pa import Signer as Theirs

        signed = BytesIO()
        try:
            signer = Theirs.from_info(C2paSignerInfo(self.algorithm, self.chain, self.key, None))
            Builder(json.dumps(manifest(read_png(BytesIO(content)), name))).sign(
                signer, "image/png", BytesIO(content), signed
            )
            Reader("image/png", BytesIO(signed.getvalue()))  # what cannot be read back is not handed on
        except C2paError as error:
            raise UserError(f"c2pa: the certificate of {self.name} signs nothing ({said(error)}).") from None
        return signed.getvalue()


def manifest(facts: dict[str, Any], title: str) -> dict[str, Any]:
    """What is signed of an image with these facts: that a model drew it, or a part of it, and by which words."""
    in_part = "edit" in facts or "given" in facts or facts.get("synthetic") is not True
    software = {"name": "cxr_ldm", "version": cxr_ldm.__version__}
    action = {
        "action": "c2pa.created",
        "digitalSourceType": SOURCE + (IN_PART if in_part else MADE),
        "softwareAgent": software,
        "description": "Synthetic chest radiograph, for research and teaching. Not for diagnosis.",
    }
    assertions = [
        {"label": "c2pa.actions", "data": {"actions": [action]}},
        {"label": "org.cxr_ldm.provenance", "data": facts},
    ]
    return {"claim_generator_info": [software], "title": title, "format": "image/png", "assertions": assertions}


def signed(path: Path) -> tuple[str, str] | None:
    """Who signed a file, and whether it is as it was signed ("Valid", or "Trusted" where the library knows the signer).

    None where it bears no signature, or c2pa-python is not here to read it.
    """
    if find_spec("c2pa") is None:
        return None
    from c2pa import C2paError, Reader

    try:
        reader = Reader(path)
    except C2paError:  # no manifest, or a file of no kind that holds one
        return None
    active = reader.get_active_manifest() or {}
    return str(active.get("signature_info", {}).get("common_name", "nobody")), str(reader.get_validation_state())


def signer_of(stated: str | None) -> Signer | None:
    """The signer that c2pa= names: a folder with certificate.pem and key.pem, or self; None for none.

    Raises:
        UserError: the package is missing, or the files are not what they should be.
    """
    if stated is None:
        return None
    if find_spec("c2pa") is None or find_spec("cryptography") is None:
        raise UserError(NEEDED)
    return self_signed() if stated == SELF else loaded(Path(stated))


def loaded(folder: Path) -> Signer:
    """A certificate of one's own with its key.

    Raises:
        UserError: a file is missing or no PEM, the key is another's or encrypted, or the certificate is out of date.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    for name in (CERTIFICATE, KEY):
        if not (folder / name).is_file():
            raise UserError(f"c2pa={folder} holds no {name}; it takes a folder with {CERTIFICATE} and {KEY}, or self.")
    chain, key = (folder / CERTIFICATE).read_bytes(), (folder / KEY).read_bytes()
    try:
        private, certificate = load_pem_private_key(key, None), x509.load_pem_x509_certificates(chain)[0]
    except (ValueError, TypeError) as error:  # TypeError: a password is needed
        raise UserError(f"c2pa={folder} holds a certificate or a key that cannot be read ({error}).") from None
    if certificate.public_key() != private.public_key():
        raise UserError(f"c2pa={folder}: {KEY} is not the key of {CERTIFICATE}.")
    now = datetime.datetime.now(datetime.UTC)
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise UserError(f"c2pa={folder}: {CERTIFICATE} is valid until {certificate.not_valid_after_utc:%Y-%m-%d} only.")
    return Signer(chain, key, algorithm_of(private, folder), holder(certificate))


def algorithm_of(private: Any, folder: Path) -> str:
    """The name of a key's algorithm in C2PA; raises UserError for a kind that it does not sign with."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name in CURVES:
        return CURVES[private.curve.name]
    if isinstance(private, rsa.RSAPrivateKey):
        return "ps256"
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return "ed25519"
    raise UserError(f"c2pa={folder}: {KEY} is of a kind that C2PA does not sign with; make one on the curve P-256.")


def holder(certificate: "Certificate") -> str:
    """Whom a certificate names."""
    from cryptography.x509.oid import NameOID

    names = [
        each.value
        for kind in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME)
        for each in certificate.subject.get_attributes_for_oid(kind)
    ]
    return str(names[0]) if names else "nobody"


def self_signed() -> Signer:
    """A new key and a certificate for it that it signed itself; both end with the process."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    words = {NameOID.COMMON_NAME: "cxr_ldm, self-signed", NameOID.ORGANIZATION_NAME: "nobody"}
    name = x509.Name([x509.NameAttribute(kind, word) for kind, word in words.items()])
    may = dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False)
    may |= dict.fromkeys(("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"), False)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - datetime.timedelta(minutes=5))
    made = made.not_valid_after(now + datetime.timedelta(days=DAYS))
    # what C2PA asks of a signer's certificate
    made = made.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    made = made.add_extension(x509.KeyUsage(digital_signature=True, **may), critical=True)
    made = made.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    made = made.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    certificate = made.sign(key, hashes.SHA256())
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Signer(certificate.public_bytes(encoding), private, "es256", holder(certificate))


def said(error: Exception) -> str:
    """What the library says, in one line."""
    return " ".join(str(error).split())[:200]
