# What the build says of itself (`setup.py`).

cdef extern from *:
    const char* TWIN_SOURCES
