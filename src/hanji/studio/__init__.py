"""The browser pages: files of our own, which ask the service's public API like any other client."""
