__version__ = "0.1.0"

from .renamed import install as _install
_install()
