"""The Jupyter kernel's Python side: IPython's shell on the main thread, between the server's queue and the user's code.

One cell, one direction: `main.MainLoop` takes a request from the Rust server, `shell.ZMQInteractiveShell` runs it, and
everything it shows goes through the `cell.Cell` it belongs to. Sockets, signing and batching are Rust; no thread here
ever waits for the network.
"""
