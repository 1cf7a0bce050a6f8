"""What every answer carries: the notice, the words over an answer of the demo bundle, and the version of
this software.
"""

__version__ = "0.1.0"
NOTICE = "Research use only. Retrieved prior reports, not a diagnosis."
DEMO = "DEMO BUNDLE: drawn films, invented reports"
