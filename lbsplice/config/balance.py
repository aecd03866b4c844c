"""`balance` and `hash-type`."""

from __future__ import annotations

from dataclasses import replace

from lbsplice.config.keyword_tables import BALANCE
from lbsplice.config.keywords import Support, hint
from lbsplice.config.model import Balance
from lbsplice.config.statement import Statement
from lbsplice.errors import ConfigError
from lbsplice.terms import Algorithm, HashMethod

MAX_DRAWS = 1024
_FUNCTIONS = ("sdbm", "djb2", "wt6", "crc32", "none")


def parse_balance(line: Statement, balance: Balance) -> Balance:
    """`balance` with the algorithm of one line. Raises `ConfigError`."""
    word = line.word(1)
    name, parenthesis, rest = word.partition("(")
    keyword = BALANCE.get(name)
    if not word:
        return replace(balance, algorithm=Algorithm.ROUNDROBIN)
    if keyword is None:
        raise ConfigError(
            "balance only supports 'roundrobin', 'static-rr', 'leastconn', 'first', 'random' and "
            f"'source' in lbsplice (got '{word}'){hint(name, BALANCE)}"
        )
    if keyword.support is not Support.USED:
        raise ConfigError(keyword.told(f"balance {name}"))
    line.at_most(1, f"balance {name}")
    algorithm = Algorithm(name)
    if not parenthesis:
        return replace(balance, algorithm=algorithm, draws=2)
    if algorithm is not Algorithm.RANDOM:
        raise ConfigError(f"'balance {name}' does not take an argument in parentheses")
    return replace(balance, algorithm=algorithm, draws=_draws(rest))


def _draws(text: str) -> int:
    digits, closing, after = text.partition(")")
    if not closing:
        raise ConfigError("balance random : missing closing parenthesis.")
    if after:
        raise ConfigError(f"balance random : unexpected character '{after[0]}' after argument.")
    for c in digits:
        if c not in "0123456789":
            raise ConfigError(f"balance random : unexpected character '{c}' after argument.")
    if not digits or int(digits[:9]) == 0:
        raise ConfigError("balance random : number of draws must be at least 1.")
    if int(digits[:9]) > MAX_DRAWS:
        raise ConfigError(f"balance random : number of draws must be at most {MAX_DRAWS}.")
    return int(digits)


def parse_hash_type(line: Statement, balance: Balance) -> Balance:
    """`balance` with the hash of one line. Without a function, `consistent` means sdbm
    with avalanche. Raises `ConfigError`."""
    method, function, modifier = line.word(1), line.word(2), line.word(3)
    try:
        hash_method = HashMethod(method)
    except ValueError:
        raise ConfigError("'hash-type' only supports 'consistent' and 'map-based'.") from None
    avalanche = not function and hash_method is HashMethod.CONSISTENT
    if function and function not in _FUNCTIONS:
        raise ConfigError(
            "'hash-type' only supports 'sdbm', 'djb2', 'crc32', or 'wt6' hash functions."
        )
    if modifier:
        if modifier != "avalanche":
            raise ConfigError(
                "'hash-type' only supports 'avalanche' as a modifier for hash functions."
            )
        avalanche = True
    line.at_most(3)
    return replace(
        balance,
        hash_method=hash_method,
        hash_function=function or "sdbm",
        avalanche=avalanche,
    )
