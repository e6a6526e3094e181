"""What a network is made of and how its training went."""

from skvision.inspection._parameters import count_parameters

__all__ = ["count_parameters"]
