"""open_clip models as folders: the compact one, BiomedCLIP, CLIP, SigLIP; loaded, converted, checked, pulled
from a hub.

In: a name or a folder. Out: a ``Backbone`` (image tower, text tower, preprocessing, tokenizer). Open
``backbone`` first.
"""
