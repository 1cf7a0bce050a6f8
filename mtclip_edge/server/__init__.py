"""A bundle as a page in the browser and as REST, on this machine: ``mtclip view``.

In: films and questions over HTTP; out: answers as JSON, pixels, pages. ``app`` puts it together and is where
to start; ``guard`` lets in who may ask, ``desk`` holds the retriever and the last films, ``routes`` are the
addresses, ``static/`` is the page. Starlette is imported in ``app`` and ``routes`` alone (extra ``[view]``).
"""
