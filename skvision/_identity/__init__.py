"""What tells objects apart: all that they hold, by content, the same in any process.

A name made of it finds a fit again that was made with the same parameters and data.
Two objects of one name are taken for each other, so that nothing may be left out that
could make a difference: code goes by its instructions, constants and the global names
that it uses, classes of the user's by the code of their methods. What libraries have
goes by name and version.
"""

from skvision._identity._libraries import library_version
from skvision._identity._names import examine, fingerprint
from skvision._identity._values import Unidentified

__all__ = ["Unidentified", "examine", "fingerprint", "library_version"]
