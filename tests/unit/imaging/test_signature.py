"""C2PA as its own reader sees it: what is signed, by whom, and that a change shows."""

import io
import json

import numpy as np
import pytest
import torch
from c2pa import C2paError, Reader
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from PIL import Image

from cxr_ldm.errors import UserError
from cxr_ldm.imaging import signature
from cxr_ldm.imaging.provenance import provenance, read_png, save_png
from cxr_ldm.imaging.signature import IN_PART, MADE, SOURCE, self_signed, signed, signer_of

FACTS = provenance(prompt="Läsion, left.", seed=3, steps=20, guidance=2.0, sampler="ddim", bundle_sha256="ab" * 32)


@pytest.fixture
def png(tmp_path):
    save_png(tmp_path / "a.png", torch.linspace(-1, 1, 64 * 64).reshape(1, 64, 64), FACTS)
    return tmp_path / "a.png"


@pytest.fixture
def own(tmp_path):
    """A folder as a user has one."""
    made = self_signed()
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "certificate.pem").write_bytes(made.chain)
    (folder / "key.pem").write_bytes(made.key)
    return folder


def read(content):
    """State and active manifest by c2pa's reader."""
    reader = Reader("image/png", io.BytesIO(content))
    return reader.get_validation_state(), reader.get_active_manifest(), json.loads(reader.json())


def test_the_manifest_says_that_a_model_made_it(png):
    before = np.asarray(Image.open(png))
    signer = signer_of("self")
    signer.sign(png)
    state, active, whole = read(png.read_bytes())
    assert state == "Valid"
    assert [each["code"] for each in whole["validation_status"]] == ["signingCredential.untrusted"], "nobody's name"
    (action,) = next(each for each in active["assertions"] if each["label"].startswith("c2pa.actions"))["data"][
        "actions"
    ]
    assert action["action"] == "c2pa.created"
    assert action["digitalSourceType"] == SOURCE + MADE
    assert action["softwareAgent"]["name"] == "cxr_ldm"
    facts = next(each for each in active["assertions"] if each["label"] == "org.cxr_ldm.provenance")["data"]
    assert facts == FACTS
    assert active["signature_info"]["common_name"] == "cxr_ldm, self-signed"
    assert read_png(png) == FACTS, "our own text is still there"
    assert np.array_equal(np.asarray(Image.open(png)), before)


def test_a_change_of_a_pixel_shows(png):
    signer_of("self").sign(png)
    content = bytearray(png.read_bytes())
    place = content.index(b"IDAT") + 40
    content[place] ^= 1
    state, _, whole = read(bytes(content))
    assert state == "Invalid"
    assert any("mismatch" in each["code"] for each in whole["validation_status"])
    png.write_bytes(content)
    assert signed(png) == ("cxr_ldm, self-signed", "Invalid")


def test_a_picture_that_is_written_anew_has_no_signature(png):
    signer_of("self").sign(png)
    assert signed(png) == ("cxr_ldm, self-signed", "Valid")
    Image.open(png).save(png, "PNG")
    assert signed(png) is None
    with pytest.raises(C2paError, match="ManifestNotFound"):
        Reader("image/png", io.BytesIO(png.read_bytes()))


def test_a_part_of_a_given_image_is_said_to_be_one():
    for facts in ({**FACTS, "edit": {}}, {**FACTS, "synthetic": "in part"}):
        action = signature.manifest(facts, "a")["assertions"][0]["data"]["actions"][0]
        assert action["digitalSourceType"] == SOURCE + IN_PART


def test_a_certificate_of_ones_own_signs(png, own):
    signer = signer_of(str(own))
    signer.sign(png)
    state, active, _ = read(png.read_bytes())
    assert state == "Valid"
    serial = x509.load_pem_x509_certificate((own / "certificate.pem").read_bytes()).serial_number
    assert active["signature_info"]["cert_serial_number"] == str(serial)
    assert "PRIVATE" not in repr(signer)


def pem(key, password=None):
    """A private key as a file."""
    kind = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, kind)


def test_what_cannot_sign_is_refused_before_anything_is_drawn(own, tmp_path, monkeypatch):
    assert signer_of(None) is None
    with pytest.raises(UserError, match=r"holds no certificate\.pem"):
        signer_of(str(tmp_path))
    key = (own / "key.pem").read_bytes()
    for content, words in {
        b"no key": "cannot be read",
        pem(ec.generate_private_key(ec.SECP256R1()), b"x"): "cannot be read",
        pem(ec.generate_private_key(ec.SECP256R1())): "is not the key of",
    }.items():
        (own / "key.pem").write_bytes(content)
        with pytest.raises(UserError, match=words):
            signer_of(str(own))
    (own / "key.pem").write_bytes(key)
    monkeypatch.setattr(signature, "DAYS", -1)
    with pytest.raises(ValueError, match="before"):
        self_signed()
    monkeypatch.setattr(signature, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'cxr-ldm\[c2pa\]'"):
        signer_of("self")


def test_a_certificate_that_is_out_of_date_is_refused(own):
    now = signature.datetime.datetime.now(signature.datetime.UTC)
    old = x509.load_pem_x509_certificate((own / "certificate.pem").read_bytes())
    key = serialization.load_pem_private_key((own / "key.pem").read_bytes(), None)
    made = x509.CertificateBuilder(old.issuer, old.subject, old.public_key(), 1)
    made = made.not_valid_before(now - signature.datetime.timedelta(9)).not_valid_after(
        now - signature.datetime.timedelta(1)
    )
    certificate = made.sign(key, old.signature_hash_algorithm)
    (own / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    with pytest.raises(UserError, match="is valid until"):
        signer_of(str(own))


def test_a_certificate_that_c2pa_refuses_is_one_sentence_and_the_file_stays(png, own):
    """An authority's own certificate signs no content."""
    key = serialization.load_pem_private_key((own / "key.pem").read_bytes(), None)
    old = x509.load_pem_x509_certificate((own / "certificate.pem").read_bytes())
    made = x509.CertificateBuilder(old.issuer, old.subject, old.public_key(), 1)
    made = made.not_valid_before(old.not_valid_before_utc).not_valid_after(old.not_valid_after_utc)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    (own / "certificate.pem").write_bytes(
        made.sign(key, old.signature_hash_algorithm).public_bytes(serialization.Encoding.PEM)
    )
    before = png.read_bytes()
    with pytest.raises(UserError, match="signs nothing"):
        signer_of(str(own)).sign(png)
    assert png.read_bytes() == before
