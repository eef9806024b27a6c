"""The contract between capture and apply: table schemas, types, codecs, topics, errors.

Pure Python without I/O. Every other room may import this one; it imports none of them.
"""
