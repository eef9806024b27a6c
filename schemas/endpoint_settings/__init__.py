"""Endpoint settings of AWS DMS: every setting that its API has for a target's endpoint, and what becomes of it here.

`table` is the list, by the engine of a target; `document` reads a document of them; `page` shows the list.
"""
