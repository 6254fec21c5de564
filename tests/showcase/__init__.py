"""The showcase, over HTTP: its pages and the live flow on a real server with a real sandbox."""
