"""The C workers as Python sees them."""
