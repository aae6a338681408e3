"""One peer's identity: an Ed25519 key pair that signs messages, and a CURVE key pair for the links.

Both secrets live in one TOML file that only its owner can read (KEY-1, KEY-2). Signatures are libsodium's: it
refuses small-order public keys and non-canonical signatures (KEY-3), so that one signature never fits two
messages.
"""

import os
import tomllib
from pathlib import Path
from typing import Self

import attrs
import zmq
from nacl.exceptions import CryptoError
from nacl.signing import SigningKey, VerifyKey

from btard.errors import BtardError

SEED_BYTES = 32
PUBLIC_BYTES = 32
SIGNATURE_BYTES = 64
CURVE_KEY_CHARS = 40
# A key file is about 350 bytes; anything far longer is not one, and is not read into memory.
MAX_FILE_BYTES = 4096
_OTHERS = 0o077


class KeyFileError(BtardError):
    """A key file that cannot be used; the message is one line that says what to do."""


def _check_curve_secret(_: object, __: object, value: bytes) -> None:
    if not isinstance(value, bytes) or not _is_curve_secret(value):
        raise ValueError(f"a CURVE secret key is {CURVE_KEY_CHARS} characters of Z85")


def _is_curve_secret(value: bytes) -> bool:
    try:
        zmq.curve_public(value)
    except (ValueError, zmq.ZMQError):
        return False
    return True


@attrs.frozen
class KeyPair:
    """A peer's secrets: `sign_seed` (32 bytes, Ed25519) and `curve_secret` (40 Z85 characters as bytes).

    Raises ValueError where one of them has the wrong length or alphabet.
    """

    sign_seed: bytes = attrs.field(repr=False)
    curve_secret: bytes = attrs.field(repr=False, validator=_check_curve_secret)
    # Derived once, since that costs as much as a signature. It also checks the seed's length.
    _signing_key: SigningKey = attrs.field(
        init=False,
        repr=False,
        eq=False,
        default=attrs.Factory(lambda self: SigningKey(self.sign_seed), takes_self=True),
    )

    @classmethod
    def generate(cls) -> Self:
        """New keys from the operating system's randomness."""
        return cls(os.urandom(SEED_BYTES), zmq.curve_keypair()[1])

    @property
    def sign_public(self) -> bytes:
        """The Ed25519 public key, 32 bytes."""
        return bytes(self._signing_key.verify_key)

    @property
    def curve_public(self) -> str:
        """The CURVE public key, 40 characters of Z85."""
        return zmq.curve_public(self.curve_secret).decode("ascii")

    def sign(self, message: bytes) -> bytes:
        """The 64-byte Ed25519 signature of `message`."""
        return self._signing_key.sign(message).signature

    def save(self, path: str | Path) -> None:
        """Write the secrets to a new file that only its owner can read (KEY-1).

        Raises KeyFileError if the file exists already or cannot be written.
        """
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise KeyFileError(
                f"{path} exists already and keys are never overwritten; choose another name or move it away"
            ) from None
        except OSError as error:
            raise KeyFileError(f"cannot write the key file {path}: {error.strerror}") from None
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(self._to_toml())
            file.flush()
            os.fsync(file.fileno())

    def _to_toml(self) -> str:
        return (
            "# A peer's SECRET keys: never copy this file to anybody.\n"
            f"# public, for the run file: sign_public = {self.sign_public.hex()}\n"
            f"# public, for the run file: curve_public = {self.curve_public}\n"
            f'sign_seed = "{self.sign_seed.hex()}"\n'
            f'curve_secret = "{self.curve_secret.decode("ascii")}"\n'
        )

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read the secrets back.

        Raises KeyFileError if the file is missing, can be read or written by others (KEY-2) or is not a key
        file.
        """
        return cls._from_toml(path, _read_private(path))

    @classmethod
    def _from_toml(cls, path: str | Path, text: str) -> Self:
        try:
            table = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise KeyFileError(f"{path} is not a key file: {error}") from None
        if set(table) != {"sign_seed", "curve_secret"} or not all(isinstance(v, str) for v in table.values()):
            raise KeyFileError(f"{path} is not a key file: it must hold sign_seed and curve_secret, as strings")
        try:
            return cls(bytes.fromhex(table["sign_seed"]), table["curve_secret"].encode("ascii"))
        except ValueError as error:
            raise KeyFileError(f"{path} is not a key file: {error}") from None


def _read_private(path: str | Path) -> str:
    try:
        with open(path, "rb") as file:
            # The mode of the open file, not of the name: the name could be exchanged in between.
            mode = os.fstat(file.fileno()).st_mode & 0o777
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise KeyFileError(f"there is no key file {path}; make one with: btard keygen --out {path}") from None
    except OSError as error:
        raise KeyFileError(f"cannot read the key file {path}: {error.strerror}") from None
    if mode & _OTHERS:
        raise KeyFileError(f"others can use the key file {path} (mode {mode:04o}); run: chmod 600 {path}")
    if len(data) > MAX_FILE_BYTES:
        raise KeyFileError(f"{path} is not a key file: it is longer than {MAX_FILE_BYTES} bytes")
    try:
        return data.decode("ascii")
    except UnicodeDecodeError:
        raise KeyFileError(f"{path} is not a key file: it is not ASCII text") from None


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` is `public`'s strict Ed25519 signature of `message` (KEY-3).

    Never raises, whatever the arguments hold: wrong lengths, small-order keys and non-canonical signatures
    are False.
    """
    if len(public) != PUBLIC_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    try:
        VerifyKey(public).verify(message, signature)
    except CryptoError:
        return False
    return True
