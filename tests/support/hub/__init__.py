"""A Hub on loopback for the tests: repositories on disk, the endpoints that huggingface_hub asks, faults to order."""

from hub.server import Fault, Hub

__all__ = ["Fault", "Hub"]
