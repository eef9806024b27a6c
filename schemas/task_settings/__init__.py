"""Task settings of AWS DMS: every key that its user guide documents, what of it is done here, and how it is said.

`table` is the list; `document` reads a task-settings document; `translation` says it in our own settings.
"""
