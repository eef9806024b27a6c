# What other modules of the twin call without Python in between.

cdef Py_ssize_t avro_text(
    unsigned char* out, Py_ssize_t o, int kind, int scale, const unsigned char* m, Py_ssize_t p, Py_ssize_t q
) except? -1
cdef Py_ssize_t json_text(
    unsigned char* out, Py_ssize_t o, int kind, int scale, const unsigned char* m, Py_ssize_t p, Py_ssize_t q
) except? -1
# What the build says of itself (`setup.py`).

cdef extern from *:
    const char* TWIN_SOURCES
