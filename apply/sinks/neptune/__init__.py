"""Vertices and edges in Amazon Neptune, made of rows and guarded by commit sequences."""
