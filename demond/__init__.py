"""demond: the daemon, its control surface and its audio process. None of it loads torch."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("demond")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+uninstalled"
