"""What help says, taken apart."""

import re


def text_of(said, option):
    """What help says of an option, in one line."""
    return " ".join(re.split(r"\n  -|\n\n", said.split(f"\n  {option} ", 1)[1])[0].split())
