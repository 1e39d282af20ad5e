"""What a certificate says, in the words of `--json`."""

import time

from ca.certificate import Certificate


def describe(certificate: Certificate) -> dict[str, object]:
    """Return the fields that every command shows of a certificate."""
    return {
        "serial": str(certificate.serial),
        "key_id": certificate.key_id,
        "principals": list(certificate.principals),
        "valid_after": certificate.valid_after,
        "valid_before": certificate.valid_before,
        "valid_until": time.strftime(
            "%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(certificate.valid_before)
        ),
        "critical_options": dict(certificate.critical_options),
        "extensions": list(certificate.extensions),
    }
