"""Builds the extension `lbsplice._native` from api.h and the C files beside it.

LBSPLICE_SANITIZE=address,undefined builds with those sanitizers, LBSPLICE_FAULTS=1 the
fault-injection build: a worker dies where LBSPLICE_FAULT says (native/fault.c)."""

from __future__ import annotations

import os
import re
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent


def declarations(text: str) -> str:
    """What cffi may read of api.h: everything but its include guard."""
    return re.sub(r"^#(ifndef|define) LBS_API_H$|^#endif$", "", text, flags=re.MULTILINE)


def builder() -> FFI:
    ffi = FFI()
    ffi.cdef(declarations((HERE / "api.h").read_text(encoding="utf-8")))
    sanitizers = os.environ.get("LBSPLICE_SANITIZE", "")
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-O2", "-fno-strict-aliasing"]
    # The generated wrapper is not ours to mend.
    flags += ["-Wno-missing-field-initializers", "-Wno-unused-parameter", "-Wno-sign-compare"]
    link: list[str] = []
    if sanitizers:
        flags += [f"-fsanitize={sanitizers}", "-fno-sanitize-recover=undefined", "-g"]
        flags += ["-fno-omit-frame-pointer"]
        link += [f"-fsanitize={sanitizers}"]
    macros: list[tuple[str, str | None]] = [("_GNU_SOURCE", "1")]
    if os.environ.get("LBSPLICE_FAULTS"):
        macros += [("LBS_FAULTS", "1")]
    ffi.set_source(
        "lbsplice._native",
        '#include <stdint.h>\n#include "api.h"\n',
        sources=sorted(os.path.relpath(path, HERE.parent) for path in HERE.glob("*.c")),
        depends=sorted(os.path.relpath(path, HERE.parent) for path in HERE.glob("*.h")),
        include_dirs=["native"],
        define_macros=macros,
        undef_macros=["NDEBUG"],
        extra_compile_args=flags,
        extra_link_args=link,
    )
    return ffi


ffibuilder = builder()
