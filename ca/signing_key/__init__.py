"""A private key of ours, wherever it lives: an encrypted file or an ssh-agent.

    [user_ca_key] in daypass.toml ──open_key──▶ SigningKey: a FileKey or an AgentKey

Who uses one sees a public key and `sign`; where the private part is, and how it is
guarded, stays in here.
"""

from ca.config import FileLocation, KeyLocation
from ca.signing_key.agent_key import AgentKey
from ca.signing_key.file_key import FileKey, KeyType
from ca.signing_key.key import SigningKey

__all__ = ["AgentKey", "FileKey", "KeyType", "SigningKey", "open_key"]


def open_key(location: KeyLocation) -> SigningKey:
    """Open the key at `location`; raise `KeyUnavailable`."""
    if isinstance(location, FileLocation):
        return FileKey.open(location.file, location.passphrase_file)
    return AgentKey.open(location.agent, location.public_key)
