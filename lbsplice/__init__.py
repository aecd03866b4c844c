"""lbsplice: balances long-lived TCP sessions in HAProxy's configuration language."""

__version__ = "0.1.0"
