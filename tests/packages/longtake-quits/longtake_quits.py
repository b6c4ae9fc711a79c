"""Leaves Python when it is imported."""

import sys

sys.exit("I quit")
