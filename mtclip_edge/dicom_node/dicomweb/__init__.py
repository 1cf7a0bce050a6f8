"""DICOMweb of a node (PS3.18): STOW-RS into the same spool, QIDO-RS and WADO-RS of results alone.

``serving`` puts guard, token and address around ``app``; ``parts`` reads what is posted, ``results`` finds
what is asked for.
"""
