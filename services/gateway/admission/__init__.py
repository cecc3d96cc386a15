"""Which requests go on to Triton now, which wait, and which are refused.

The policy (how many are worth having in flight) is ``services.core.limit``; this package enforces it.
"""

from services.gateway.admission.admission import Admission, Slot
from services.gateway.admission.settings import AdmissionSettings
from services.gateway.admission.state import GateState, Refusal, RefusalHook

__all__ = ["Admission", "AdmissionSettings", "GateState", "Refusal", "RefusalHook", "Slot"]
