# What lines and rows of records are made by, and what the build says of itself (`setup.py`).

cdef extern from *:
    const char* TWIN_SOURCES

cdef class RecordReader:
    cdef dict plan
    cdef bint is_json
    cdef bint is_wrapped
    cdef const unsigned char* kinds
    cdef const unsigned char* scales
    cdef list names
    cdef dict calls
    cdef Py_ssize_t count
    cdef bytes schema
    cdef unsigned char* scratch
    cdef Py_ssize_t growth
    cdef Py_ssize_t margin
    cdef unsigned char* out
    cdef Py_ssize_t o
    cdef Py_ssize_t end
    cdef list row
    cdef bint is_running
    cdef bint has_row
    cdef RecordReader rows

    cdef int _null(self, Py_ssize_t i) except? -1
    cdef int _number(self, Py_ssize_t i, int kind, long long n) except? -1
    cdef int _octets(self, Py_ssize_t i, int kind, const unsigned char* m, Py_ssize_t p, Py_ssize_t q) except? -1
    cdef int _called(self, Py_ssize_t i, object made, Py_ssize_t left) except? -1
    cdef object _row_made(self)
    cdef object _old_row_made(self)
    cdef object _record(self, bytes record)
    cdef Py_ssize_t _perhaps(self, bytes record, Py_ssize_t p, Py_ssize_t n) except? -1
    cdef bint _is_whole(self, const unsigned char* m, Py_ssize_t n) except? -1
    cdef Py_ssize_t _envelope(self, bytes record) except? -1
    cdef Py_ssize_t _row(self, bytes record, Py_ssize_t p, Py_ssize_t n) except? -1
    cdef Py_ssize_t _null_end(self, bytes record, Py_ssize_t i, Py_ssize_t p, Py_ssize_t n) except? -1
    cdef int _avro(self, Py_ssize_t i, int kind, const unsigned char* m, Py_ssize_t p, Py_ssize_t q) except? -1
    cdef int _json(self, Py_ssize_t i, int kind, const unsigned char* m, Py_ssize_t p, Py_ssize_t q) except? -1
    cdef Py_ssize_t _call(
        self, Py_ssize_t i, bytes record, Py_ssize_t p, Py_ssize_t q, Py_ssize_t n
    ) except? -1

cdef class LineWriter(RecordReader):
    cdef int _put(self, bytes content) except? -1
