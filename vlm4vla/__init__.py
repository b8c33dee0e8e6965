__version__ = "0.1.0"

from .renamed import find_old_names as _find_old_names
_find_old_names()
