"""The measurements of `scripts/bench`: two proxies side by side, under the same load."""
