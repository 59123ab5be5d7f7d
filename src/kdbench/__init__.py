"""kdbench: what does compressing this network cost, and what does it buy?"""

__version__ = "0.1.0"
