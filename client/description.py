"""What a certificate says, in the words of `--json`."""

from datetime import UTC, datetime

from ca.certificate import Certificate


def describe(certificate: Certificate) -> dict[str, object]:
    """Return the fields that every command shows of a certificate."""
    return {
        "serial": str(certificate.serial),
        "key_id": certificate.key_id,
        "principals": list(certificate.principals),
        "valid_after": certificate.valid_after,
        "valid_before": certificate.valid_before,
        "valid_until": datetime.fromtimestamp(
            certificate.valid_before, UTC
        ).isoformat(),
        "critical_options": dict(certificate.critical_options),
        "extensions": list(certificate.extensions),
    }
