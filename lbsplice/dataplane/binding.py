"""The only import of the C extension. Everything else in this package goes through it."""

from __future__ import annotations

from typing import Any

from lbsplice._native import ffi as _ffi
from lbsplice._native import lib as _lib

ffi: Any = _ffi
lib: Any = _lib
