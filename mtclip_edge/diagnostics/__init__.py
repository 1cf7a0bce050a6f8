"""``mtclip doctor``, ``bench`` and ``info``: what is installed, how fast it is here, what a bundle or a
run holds.
"""
