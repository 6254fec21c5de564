"""What may be wrong with a setup, and what to do about it; ``flovia doctor`` prints it.

Every check stands for itself: one that fails is a finding, and the others go on. No finding holds a secret.
"""

from flovia.doctor.checks import examine
from flovia.doctor.finding import Examination, Finding, Level

__all__ = ["Examination", "Finding", "Level", "examine"]
