"""Fixtures that every test may use."""

from tests.jack import jackd

__all__ = ["jackd"]
