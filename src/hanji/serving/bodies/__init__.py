"""Bodies of requests: what each endpoint takes. A field that is unknown, or not honoured, is an error."""
