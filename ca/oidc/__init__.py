"""Prove an ID token: whom does it name, and is it good for this key?

`verify` tells the story, step by step. `token` and `claims` hold the rules for what a
token may look like and say, `jwks` keeps each issuer's keys at hand, `jwk` judges
them, `fetch` gets documents from an issuer, and `strict_json` reads them all.
"""

from ca.oidc.verify import Verifier

__all__ = ["Verifier"]
