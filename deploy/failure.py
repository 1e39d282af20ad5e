"""What can go wrong between here and a host, in words; none of it ever crosses HTTP."""

from ca.errors import CAError


class HostUnreachable(CAError):
    """A host does not answer, or not to us."""

    code = "host_unreachable"


class HostKeyUnknown(CAError):
    """A host shows a key that nobody has vouched for, or another one than before."""

    code = "host_key_unknown"


class LoginRefused(CAError):
    """A host answers, and does not let us in."""

    code = "login_refused"


class NotRoot(CAError):
    """We are in, and cannot become root."""

    code = "not_root"


class PasswordNeeded(NotRoot):
    """Somebody has to say the password for sudo, and nobody has been asked yet."""

    code = "password_needed"


class BadReport(CAError):
    """What a host's script said makes no sense, or stops in the middle."""

    code = "bad_report"


class Blocked(CAError):
    """The plan says that a change would not end well, so none is made."""

    code = "blocked"


class PlanChanged(CAError):
    """The hosts are not any more what they were when the plan was made."""

    code = "plan_changed"


class StepFailed(CAError):
    """A step on the host failed; whoever catches it rolls back."""

    code = "step_failed"


class NotProved(CAError):
    """The host is changed, and a login that must work does not, or the reverse."""

    code = "not_proved"


class Drift(CAError):
    """A host is not what it should be."""

    code = "drift"
